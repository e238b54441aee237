"""Weights to begin a training with, or to evaluate: of a network that was trained before, wherever it is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import timm
import torch
from pydantic import AfterValidator
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..errors import AutoBSSError, UnknownNameError, WeightsError
from ..families import Family
from ..hub import from_pretrained
from ..limits import Text
from ..models import create_model
from ..names import is_repository

_FILES = (".safetensors", ".pth", ".pt", ".bin")


def _absolute(source: str) -> str:
    path = os.path.abspath(os.path.expanduser(source))
    return path if os.path.exists(path) or source.endswith(_FILES) else source


Weights = Annotated[Text, AfterValidator(_absolute)]
"""What `begin_with` takes, in a recipe: a path is made absolute, as the recipe is kept in another folder."""


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
        raise WeightsError(f"{path}: cannot read weights ({(str(error) or repr(error)).splitlines()[0]})") from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise WeightsError(f"{path}: expected a state dict, a mapping of names to tensors, got {type(state).__name__}")
    return state


def fill(model: nn.Module, weights: str | Path, name: str) -> None:
    """Give a model the weights of a file, all of them; `name` is what an error calls the model.

    Raises:
        WeightsError: If the file cannot be read or does not fit.
    """
    try:
        model.load_state_dict(read_state(weights))
    except RuntimeError as error:  # torch's, on tensors that do not fit; read_state's own is one as well
        raise WeightsError(f"{weights}: cannot load it into {name}: {error}") from error


def begin_with(network: nn.Module, source: str, family: Family, key: str) -> tuple[str, ...]:
    """Give an untrained network the weights of a trained classifier of the same layers, adapted as timm does.

    A classifier of other classes, or of none, stays untrained; the first layer's weights are summed over the input
    channels, or repeated, where the network has another number of them. Nothing else may differ.

    Args:
        network: A code's network.
        source: A folder that save_pretrained, a training or timm has written, a file of a state dict, a network of the
            zoo's or of timm's that has published weights, or a repository on the Hub ("owner/name[@revision]").
        family: The code's family, which names the two layers.
        key: The recipe's key that names the source, for errors.

    Returns:
        What was adapted, a line each, for the user to know.

    Raises:
        WeightsError: If there are no such weights, or they are of another network; the network is then as it was.
    """
    classifier, first = f"{family.classifier}.", f"{family.first_conv}.weight"
    state = {name: tensor for name, tensor in _state(source, key).items() if isinstance(tensor, Tensor)}
    wanted, notes = network.state_dict(), []
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    if first in state and state[first].ndim == 4 and (had := state[first].shape[1]) != (has := shapes[first][1]):
        state[first] = adapt_input_conv(has, state[first], had)
        notes.append(f"{key}: {first} has {has} input channels, made from the {had} of {source}")
    found = {name: tensor for name, tensor in state.items() if tensor.shape == shapes.get(name)}
    untrained = [name for name in wanted if name.startswith(classifier) and name not in found]
    if untrained:
        found = {name: tensor for name, tensor in found.items() if not name.startswith(classifier)}
        notes.append(f"{key}: {classifier[:-1]} begins untrained, as {source} has other classes")
    odd = (wanted.keys() - found.keys()) | (state.keys() - wanted.keys())
    # State dicts of old versions of torch have no counters of batches.
    if odd := {name for name in odd if not (name.startswith(classifier) or name.endswith(".num_batches_tracked"))}:
        name = min(odd)
        why = f"is not in it with the shape {tuple(shapes[name])}" if name in shapes else "is in it alone"
        raise WeightsError(f"{key}: {source} is of another network: {name} {why}")
    network.load_state_dict(found, strict=False)
    return tuple(notes)


def _state(source: str, key: str) -> Mapping[str, Tensor]:
    if Path(source).suffix in _FILES and not Path(source).is_dir():
        try:
            return read_state(source)
        except WeightsError as error:
            raise WeightsError(f"{key}: {error}") from error
    return trained_network(source, key).state_dict()


def trained_network(source: str, key: str) -> nn.Module:
    """A network with its weights.

    Args:
        source: A folder that save_pretrained, a training or timm has written, a network of the zoo's or of timm's that
            has published weights, or a repository on the Hub ("owner/name[@revision]").
        key: The recipe's key that names the source, for errors.

    Raises:
        WeightsError: If there is no such network, or it has no weights.
    """
    try:
        if Path(source).is_dir() or is_repository(source):
            return from_pretrained(source)
        created = timm.create_model if timm.is_model(source) else create_model
        return created(source, pretrained=True)
    except UnknownNameError:
        raise WeightsError(
            f"{key}: {source!r} is no folder, file, repository or network; train one first, or give null to begin "
            "without"
        ) from None
    except AutoBSSError as error:
        raise WeightsError(f"{key}: {error}") from error
    except Exception as error:  # timm and the Hub have kinds of their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{key}: cannot have the weights of {source} ({reason})") from error
