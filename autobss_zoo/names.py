"""What names of networks mean, and which a published one can have: in timm it must replace none of timm's own."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.machinery import PathFinder
from keyword import iskeyword
from pathlib import Path

from .errors import WeightsError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[^\s@]+)?")
_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}")
FROM_CODE = "autobss_from_code"
"""timm's name of the entry point that builds any code: timm.create_model(FROM_CODE, code="resnet18{...}")."""

_RESERVED = {"dependencies", FROM_CODE}  # torch.hub's own, and ours

# How timm's files state its networks, and the names that these had before.
_NETWORK = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)
_FORMER = re.compile(r"^register_model_deprecations\((.*?)^\}\)", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"^\s+['\"](\w+)['\"]\s*:", re.MULTILINE)


@cache
def timms_names() -> frozenset[str]:
    """The names of timm's own networks, read off its files: to import it takes seconds, and torch."""
    spec = PathFinder.find_spec("timm")
    if spec is None or spec.origin is None:
        return frozenset()
    names: set[str] = set()
    for file in (Path(spec.origin).parent / "models").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        names.update(_NETWORK.findall(text))
        for former in _FORMER.findall(text):
            names.update(_KEY.findall(former))
    return frozenset(names)


def check_name(name: str, tag: str) -> None:
    """Check the name and the tag of a published network.

    Raises:
        WeightsError: If one is no identifier of small letters, or the name is one of timm's.
    """
    for what, text in (("name", name), ("tag", tag)):
        if not _PATTERN.fullmatch(text) or iskeyword(text):
            raise WeightsError(
                f"{what}: expected up to 64 small letters, digits and _, as in resnet_small.fmnist, got {text[:80]!r}"
            )
    if name in _RESERVED or name in timms_names():
        owner = "is reserved" if name in _RESERVED else "is a network of timm's"
        raise WeightsError(f"name: {name} {owner}; choose another, such as {name}_autobss")


def is_saved(name: str | Path) -> bool:
    """Whether a text means a folder, or else a repository on the Hub, and no name or code."""
    return os.path.isdir(name) or is_repository(str(name))


def is_repository(name: str) -> bool:
    """Whether a text is a name of the Hub's, "owner/name" or "owner/name@revision"."""
    return _REPOSITORY.fullmatch(name) is not None
