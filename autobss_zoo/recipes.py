"""Recipes: YAML files that read like the papers' tables, each with a base and short overrides.

A recipe is called by its name (imagenet/resnet18, or imagenet/resnet18.original for a variant that its file declares),
or by a file that ends in .yaml. A file states its own keys and, as `base`, the recipe whose other keys it shares.

A path in a file of one's own is relative to that file; one in an option, in a mapping in Python, or in a shipped
recipe is relative to the working directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from .errors import AutoBSSError, RecipeError, did_you_mean, shown
from .yaml_text import check_mapping, parse_yaml, read_yaml

FILES = (".yaml", ".yml")
"""What the names of files end in, where a name could stand, too."""

_PATHS = ("data_dir",)
_TABLES = ("file", "table", "surrogate")
_PATHS_OR_NAMES = ("base", "space", "training", "weights", "backbone_weights", "teacher")
_LONGEST_CHAIN = 16  # of bases

Plain = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Writes out the short forms in a mapping of keys to values."""


class Resolved(NamedTuple):
    """A recipe with its bases.

    Attributes:
        values: All keys but base and variants.
        where: What to call it in errors.
        notes: What was changed without being asked for, for the user to know.
    """

    values: dict[str, Any]
    where: str
    notes: tuple[str, ...] = ()


@cache
def folder() -> Path:
    """Where the shipped recipes are: in the package or in a checkout."""
    here = Path(__file__).parent
    return next(path for path in (here / "recipe_files", here.parent / "recipes") if path.is_dir())


def list_recipes(pattern: str = "") -> list[str]:
    """Names of the shipped recipes with their variants; files that begin with _ are only bases.

    Args:
        pattern: Wildcards as in a shell; everything when empty.
    """
    names = []
    for path in sorted(folder().glob("*/*.yaml")):
        if not path.name.startswith("_"):
            name = f"{path.parent.name}/{path.stem}"
            names += [name, *(f"{name}.{variant}" for variant in _read(path).get("variants", {}))]
    return [name for name in names if not pattern or fnmatchcase(name, pattern)]


def resolve(
    recipe: str | Path | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    plain: Plain = dict,
) -> Resolved:
    """A recipe with its bases and with a user's overrides.

    Mappings inside are merged. Whatever changes `batch_size` and states no `learning_rate` scales the rate in
    proportion, and says so in the notes; likewise `iterations` inversely, and with them the milestones and the warmup.

    Args:
        recipe: A name, a file that ends in .yaml, or a mapping as such a file holds.
        overrides: Keys that replace the recipe's.
        plain: What a file's, a variant's or the overrides' keys mean, written without short forms; applied to each
            before they are merged.

    Raises:
        RecipeError: If there is no such recipe, or a file is no mapping; the message names the file.
    """
    found = _resolve(recipe, (), plain)
    if not overrides:
        return found
    check_mapping(overrides, found.where)
    return _changed(found, _plain(overrides, plain, found.where))


