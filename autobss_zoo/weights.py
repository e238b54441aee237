"""Weights: where they come from, whether they are the ones that were published, and other zoos' state dicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import nn

from . import registry
from .errors import WeightsError
from .timm_private import resolve_pretrained_source

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(path: str | Path, expected: str) -> None:
    """Raise WeightsError unless the file's SHA-256 is `expected`."""
    actual = sha256(path)
    if actual != expected:
        # The Hub's cache shows links: to delete the link alone would bring the same file back.
        raise WeightsError(
            f"{Path(path).resolve()}: expected weights with sha256 {expected}, got {actual}; "
            "the file is damaged or not the published one: delete it and load again"
        )


def read_config(config: Path) -> dict[str, Any]:
    """The config.json that save_pretrained or timm has written beside weights.

    Raises:
        WeightsError: If there is no such file, or it is no configuration.
    """
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{config}: no such file; expected a folder that save_pretrained has written") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise WeightsError(f"{config}: no configuration; expected one that save_pretrained has written")
    return content


def check_source(entry: registry.Entry | None, cfg: Mapping[str, Any], cache_dir: str | Path | None = None) -> None:
    """Make sure that a timm pretrained_cfg leads to weights, and to the ones that were published.

    A registry entry states the checksum of each file it publishes; a folder or Hub repository that save_pretrained
    or push_to_hub wrote states that of its weights in its config.json. Others have none to compare with.

    Args:
        entry: The registry's entry of the network, if it has one.
        cfg: timm's pretrained_cfg as a dict.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.

    Raises:
        WeightsError: If there are no weights, if they cannot be had, or if a checksum does not match.
    """
    kind, place = source = resolve_pretrained_source(dict(cfg))  # what timm is going to load
    published = [w for w in (entry.weights.values() if entry else ()) if resolve_pretrained_source(dict(w)) == source]
    config = None
    if not kind:
        raise WeightsError(unpublished(entry))
    if kind == "local-dir":
        path, config = Path(place) / WEIGHTS_NAME, Path(place) / CONFIG_NAME
    elif kind == "hf-hub":
        repository, name = (place, WEIGHTS_NAME) if isinstance(place, str) else place
        if name != WEIGHTS_NAME:
            raise WeightsError(f"{repository}: names {name} as its weights; expected {WEIGHTS_NAME}, as of push_to_hub")
        path = download(repository, WEIGHTS_NAME, cache_dir)
        config = None if published else download(repository, CONFIG_NAME, cache_dir)
    elif kind == "file":
        path = Path(place)
    else:
        return
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    if published:
        verify(path, published[0]["sha256"])
    elif config and (checksum := read_config(config).get("sha256")):  # timm's own savers state none
        verify(path, checksum)


_REASONS: dict[type[Exception], str] = {
    GatedRepoError: "access to it is restricted; ask for it on the repository's page, then log in (`hf auth login`)",
    RepositoryNotFoundError: "there is no such repository or folder; check the name, or log in if it is private "
    "(`hf auth login`)",
    RevisionNotFoundError: "the repository has no such branch, tag or commit; check what follows the @",
    LocalEntryNotFoundError: "the Hub is out of reach and the cache does not hold it; check your connection and "
    "HF_HUB_OFFLINE, then load again",
    EntryNotFoundError: "the repository has no such file; expected one that push_to_hub has written",
    HFValidationError: 'expected a folder that exists, "owner/name" or "owner/name@revision"',
}


def download(repository: str, name: str, cache_dir: str | Path | None) -> Path:
    """A file of "owner/name" or "owner/name@revision", from the cache or the Hub.

    Raises:
        WeightsError: If it cannot be had, with huggingface_hub's own error as the cause.
    """
    repo, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(repo, name, revision=revision or None, cache_dir=cache_dir))
    except Exception as error:  # the Hub's, the HTTP library's or the disk's
        reasons = [reason for kind, reason in _REASONS.items() if isinstance(error, kind)]
        reason = reasons[0] if reasons else " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{repository}: cannot have {name} from the Hugging Face Hub: {reason}") from error


def unpublished(entry: registry.Entry | None) -> str:
    """What to say of an entry, or of a code, whose weights are asked for and not there."""
    if entry is None:
        return "no weights are published for a code; build it with pretrained=False and train it"
    makes = f"`autobss train {entry.recipe}` makes them; pretrained=False builds it untrained"
    return f"no weights are published for {entry.name}; {makes}"


def adapt_state_dict(state_dict: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Give the tensors of torchvision's MobileNetV2 or EfficientNet the names that timm uses.

    Both zoos keep the same tensors in the same order under other names (their ResNets share the names as well). A
    state dict that has the model's names is returned as it is, and so is one that does not fit, for
    `load_state_dict` to complain about.
    """
    own = model.state_dict()
    if own.keys() != state_dict.keys() and [t.shape for t in own.values()] == [t.shape for t in state_dict.values()]:
        return dict(zip(own, state_dict.values(), strict=True))
    return dict(state_dict)
