"""The declared spaces by name, and spaces of a user's own from YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from autobss_zoo.codes import Code, Field
from autobss_zoo.cost import Setting
from autobss_zoo.errors import UnknownNameError, did_you_mean, shown
from autobss_zoo.families import Family, get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.families.resolution import SUFFIX, SYMBOL
from autobss_zoo.recipes import FILES
from autobss_zoo.yaml_text import check_mapping, parse_yaml, read_yaml

from ..errors import SpaceError
from .budgets import Constraint, Counted, Figure, make_constraints
from .space import Dimension, Space

_COUNTING = {"input_size": 8192, "in_chans": 4096, "num_classes": 1_000_000}
_WIDEST = 4096  # of a detector
_KEYS = {"family", "detector", "width", "budget", *_COUNTING}
_MOST_CHOICES = 4096
_FRACTION = re.compile(r"[0-9]{1,6}(/[0-9]{1,6}|\.[0-9]{1,6})?", re.ASCII)
_RULES = (
    {"choices"},
    {"step", "high"},
    {"step", "low", "high"},
    {"powers", "low", "high"},
    {"fractions"},
    {"of", "step", "low", "high"},
    {"groups"},
    {"groups", "low"},
    {"groups", "times"},
    {"groups", "low", "times"},
)


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
    return _space({**_base(name), **(rules or {})}, bounds, setting, detector, tuple(constraints), name)


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
        budget: Further bounds, {"macs": ..., "params": ...}. Each replaces the source's bound of the same cost, as each
            of the source's does that of its base; bounds of other costs stay. None lifts a bound.
        setting: What networks are counted with where the source does not say.
        detector: What is counted, of these networks, where the source does not say.

    Raises:
        SpaceError: If a key or value is wrong, or no code meets the bounds.
    """
    where = "space" if isinstance(source, Mapping) else str(source)
    stated: Mapping[str, Any] = source if isinstance(source, Mapping) else _read(source)
    check_mapping(stated, where, SpaceError)
    bounds: dict[str, Any] = {**(budget or {})}
    if "base" in stated:
        own = {key: value for key, value in stated.items() if key not in ("base", "budget")}
        bounds = {**_budget(stated, where), **bounds}
        stated = {**_base(stated["base"]), **own}
    if not isinstance(stated.get("family"), str):
        raise SpaceError(f"{where}: expected a mapping with the key family, or base")
    return _space(stated, bounds, setting, detector, (), where)


def read_space(source: Any) -> Any:
    """A space as recipes name it, such that it means the same in any folder: a declared name, or what a file holds.

    Raises:
        SpaceError: If it is neither a name, nor a file, nor a mapping.
    """
    if not isinstance(source, str) or source in list_spaces():
        return source
    if not source.endswith(FILES):
        raise SpaceError(f"space: {shown(source)}: {did_you_mean(source, list_spaces())} Files end in .yaml")
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
        source = {"base": source}
    return load_space(source if source is not None else {}, budget, **counting)


def _read(path: Any) -> Any:
    if not isinstance(path, (str, Path)):
        raise SpaceError(f"space: expected a file or a mapping, got {shown(path)}")
    return read_yaml(path, SpaceError)