def _resolve(
    recipe: str | Path | Mapping[str, Any],
    above: tuple[Path, ...],
    plain: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Resolved:
    variant = ""
    if isinstance(recipe, Mapping):
        own, where = dict(recipe), "recipe"
        check_mapping(own, where)
    else:
        path, variant = _find(str(recipe))
        own, where = _read(path), str(recipe)
        real = path.resolve().with_name(f"{path.name}.{variant}")
        if real in above or len(above) == _LONGEST_CHAIN:
            raise RecipeError(f"{where}: its bases lead back to it, or are more than {_LONGEST_CHAIN}")
        above = (*above, real)
    base, variants = own.pop("base", None), own.pop("variants", None) or {}
    if not isinstance(base, (str, type(None))):
        raise RecipeError(f"{where}: base: expected a recipe's name or a file, got {shown(base)}")
    if not isinstance(variants, Mapping) or not all(isinstance(changes, Mapping) for changes in variants.values()):
        raise RecipeError(f"{where}: variants: expected a mapping of names to mappings, got {shown(variants)}")
    if variant and variant not in variants:
        raise RecipeError(f"{where}: {path.parent} has no such variant: {did_you_mean(variant, variants)}")
    found = _resolve(base, above, plain) if base is not None else Resolved({}, where)
    found = _changed(found._replace(where=where), _plain(own, plain, where))
    return _changed(found, _plain(variants[variant], plain, where)) if variant else found


def _plain(values: Mapping[str, Any], plain: Plain, where: str) -> dict[str, Any]:
    try:
        return plain(values)
    except AutoBSSError as error:
        raise RecipeError(f"{where}: {error}") from None


def _find(name: str) -> tuple[Path, str]:
    """The file of a recipe, and its variant."""
    if name.endswith(FILES):
        return Path(name), ""
    stem, _, variant = name.partition(".")
    path = folder() / f"{stem}.yaml"
    if not re.fullmatch(r"\w+/\w+", stem) or not os.path.isfile(path):
        near = did_you_mean(name, list_recipes(), "`autobss recipes` shows all.")
        raise RecipeError(f"recipe {shown(name)}: {near} Files of your own end in .yaml")
    return path, variant


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if content is None:
        raise RecipeError(f"{path}: is empty; expected a mapping of keys to values")
    check_mapping(content, str(path))
    return content if path.resolve().is_relative_to(folder().resolve()) else _located(content, path.parent)


def _located(values: Mapping[str, Any], near: Path) -> dict[str, Any]:
    """A file's values with its paths made absolute."""
    out = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "model_args":
            value = _located(value, near)
        elif isinstance(value, str) and value and key in _PATHS + _TABLES + _PATHS_OR_NAMES:
            path = os.path.abspath(near / os.path.expanduser(value))
            there = key.endswith((*_TABLES, "weights", "teacher")) and os.path.exists(path)  # else a name
            ends = bool(Path(value).suffix) if key in _TABLES else value.endswith(FILES)
            value = path if key in _PATHS or ends or there else value
        out[key] = value
    return out


def _changed(found: Resolved, changes: Mapping[str, Any]) -> Resolved:
    """The recipe with changes, and with what has to follow from them.

    A larger batch has a larger rate and, where the length is in iterations, fewer of them; with fewer iterations what
    is stated in them comes earlier.
    """
    values, notes = merged(found.values, changes), list(found.notes)
    for cause, followers in (
        ("batch_size", {"learning_rate": 1, "min_learning_rate": 1, "iterations": -1}),
        ("iterations", {"milestones": 1, "warmup_iterations": 1}),
    ):
        before: Any = found.values.get(cause)
        after: Any = values.get(cause)
        if before == after or not (_positive(before) and _positive(after)) or not 1e-6 < after / before < 1e6:
            continue
        for key, power in followers.items():
            if key not in changes and (old := found.values.get(key)):
                try:
                    values[key] = new = _scaled(old, (after / before) ** power)
                except (TypeError, ValueError, ArithmeticError):  # which the check of the recipe complains about
                    continue
                notes.append(f"{key}: {_brief(old)} became {_brief(new)}, as {cause} went from {before} to {after}")
    return Resolved(values, found.where, tuple(notes))


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, list):
        return [_scaled(part, factor) for part in value]
    return int(value * factor + 1e-6) if isinstance(value, int) else value * factor  # down: milestones stay inside


def _brief(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else shown(value)


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e18


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with changes; a mapping in both is merged likewise."""
    both = {**values, **changes}
    for key, change in changes.items():
        if isinstance(change, Mapping) and isinstance(before := values.get(key), Mapping):
            both[key] = merged(before, change)
    return both


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """What `--set` gives, such as ["epochs=2", "training.batch_size=64"], as a mapping.

    Raises:
        RecipeError: If one has no "=", or its value is no YAML.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise RecipeError(f"--set {setting[:60]}: expected key=value")
        value = parse_yaml(text, f"--set {key}")
        for part in reversed(parts):
            value = {part: value}
        check_mapping(value, f"--set {key}")
        changes = merged(changes, value)
    return changes
