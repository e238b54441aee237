"""The declared spaces by name, and spaces of a user's own from YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autobss_zoo.codes import Code, Field
from autobss_zoo.cost import Setting
from autobss_zoo.errors import UnknownNameError, did_you_mean
from autobss_zoo.families import Family, get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.families.resolution import SUFFIX, SYMBOL

from ..errors import SpaceError
from .budgets import Constraint, Counted, Figure, make_constraints
from .space import Dimension, Space

_COUNTING = ("input_size", "in_chans", "num_classes")
_KEYS = {"family", "detector", "width", "budget", *_COUNTING}
_RULES = ({"choices"}, {"step", "high"}, {"step", "low", "high"}, {"powers", "low", "high"}, {"fractions"})


def list_spaces() -> list[str]:
    """The names of the declared spaces."""
    return list(_declared())


def get_space(
    name: str,
    macs: float | str | None = None,
    params: float | str | None = None,
    *,
    setting: Setting | None = None,
    detector: DetectorKind | None = None,
    rules: Mapping[str, Any] | None = None,
    constraints: Iterable[Constraint] = (),
    **budget: Any,
) -> Space:
    """A declared space under a budget.

    Args:
        name: One of `list_spaces()`.
        macs: An upper bound as a number or a text such as "300M", or a range such as "270M..300M". Without any bound
            or constraint: at most the MACs of the family's hand-made code, as in the paper (section 4.1).
        params: The same of the parameters.
        setting: What the networks are counted with; the family's own input size where it states none.
        detector: Count this detector over the code's backbone, as the spaces of detectors do by themselves.
        rules: Rules of elements instead of the declared ones, as in spaces.yaml; {"R": {"choices": [192, 224]}} also
            searches the side of the images.
        constraints: Further bounds, e.g. on a latency that you measure.
        **budget: Bounds on other registered costs, e.g. activations.

    Raises:
        UnknownNameError: If there is no space of this name.
        SpaceError: If no code meets the bounds.
    """
    bounds = {key: value for key, value in {"macs": macs, "params": params, **budget}.items() if value is not None}
    constraints = tuple(constraints)
    own = {"budget": bounds} if bounds or constraints else {}
    return _space({**_base(name), **(rules or {}), **own}, setting, detector, constraints, name)


def load_space(
    source: str | Path | Mapping[str, Any],
    budget: Mapping[str, Any] | None = None,
    setting: Setting | None = None,
    detector: DetectorKind | None = None,
) -> Space:
    """A space of your own from a YAML file, or from the mapping that such a file holds.

    Either a family of the zoo and one rule for each kind of element, as in spaces.yaml::

        family: resnet18_small
        C: {step: 8, high: [32, 64, 128, 256]}
        L: {step: 1, high: 4}
        budget: {macs: 10M}

    or a declared space with what differs, such as images of several sizes::

        base: resnet18_small
        R: {choices: [24, 28, 32]}

    or, for codes that are no networks of the zoo, a new family and the choices of each element::

        family: mine
        dimensions: {W1: [8, 16, 32], W2: [16, 32, 64]}

    Args:
        source: The file or the mapping. `input_size`, `in_chans` and `num_classes` say how networks are counted; of a
            `detector`, `width`.
        budget: Bounds instead of the source's: {"macs": ..., "params": ...}.
        setting: What networks are counted with where the source does not say.
        detector: What is counted, of these networks, where the source does not say.

    Raises:
        SpaceError: If a key or value is wrong, or no code meets the bounds.
    """
    where = "space" if isinstance(source, Mapping) else str(source)
    if not isinstance(source, Mapping):
        source = _read(source)
    if isinstance(source, Mapping) and "base" in source:
        source = {**_base(source["base"]), **{key: value for key, value in source.items() if key != "base"}}
    if not isinstance(source, Mapping) or not isinstance(source.get("family"), str):
        raise SpaceError(f"{where}: expected a mapping with the key family, or base")
    return _space({**source, **({"budget": budget} if budget else {})}, setting, detector, (), where)


def read_space(source: Any) -> Any:
    """A space as recipes name it, such that it means the same in any folder: a declared name, or what a file holds.

    Raises:
        SpaceError: If it is neither a name, nor a file, nor a mapping.
    """
    if not isinstance(source, str) or source in list_spaces():
        return source
    if not Path(source).is_file():
        raise SpaceError(f"space: {source!r} is no file: {did_you_mean(source, list_spaces())}")
    return _read(source)


def find_space(source: Any, budget: Mapping[str, Any], **counting: Any) -> Space:
    """The space that a recipe names.

    Args:
        source: A declared space's name, a file, or the mapping that such a file holds.
        budget: By the costs' names their bounds.
        **counting: setting and detector, as of `get_space`.

    Raises:
        SpaceError: If there is no such space, or no code meets the bounds.
    """
    source = read_space(source)
    if isinstance(source, str):
        return get_space(source, **budget, **counting)
    return load_space(source if source is not None else {}, budget, **counting)


def _read(path: str | Path) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SpaceError(f"{path}: no YAML: {error}") from None


def _declared() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(resources.files(__package__).joinpath("spaces.yaml").read_text(encoding="utf-8"))


def _base(name: Any) -> dict[str, Any]:
    """What a declared space's name stands for."""
    declared = _declared()
    if not isinstance(name, str) or name not in declared:
        raise UnknownNameError(f"unknown space {name!r}: {did_you_mean(str(name), declared)}")
    return {"family": name, **declared[name]}


