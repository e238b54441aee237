"""Weights: where they come from, whether they are the ones that were published, and other zoos' state dicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError
from torch import nn

from . import registry
from .errors import WeightsError

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
        raise WeightsError(
            f"{path}: expected weights with sha256 {expected}, got {actual}; "
            "the file is damaged or not the published one: delete it and load again"
        )


def check_source(entry: registry.Entry | None, cfg: Mapping[str, Any], cache_dir: str | Path | None = None) -> None:
    """Make sure that a timm pretrained_cfg leads to weights, and to the ones that were published.

    A folder or Hub repository states the checksum of its weights in its config.json; a registry entry states that of
    each file it publishes. Weights from elsewhere (a file or state dict of the user's own) have none to compare with.

    Args:
        entry: The registry's entry of the network, if it has one.
        cfg: timm's pretrained_cfg as a dict.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.

    Raises:
        WeightsError: If there are no weights, if they cannot be had, or if a checksum does not match.
    """
    if cfg.get("source") == "local-dir":
        folder = Path(cfg["file"])
        _verify_config(folder / CONFIG_NAME, folder / WEIGHTS_NAME)
    elif cfg.get("hf_hub_id"):
        config, weights = (download(cfg["hf_hub_id"], name, cache_dir) for name in (CONFIG_NAME, WEIGHTS_NAME))
        _verify_config(config, weights)
    elif cfg.get("file"):
        if not Path(cfg["file"]).is_file():
            raise WeightsError(f"{cfg['file']}: no such file of weights")
        published = [w["sha256"] for w in (entry.weights.values() if entry else ()) if w["file"] == cfg["file"]]
        for checksum in published:
            verify(cfg["file"], checksum)
    elif not any(cfg.get(key) for key in ("state_dict", "url")):
        raise WeightsError(_unpublished(entry))


def download(repository: str, name: str, cache_dir: str | Path | None) -> Path:
    """A file of "owner/name" or "owner/name@revision", from the cache or the Hub."""
    repo, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(repo, name, revision=revision or None, cache_dir=cache_dir))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{repository}: cannot have {name} from the Hugging Face Hub: {reason}") from error


def _verify_config(config: Path, weights: Path) -> None:
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file; expected a folder that save_pretrained has written")
    if checksum := json.loads(config.read_text(encoding="utf-8")).get("sha256"):
        verify(weights, checksum)


def _unpublished(entry: registry.Entry | None) -> str:
    if entry is None:
        return "no weights are published for a code; build it with pretrained=False and train it"
    name, settings = entry.recipe
    return (
        f"no weights are published for {entry.name}; the recipe {name} makes them "
        f"({', '.join(f'{key} {value}' for key, value in settings.items())}); pretrained=False builds it untrained"
    )


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
