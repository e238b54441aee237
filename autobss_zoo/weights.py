"""Weights: where they come from, whether they are the ones that were published, and other zoos' state dicts."""

from __future__ import annotations

import hashlib
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from safetensors import safe_open
from torch import nn

from . import registry
from .codes import Code
from .configuration import CONFIG_NAME, ComposedConfiguration, Configuration, read_config
from .errors import UnknownNameError, WeightsError, shown
from .names import FROM_CODE

WEIGHTS_NAME = "model.safetensors"
PICKLED_NAME = "pytorch_model.bin"


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


@dataclass(frozen=True)
class Saved:
    """A network in a folder or repository.

    Attributes:
        where: What errors call it.
        config: Its configuration.
        weights: The file of its weights.
    """

    where: str
    config: Configuration | ComposedConfiguration
    weights: Path


def open_saved(place: str | Path, *, revision: str | None = None, **options: Any) -> Saved:
    """Find a saved network, and check its configuration and its weights as they lie there.

    Args:
        place: A folder, or a repository "owner/name" or "owner/name@revision" where no such folder exists.
        revision: A branch, tag or commit; what it is given for is a repository, never a folder.
        **options: huggingface_hub's: token, cache_dir, local_files_only, force_download.

    Raises:
        WeightsError: If it is not there or broken, or if the weights do not match their checksum.
    """
    config, file = open_config(place, revision, **options)
    weights = _weights(file, bool(config.sha256))
    if config.sha256:
        verify(weights, config.sha256)
    return Saved(f"{place}@{revision}" if revision else str(place), config, weights)


def open_config(
    place: str | Path, revision: str | None = None, **options: Any
) -> tuple[Configuration | ComposedConfiguration, Callable[[str], Path]]:
    """The configuration of a saved network, and what finds a file beside it; arguments and errors as of open_saved."""
    folder = revision is None and os.path.isdir(place)
    where = f"{place}@{revision}" if revision else str(place)

    def file(name: str) -> Path:
        return Path(place) / name if folder else download(where, name, **options)

    path = file(CONFIG_NAME)
    config = read_config(path, "" if folder else f"{where}: {CONFIG_NAME}")
    if isinstance(config, Configuration):
        _check_code(config, f"{where}: {CONFIG_NAME}")
    return config, file


def _check_code(config: Configuration, where: str) -> None:
    """Raise WeightsError unless a configuration states one code, where its network is made from one."""
    name, given = config.architecture, config.model_args.get("code")
    if name == FROM_CODE:
        if given is None:
            raise WeightsError(f"{where}: model_args.code: is missing; expected the code of the network")
        return
    try:
        known = registry.get(name).code
    except UnknownNameError:  # it is one of timm's, or nobody's
        return
    if given is not None or (config.code and Code.parse(config.code) != known):
        raise WeightsError(f"{where}: code: expected {known}, the code of {name}, got {shown(given or config.code)}")


def _weights(file: Callable[[str], Path], ours: bool) -> Path:
    """The file of weights: ours are safetensors, timm also writes a pickle, which is read as tensors alone."""
    try:
        path = file(WEIGHTS_NAME)
        if path.is_file():
            return path
        raise WeightsError(f"{path}: no such file of weights")
    except WeightsError:
        if ours:
            raise
        try:
            path = file(PICKLED_NAME)
        except WeightsError:
            path = Path()
        if not path.is_file():
            raise
        return path


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a file of weights.

    Raises:
        WeightsError: If it is none.
    """
    try:
        if path.name == PICKLED_NAME:
            state = torch.load(path, map_location="meta", weights_only=True)
            return {str(name): tuple(tensor.shape) for name, tensor in state.items()}
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors, pickle and torch have kinds of their own
        raise WeightsError(f"{path}: expected weights that save_pretrained has written; {in_line(error)}") from error


def check_fit(where: str, weights: Path, create: Callable[[], nn.Module]) -> None:
    """Check that what a configuration gives can hold a file's tensors, before memory is spent on it.

    Args:
        where: What an error calls the configuration.
        weights: The file.
        create: Makes the network as it was saved.

    Raises:
        WeightsError: If it gives no network, or one of other layers.
    """
    shapes = shapes_in(weights)
    try:
        with torch.device("meta"):
            own = {name: tuple(tensor.shape) for name, tensor in create().state_dict().items()}
    except Exception as error:  # anybody can have written the arguments, and each network has kinds of its own
        raise WeightsError(f"{where}: {CONFIG_NAME} gives no network: {in_line(error)}") from error
    if other := sorted({name for name, _ in own.items() ^ shapes.items()}):
        name = other[0]
        raise WeightsError(
            f"{where}: the weights are of another network than {CONFIG_NAME} states: {shown(name)} is expected with "
            f"shape {own.get(name)}, got {shapes.get(name)}"
        )


def in_line(error: BaseException) -> str:
    """An error of somebody else's as part of a line of bounded length."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder="...")


def check_source(
    entry: registry.Entry | None, cfg: Mapping[str, Any], cache_dir: str | Path | None = None
) -> Path | None:
    """Make sure that a timm pretrained_cfg leads to weights, and to the ones that were published.

    A registry entry states the checksum of each file it publishes; a folder or Hub repository that save_pretrained
    or push_to_hub wrote states that of its weights in its config.json. Others have none to compare with.

    Args:
        entry: The registry's entry of the network, if it has one.
        cfg: timm's pretrained_cfg as a dict.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.

    Returns:
        The file, where it was saved or published by this package; None for a file or address of the user's own.

    Raises:
        WeightsError: If there are no weights, if they cannot be had, or if a checksum does not match.
    """
    from .timm_private import resolve_pretrained_source  # timm's import imports `models`, which needs this module

    kind, place = source = resolve_pretrained_source(dict(cfg))  # what timm is going to load
    published = [w for w in (entry.weights.values() if entry else ()) if resolve_pretrained_source(dict(w)) == source]
    if not kind:
        raise WeightsError(unpublished(entry))
    repository = place if isinstance(place, str) else place[0]
    if kind in ("local-dir", "hf-hub") and not published:
        options: dict[str, Any] = {"cache_dir": cache_dir} if kind == "hf-hub" else {}
        return open_saved(repository, **options).weights
    if kind not in ("file", "hf-hub"):
        return None
    path = Path(place) if kind == "file" else download(repository, WEIGHTS_NAME, cache_dir=cache_dir)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    if not published:
        return None
    if "sha256" in published[0]:  # which timm does not state of its own
        verify(path, published[0]["sha256"])
    return path


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


def download(repository: str, name: str, **options: Any) -> Path:
    """A file of "owner/name" or "owner/name@revision", from the cache or the Hub.

    Args:
        repository: The repository.
        name: The file.
        **options: huggingface_hub's: token, cache_dir, local_files_only, force_download.

    Raises:
        WeightsError: If it cannot be had, with huggingface_hub's own error as the cause.
    """
    repo, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(repo, name, revision=revision or None, **options))
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
