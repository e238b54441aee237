"""Recipes: YAML files that read like the papers' tables, each with a base and short overrides.

A recipe is called by its name (imagenet/resnet18, or imagenet/resnet18.original for a variant that its file declares),
or by a file that ends in .yaml. A file states its own keys and, as `base`, the recipe whose other keys it shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .errors import RecipeError, did_you_mean


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


def resolve(recipe: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Resolved:
    """A recipe with its bases and with a user's overrides.

    Mappings inside are merged. Whatever changes `batch_size` and states no `learning_rate` scales the rate in
    proportion, and says so in the notes; likewise `iterations` inversely, and with them the milestones and the warmup.

    Args:
        recipe: A name, a file that ends in .yaml, or a mapping as such a file holds.
        overrides: Keys that replace the recipe's.

    Raises:
        RecipeError: If there is no such recipe, or a file is no mapping; the message names the file.
    """
    found = _resolve(recipe, ())
    return _changed(found, overrides) if overrides else found


def _resolve(recipe: str | Path | Mapping[str, Any], above: tuple[str, ...], near: Path | None = None) -> Resolved:
    if isinstance(recipe, Mapping):
        own, where, variant = dict(recipe), above[-1] if above else "recipe", ""
    else:
        path, variant = _find(str(recipe), near)
        own, where, near = _read(path), str(recipe), path.parent
        if where in above:
            raise RecipeError(f"{where}: its bases lead back to it: {' > '.join((*above, where))}")
    base, variants = own.pop("base", None), own.pop("variants", None) or {}
    found = _resolve(base, (*above, where), near) if base is not None else Resolved({}, where)
    found = _changed(found._replace(where=where), own)
    if variant and variant not in variants:
        raise RecipeError(f"{where}: {near} has no such variant: {did_you_mean(variant, variants)}")
    return _changed(found, variants[variant]) if variant else found


def _find(name: str, near: Path | None) -> tuple[Path, str]:
    """The file of a recipe, and its variant."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name) if near is None else near / name
        if not path.is_file():
            raise RecipeError(f"{path}: there is no such file")
        return path, ""
    stem, _, variant = name.partition(".")
    path = folder() / f"{stem}.yaml"
    if not path.is_file():
        raise RecipeError(f"recipe {name!r}: {did_you_mean(name, list_recipes())} Files of your own end in .yaml")
    return path, variant


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: no YAML: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected a mapping of keys to values, got {content!r}")
    return content


def _changed(found: Resolved, changes: Mapping[str, Any]) -> Resolved:
    """The recipe with changes, and with what has to follow from them.

    A larger batch has a larger rate and, where the length is in iterations, fewer of them; with fewer iterations what
    is stated in them comes earlier.
    """
    values, notes = merged(found.values, changes), list(found.notes)
    for cause, followers in (
        ("batch_size", {"learning_rate": 1, "iterations": -1}),
        ("iterations", {"milestones": 1, "warmup_iterations": 1}),
    ):
        before: Any = found.values.get(cause)
        after: Any = values.get(cause)
        if before == after or not (_positive(before) and _positive(after)):
            continue
        for key, power in followers.items():
            if key not in changes and (old := found.values.get(key)):
                try:
                    values[key] = new = _scaled(old, (after / before) ** power)
                except TypeError:  # no number, which the check of the recipe complains about
                    continue
                notes.append(f"{key}: {_shown(old)} became {_shown(new)}, as {cause} went from {before} to {after}")
    return Resolved(values, found.where, tuple(notes))


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, list):
        return [_scaled(part, factor) for part in value]
    return int(value * factor + 1e-6) if isinstance(value, int) else value * factor  # down: milestones stay inside


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


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
        if not equals or not key.strip():
            raise RecipeError(f"--set {setting}: expected key=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {setting}: the value is no YAML: {error}") from None
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        changes = merged(changes, value)
    return changes