@cache
def _declared() -> dict[str, dict[str, Any]]:
    name = "spaces.yaml"
    return parse_yaml(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"), name)


def _base(name: Any) -> dict[str, Any]:
    """What a declared space's name stands for."""
    declared = _declared()
    if not isinstance(name, str) or name not in declared:
        raise UnknownNameError(f"unknown space {shown(name)}: {did_you_mean(str(name), declared)}")
    return {"family": name, **declared[name]}


def _space(
    spec: Mapping[str, Any],
    bounds: Mapping[str, Any],
    setting: Setting | None,
    detector: DetectorKind | None,
    constraints: tuple[Constraint, ...],
    where: str,
) -> Space:
    if "dimensions" in spec:
        return _own_space(spec, bounds, constraints, where)
    family = get_family(spec["family"])
    if SYMBOL in spec and family.inner is family:
        family = get_family(family.name + SUFFIX)
    _check_keys(spec, _KEYS | {f.symbol for f in family.fields}, where)
    originals = family.layout.divide(family.original)
    dimensions = [
        dimension
        for field in family.fields
        for dimension in _rule(field, spec.get(field.symbol), originals[field.symbol], f"{where}: {field.symbol}")
    ]
    counted = _counted(spec, family, setting, detector, where)
    bounded = {c.name for c in constraints}
    own = {name: bound for name, bound in _budget(spec, where).items() if name not in bounded}
    budget = {name: bound for name, bound in {**own, **bounds}.items() if bound is not None}
    if not budget and not constraints:
        inner = family.inner
        original = Code(inner.name, inner.original)
        plain = Counted(inner.name, counted.setting, counted.detector)
        budget = {"macs": Figure("macs", plain)(np.array([original.values])).item()}
    return Space(family.name, dimensions, (*make_constraints(budget, counted, f"{where}: "), *constraints))


def _own_space(
    spec: Mapping[str, Any], bounds: Mapping[str, Any], constraints: tuple[Constraint, ...], where: str
) -> Space:
    """A space of codes that are no networks of the zoo."""
    _check_keys(spec, {"family", "dimensions"}, where)
    if bounds:
        raise SpaceError(f"{where}: budget: nothing is known of the costs of {spec['family']}, got {shown(bounds)}")
    choices = spec["dimensions"]
    if not isinstance(choices, Mapping) or not all(isinstance(c, (list, tuple)) for c in choices.values()):
        raise SpaceError(f"{where}: dimensions: expected a mapping of names to lists of choices, got {shown(choices)}")
    return Space(spec["family"], [Dimension(name, tuple(c)) for name, c in choices.items()], constraints)


def _budget(spec: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    budget = spec.get("budget", {})
    if not isinstance(budget, Mapping):
        raise SpaceError(f"{where}: budget: expected a mapping of costs to amounts, got {shown(budget)}")
    return budget


def _counted(
    spec: Mapping[str, Any], family: Family, setting: Setting | None, detector: DetectorKind | None, where: str
) -> Counted:
    """What a space counts: what its source says, else what it is told, else its family's or detector's own."""
    if "width" in spec and "detector" not in spec:
        raise SpaceError(f"{where}: width: is a detector's, and there is none")
    for key, most in {**_COUNTING, "width": _WIDEST}.items():
        value = spec.get(key)
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            expected = "a positive integer" if type(value) is not int or value < 1 else f"at most {most:,}"
            raise SpaceError(f"{where}: {key}: expected {expected}, got {shown(value)}")
    if "detector" in spec and detector is None:
        try:
            detector = DetectorKind(spec["detector"], **({"width": spec["width"]} if "width" in spec else {}))
        except ValueError as error:
            raise SpaceError(f"{where}: {error}") from None
    stated = {key: spec[key] for key in _COUNTING if spec.get(key) is not None}
    if setting is None:
        setting = Setting(num_classes=80) if detector else Setting()
    setting = Setting(**{**setting.describe(), **stated})
    return Counted(family.name, detector.setting(setting) if detector else family.setting(setting), detector)


def _check_keys(spec: Mapping[str, Any], known: set[str], where: str) -> None:
    if odd := spec.keys() - known:
        key = min(odd)
        raise SpaceError(f"{where}: unknown key {shown(key)}: {did_you_mean(key, known)}")


def _rule(field: Field, rule: Any, original: list[int], where: str) -> list[Dimension]:
    """The dimensions of a field by its rule, one value for each element or one for all; of the hand-made elements."""
    if not isinstance(rule, Mapping) or rule.keys() - {"ordered"} not in _RULES:
        forms = "; ".join(", ".join(sorted(form)) for form in _RULES)
        raise SpaceError(f"{where}: expected a mapping with one of these sets of keys: {forms}; got {shown(rule)}")
    if type(ordered := rule.get("ordered", True)) is not bool or ("ordered" in rule and "choices" not in rule):
        raise SpaceError(f"{where}: ordered: expected true or false, beside choices, got {shown(rule)}")
    if "fractions" in rule:
        return _fractions(field, rule["fractions"], where)
    if "choices" in rule:
        return _listed(field, rule["choices"], ordered, where)
    if "of" in rule:
        return _shares(field, rule, where)
    if "groups" in rule:
        return _groups(field, rule, original, where)
    return _steps(field, rule, where)


def _listed(field: Field, choices: Any, ordered: bool, where: str) -> list[Dimension]:
    """The dimensions of listed choices: one list for all elements, or one for each."""
    each = (
        choices if isinstance(choices, (list, tuple)) and any(map(_is_list, choices)) else [choices] * len(field.names)
    )
    if len(each) != len(field.names):
        raise SpaceError(f"{where}: expected a list of choices, or {len(field.names)} lists, got {shown(choices)}")
    for own in each:
        if not _is_list(own) or not all(type(c) is int for c in own):
            raise SpaceError(f"{where}: expected a list of integers, got {shown(own)}")
    named = zip(field.names, each, strict=True)
    return [Dimension(name, _bounded(own, field, where), None, ordered) for name, own in named]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _steps(field: Field, rule: Mapping[str, Any], where: str) -> list[Dimension]:
    """The dimensions of multiples or powers, of bounds for each element or for all."""
    each: list[dict[str, int]] = [{} for _ in field.names]
    for key, value in rule.items():
        values = value if isinstance(value, list) else [value] * len(each)
        if len(values) != len(each) or not all(type(v) is int and v > 0 for v in values):
            raise SpaceError(f"{where}.{key}: expected a positive integer or {len(each)} of them, got {shown(value)}")
        for stage, v in zip(each, _bounded(values, field, f"{where}.{key}", low=1), strict=True):
            stage[key] = v
    return [Dimension(name, _choices(stage, where)) for name, stage in zip(field.names, each, strict=True)]


def _fractions(field: Field, fractions: Any, where: str) -> list[Dimension]:
    if field.part_of is None:
        raise SpaceError(f"{where}: {field.symbol} is no part of another element; give choices instead of fractions")
    if not isinstance(fractions, (list, tuple)):
        raise SpaceError(f"{where}: expected a list of fractions, such as 1/4, got {shown(fractions)}")
    choices = tuple(_fraction(value, where) for value in fractions)
    bases = [f"{field.part_of}{place}" for place in field.places]
    return [Dimension(name, choices, base) for name, base in zip(field.names, bases, strict=True)]


def _fraction(value: Any, where: str) -> Fraction:
    text = repr(value) if type(value) in (int, float) else value
    with suppress(ZeroDivisionError):  # and no Fraction("1e999999999"), which takes for ever
        if isinstance(text, str) and _FRACTION.fullmatch(text) and 0 < Fraction(text) <= 1:
            return Fraction(text)
    raise SpaceError(f"{where}: expected fractions of at most 1, such as 1/4, got {shown(value)}")


def _shares(field: Field, rule: Mapping[str, Any], where: str) -> list[Dimension]:
    """The dimensions of choices that are shares of a number, rounded down; a hundredth is the finest step."""
    of = rule["of"]
    if not isinstance(of, list) or len(of) != len(field.names) or not all(type(v) is int and v > 0 for v in of):
        raise SpaceError(f"{where}.of: expected {len(field.names)} positive integers, got {shown(of)}")
    step, low, high = (_percent(rule[key], f"{where}.{key}") for key in ("step", "low", "high"))
    if low > high:
        raise SpaceError(f"{where}: expected low up to high, got {shown(rule)}")
    shares = range(low, high + 1, step)
    each = [sorted({widest * share // 100 for share in shares}) for widest in _bounded(of, field, where)]
    return [Dimension(name, _bounded(own, field, where)) for name, own in zip(field.names, each, strict=True)]


def _groups(field: Field, rule: Mapping[str, Any], original: list[int], where: str) -> list[Dimension]:
    """The dimensions of widths in groups: ceil(count * widest / groups), the widest some times the hand-made one."""
    groups, low, times = rule["groups"], rule.get("low", 1), rule.get("times", 1)
    if not all(type(v) is int for v in (groups, low)) or not 1 <= low <= groups <= _MOST_CHOICES:
        raise SpaceError(
            f"{where}: expected groups of at most {_MOST_CHOICES:,}, and low of them or fewer, got {shown(rule)}"
        )
    if type(times) not in (int, float) or not 0 < times <= 100:
        raise SpaceError(f"{where}.times: expected a positive factor of at most 100, got {shown(times)}")
    counts = range(low, groups + 1)
    each = [sorted({-(-count * int(times * width) // groups) for count in counts}) for width in original]
    return [Dimension(name, _bounded(own, field, where)) for name, own in zip(field.names, each, strict=True)]


def _percent(value: Any, where: str) -> int:
    percent = 100 * value if type(value) in (int, float) and 0 < value <= 1 else 0.0
    if not percent or abs(percent - round(percent)) > 1e-9:
        raise SpaceError(f"{where}: expected a share from 0.01 to 1 in hundredths, got {shown(value)}")
    return round(percent)


def _bounded(values: Iterable[int], field: Field, where: str, low: int | None = None) -> tuple[int, ...]:
    """The values, if a code can have them."""
    values, low = tuple(values), field.low if low is None else low
    if odd := [value for value in values if not low <= value <= field.high]:
        raise SpaceError(f"{where}: expected integers from {low:,} to {field.high:,}, got {shown(odd[0])}")
    return values


def _choices(rule: dict[str, int], where: str) -> tuple[int, ...]:
    if "step" in rule:
        out = range(rule.get("low", rule["step"]), rule["high"] + 1, rule["step"])
        if not 1 <= len(out) <= _MOST_CHOICES:
            raise SpaceError(f"{where}: expected 1 to {_MOST_CHOICES:,} choices, got {len(out):,} of {shown(rule)}")
        return tuple(out)
    powers = [rule["low"]]
    while rule["powers"] > 1 and powers[-1] * rule["powers"] <= rule["high"]:
        powers.append(powers[-1] * rule["powers"])
    return tuple(powers)