def _space(
    spec: Mapping[str, Any],
    setting: Setting | None,
    detector: DetectorKind | None,
    constraints: tuple[Constraint, ...],
    where: str,
) -> Space:
    if "dimensions" in spec:
        _check_keys(spec, {"family", "dimensions"}, where)
        choices = spec["dimensions"]
        if not isinstance(choices, Mapping) or not all(isinstance(c, (list, tuple)) for c in choices.values()):
            raise SpaceError(f"{where}: dimensions: expected a mapping of names to lists of choices, got {choices!r}")
        return Space(spec["family"], [Dimension(str(name), tuple(c)) for name, c in choices.items()], constraints)
    family = get_family(spec["family"])
    if SYMBOL in spec and family.inner is family:
        family = get_family(family.name + SUFFIX)
    _check_keys(spec, _KEYS | {f.symbol for f in family.fields}, where)
    dimensions = [d for f in family.fields for d in _rule(f, spec.get(f.symbol), f"{where}: {f.symbol}")]
    counted = _counted(spec, family, setting, detector)
    budget = spec.get("budget") or {}
    if not isinstance(budget, Mapping):
        raise SpaceError(f"{where}: budget: expected a mapping of costs to amounts, got {budget!r}")
    if not budget and not constraints:
        inner = family.inner
        original = Code(inner.name, inner.original)
        plain = Counted(inner.name, counted.setting, counted.detector)
        budget = {"macs": Figure("macs", plain)(np.array([original.values])).item()}
    bounds = make_constraints(budget, counted, f"{where}: ")
    return Space(family.name, dimensions, (*bounds, *constraints))


def _counted(
    spec: Mapping[str, Any], family: Family, setting: Setting | None, detector: DetectorKind | None
) -> Counted:
    """What a space counts: what its source says, else what it is told, else its family's or detector's own."""
    if "detector" in spec and detector is None:
        detector = DetectorKind(spec["detector"], **({"width": spec["width"]} if "width" in spec else {}))
    stated = {key: spec[key] for key in _COUNTING if spec.get(key) is not None}
    if setting is None:
        setting = Setting(num_classes=80) if detector else Setting()
    setting = Setting(**{**setting.describe(), **stated})
    return Counted(family.name, detector.setting(setting) if detector else family.setting(setting), detector)


def _check_keys(spec: Mapping[str, Any], known: set[str], where: str) -> None:
    if odd := spec.keys() - known:
        key = sorted(map(str, odd))[0]
        raise SpaceError(f"{where}: unknown key {key!r}: {did_you_mean(key, known)}")


def _rule(field: Field, rule: Any, where: str) -> list[Dimension]:
    """The dimensions of a field by its rule, one value for each element or one for all."""
    if not isinstance(rule, Mapping) or rule.keys() - {"ordered"} not in _RULES:
        forms = "; ".join(", ".join(sorted(form)) for form in _RULES)
        raise SpaceError(f"{where}: expected a mapping with one of these sets of keys: {forms}; got {rule!r}")
    if type(ordered := rule.get("ordered", True)) is not bool or ("ordered" in rule and "choices" not in rule):
        raise SpaceError(f"{where}: ordered: expected true or false, beside choices, got {rule!r}")
    if "fractions" in rule or "choices" in rule:
        of = field.part_of if "fractions" in rule else None
        if "fractions" in rule and of is None:
            raise SpaceError(
                f"{where}: {field.symbol} is no part of another element; give choices instead of fractions"
            )
        try:
            choices = tuple(Fraction(c) if of else c for c in rule["fractions" if of else "choices"])
        except (TypeError, ValueError, ZeroDivisionError):
            raise SpaceError(f"{where}: expected a list of {'fractions' if of else 'integers'}, got {rule!r}") from None
        bases = [f"{of}{place}" if of else None for place in field.places] or [None]
        return [Dimension(n, choices, base, ordered) for n, base in zip(field.names, bases, strict=True)]
    each: list[dict[str, int]] = [{} for _ in field.names]
    for key, value in rule.items():
        values = value if isinstance(value, list) else [value] * len(each)
        if len(values) != len(each) or not all(type(v) is int and v > 0 for v in values):
            raise SpaceError(f"{where}.{key}: expected a positive integer or {len(each)} of them, got {value!r}")
        for stage, v in zip(each, values, strict=True):
            stage[key] = v
    return [Dimension(name, _choices(stage)) for name, stage in zip(field.names, each, strict=True)]


def _choices(rule: dict[str, int]) -> tuple[int, ...]:
    if "step" in rule:
        return tuple(range(rule.get("low", rule["step"]), rule["high"] + 1, rule["step"]))
    out = [rule["low"]]
    while rule["powers"] > 1 and out[-1] * rule["powers"] <= rule["high"]:
        out.append(out[-1] * rule["powers"])
    return tuple(out)
