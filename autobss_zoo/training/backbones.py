"""Weights for a backbone from a classifier that was trained before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import AutoBSSError, UnknownNameError, WeightsError
from ..hub import from_pretrained
from ..models import create_model


def read_state(path: str | Path) -> Mapping[str, Tensor]:
    """A file's state dict, .safetensors or as torch.save writes it.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        return (
            load_file(path)
            if str(path).endswith(".safetensors")
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # safetensors, pickle and torch have kinds of their own
        raise WeightsError(f"{path}: cannot read weights ({error})") from error


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
    found = {key: tensor for key, tensor in state.items() if key in wanted and tensor.shape == wanted[key].shape}
    if absent := sorted(wanted.keys() - found.keys()):
        raise WeightsError(
            f"backbone_weights: {source} is of another network: {absent[0]} is not in it with the shape "
            f"{tuple(wanted[absent[0]].shape)}"
        )
    backbone.load_state_dict(found)


def _published(name: str) -> nn.Module:
    if timm.is_model(name):
        return timm.create_model(name, pretrained=True)
    try:
        return create_model(name, pretrained=True)
    except UnknownNameError:
        raise WeightsError(
            f"backbone_weights: {name!r} is no folder, file or network; train the backbone first (`autobss train "
            "imagenet/resnet50`), or give null to begin without"
        ) from None
    except AutoBSSError as error:
        raise WeightsError(f"backbone_weights: {error}") from None
