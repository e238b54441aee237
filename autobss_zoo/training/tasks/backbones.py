"""Weights for a backbone from a classifier that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import AutoBSSError, UnknownNameError, WeightsError
from ...hub import from_pretrained
from ...models import create_model


def read_state(path: str | Path) -> Mapping[str, Tensor]:
    """A file's state dict, .safetensors or as torch.save writes it.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        state = (
            load_file(path)
            if str(path).endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # safetensors, pickle and torch have kinds of their own
        raise WeightsError(f"{path}: cannot read weights ({str(error).splitlines()[0]})") from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path}: expected a state dict, got {type(state).__name__}")
    return state


def fill_backbone(backbone: nn.Module, source: str) -> None:
    """Give a backbone the weights of a classifier, without the classifier's last layer.

    Args:
        backbone: Of the same code.
        source: A folder that save_pretrained wrote, a file of a state dict, or a network of the zoo's or of timm's that
            has published weights.

    Raises:
        WeightsError: If there are no such weights, or they are of another network.
    """
    if Path(source).is_dir():
        state: Mapping[str, Tensor] = from_pretrained(source).state_dict()
    elif Path(source).suffix in (".safetensors", ".pth", ".pt", ".bin"):
        state = read_state(source)
    else:
        state = _published(source).state_dict()
    wanted = backbone.state_dict()
    tensors = {key: tensor for key, tensor in state.items() if isinstance(tensor, Tensor)}
    found = {key: tensor for key, tensor in tensors.items() if key in wanted and tensor.shape == wanted[key].shape}
    if absent := sorted(wanted.keys() - found.keys()):
        raise WeightsError(
            f"backbone_weights: {source} is of another network: {absent[0]} is not in it with the shape "
            f"{tuple(wanted[absent[0]].shape)}"
        )
    backbone.load_state_dict(found)


def _published(name: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=True) if timm.is_model(name) else create_model(name, pretrained=True)
    except UnknownNameError:
        raise WeightsError(
            f"backbone_weights: {name!r} is no folder, file or network; train the backbone first (by a recipe "
            "of imagenet/), or give null to begin without"
        ) from None
    except AutoBSSError as error:
        raise WeightsError(f"backbone_weights: {error}") from None
    except Exception as error:  # timm and the Hub have kinds of their own
        raise WeightsError(f"backbone_weights: cannot have the weights of {name} ({error})") from error
