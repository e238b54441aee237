"""The named codes: every network of the paper, with its printed figures, our measured ones, and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any

import yaml

from .codes import Code
from .cost import Cost
from .errors import UnknownNameError, did_you_mean
from .families import Family, family_of


@dataclass(frozen=True)
class Entry:
    """A named code.

    Attributes:
        name: The registry's name, e.g. "resnet50_autobss".
        code: The block-stacking code.
        found_by: "original", "random", "uniform" or "autobss".
        source: The paper's tables.
        printed: The paper's macs and params as it prints them, e.g. {"macs": "4.03B", "params": "23.73M"}.
        measured: Exact macs and params; of a detector where `counts` says so.
        recipe: The name and the settings of what trains the network.
        accuracy: The paper's results in percent, by what they are.
        task: "classification" or "detection".
        input_size: Side in pixels of the image that macs are counted on.
        counts: What the macs count; empty for the whole network.
        notes: What deviates from the paper, and why.
        weights: Published weights by tag; see `autobss_zoo.weights`.
    """

    name: str
    code: Code
    found_by: str
    source: str
    printed: Mapping[str, str]
    measured: Cost
    recipe: tuple[str, Mapping[str, Any]]
    input_size: int
    accuracy: Mapping[str, float] = field(default_factory=dict)
    task: str = "classification"
    counts: str = ""
    notes: str = ""
    weights: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def timm_name(self) -> str:
        """The name in timm's name space: resnet50_autobss is autobss_resnet50 there."""
        return "autobss_" + self.name.replace("_autobss", "")

    @property
    def family(self) -> Family:
        return family_of(self.code)


@cache
def entries() -> dict[str, Entry]:
    """Every entry by its name, in the paper's order."""
    data = yaml.safe_load(resources.files(__package__).joinpath("zoo.yaml").read_text(encoding="utf-8"))
    recipes, models = data["recipes"], data["models"]
    return {name: _entry(name, recipes, **fields) for name, fields in models.items()}


def _entry(name: str, recipes: Mapping, family: str, code: list, recipe: str, measured: Mapping, **fields) -> Entry:
    value = Code(family, tuple(code))
    fields.setdefault("input_size", family_of(value).input_size)
    return Entry(name, value, recipe=(recipe, recipes[recipe]), measured=Cost(**measured), **fields)


def list_models(
    pattern: str = "", *, family: str | None = None, task: str | None = None, pretrained: bool = False
) -> list[str]:
    """Names in the registry, in the paper's order.

    Args:
        pattern: Wildcards as in a shell, matched with either spelling of a name; everything when empty.
        family: A family's name, e.g. "resnet50": its networks and those of the families that vary it.
        task: "classification" or "detection".
        pretrained: Only networks with published weights.

    Raises:
        UnknownNameError: If no entry has the family or the task.
    """
    every = entries().values()
    for key, wanted, known in (
        ("family", family, {n for e in every for n in (e.code.family, e.family.base)}),
        ("task", task, {e.task for e in every}),
    ):
        if wanted is not None and wanted not in known:
            raise UnknownNameError(f"unknown {key} {wanted!r}: {did_you_mean(str(wanted), known)}")
    return [
        e.name
        for e in every
        if (not pattern or fnmatchcase(e.name, pattern) or fnmatchcase(e.timm_name, pattern))
        and family in (None, e.code.family, e.family.base)
        and task in (None, e.task)
        and (not pretrained or e.weights)
    ]


@cache
def _by_name() -> dict[str, Entry]:
    return {name: entry for entry in entries().values() for name in (entry.name, entry.timm_name)}


def get(name: str) -> Entry:
    """The entry called `name`, in either spelling.

    Raises:
        UnknownNameError: If there is none; the message names the nearest ones.
    """
    try:
        return _by_name()[name]
    except (KeyError, TypeError):
        raise UnknownNameError(f"unknown network {name!r}: {did_you_mean(str(name), _by_name())}") from None


def find(name_or_code: str | Code) -> tuple[Code, Entry | None]:
    """The code that a name or a text means, and its entry if a name was given.

    Raises:
        CodeError: If it is a broken code.
        UnknownNameError: If it is an unknown name.
    """
    if isinstance(name_or_code, Code):
        return name_or_code, None
    if "{" in name_or_code:
        return Code.parse(name_or_code), None
    entry = get(name_or_code)
    return entry.code, entry
