"""The declared spaces by name, and spaces of a user's own from YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autobss_zoo.codes import Field
from autobss_zoo.errors import UnknownNameError, did_you_mean

from .errors import SpaceError
from .space import Constraint, Dimension, FamilyCost, Space

_SUFFIXES = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
_KEYS = {"family", "detector", "budget", "input_size", "in_chans", "num_classes", "width"}
_RULES = ({"choices"}, {"step", "high"}, {"step", "low", "high"}, {"powers", "low", "high"}, {"fractions"})


@dataclass(frozen=True)
class DetectorCost:
    """MACs of a detector over a family's backbones, as the paper counts them, as a constraint's function."""

    family: str
    detector: str
    input_size: int = 800
    num_classes: int = 80
    width: int = 256

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        from autobss_zoo.families.detectors import detector_macs

        return detector_macs(self.family, codes, self.detector, self.input_size, self.num_classes, self.width)


def parse_amount(value: Any) -> float:
    """A number, or one with the suffix K, M, B or G: "1.81B" -> 1.81e9.

    Raises:
        SpaceError: If it is neither, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*(?:e\d+)?|\.\d+)\s*([KMBG]?)\s*", str(value), re.IGNORECASE)
    amount = float(match[1]) * _SUFFIXES[match[2].upper()] if match else 0.0
    if not 0 < amount < float("inf"):
        raise SpaceError(f"expected a positive amount such as 300M or 1.81B, got {value!r}")
    return int(amount) if amount == int(amount) else amount


def list_spaces() -> list[str]:
    """The names of the declared spaces."""
    return list(_declared())


def get_space(
    name: str,
    macs: float | str | None = None,
    params: float | str | None = None,
    input_size: int | None = None,
    in_chans: int = 3,
    num_classes: int | None = None,
    detector: str | None = None,
    width: int | None = None,
    constraints: Iterable[Constraint] = (),
) -> Space:
    """A declared space under a budget.

    Args:
        name: One of `list_spaces()`.
        macs, params: Upper bounds as numbers or texts such as "300M". Without any bound or constraint: at most the
            MACs of the family's hand-made code, as in the paper (section 4.1).
        input_size: Side of the image in pixels; the family's own when None.
        in_chans, num_classes: Of the networks that are counted; 1000 classes, or 80 of a detector, when None.
        detector: "maskrcnn", "fasterrcnn" or "retinanet": count this detector over the code's backbone, as the spaces
            of detectors do by themselves.
        width: Of a detector's pyramid and heads; 256 when None.
        constraints: Further bounds, e.g. on a latency.

    Raises:
        UnknownNameError: If there is no space of this name.
        SpaceError: If no code meets the bounds.
    """
    try:
        declared = _declared()[name]
    except (KeyError, TypeError):
        raise UnknownNameError(f"unknown space {name!r}: {did_you_mean(str(name), _declared())}") from None
    budget = {key: value for key, value in (("macs", macs), ("params", params)) if value is not None}
    given = {"input_size": input_size, "num_classes": num_classes, "detector": detector, "width": width}
    counting = {"in_chans": in_chans, **{key: value for key, value in given.items() if value is not None}}
    constraints = tuple(constraints)
    own = {"budget": budget} if budget or constraints else {}
    return _space({"family": name, **declared, **counting, **own}, constraints, name)


def load_space(source: str | Path | Mapping[str, Any], budget: Mapping[str, Any] | None = None) -> Space:
    """A space of your own from a YAML file, or from the mapping that such a file holds.

    Either a family of the zoo and one rule for each kind of element, as in spaces.yaml::

        family: resnet18_small
        C: {step: 8, high: [32, 64, 128, 256]}
        L: {step: 1, high: 4}
        budget: {macs: 10M}

    or, for codes that are no networks of the zoo, a new family and the choices of each element::

        family: mine
        dimensions: {W1: [8, 16, 32], W2: [16, 32, 64]}

    Args:
        source: The file or the mapping. `input_size`, `in_chans` and `num_classes` say how networks are counted; of a
            `detector`, `width`.
        budget: Bounds instead of the source's: {"macs": ..., "params": ...}.

    Raises:
        SpaceError: If a key or value is wrong, or no code meets the bounds.
    """
    where = "space" if isinstance(source, Mapping) else str(source)
    if not isinstance(source, Mapping):
        try:
            source = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise SpaceError(f"{where}: no YAML: {error}") from None
    if not isinstance(source, Mapping) or not isinstance(source.get("family"), str):
        raise SpaceError(f"{where}: expected a mapping with the key family")
    return _space({**source, **({"budget": budget} if budget else {})}, (), where)


def _declared() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(resources.files(__package__).joinpath("spaces.yaml").read_text(encoding="utf-8"))


def _space(spec: Mapping[str, Any], constraints: tuple[Constraint, ...], where: str) -> Space:
    from autobss_zoo.families import get_family

    if "dimensions" in spec:
        _check_keys(spec, {"family", "dimensions"}, where)
        choices = spec["dimensions"]
        if not isinstance(choices, Mapping) or not all(isinstance(c, (list, tuple)) for c in choices.values()):
            raise SpaceError(f"{where}: dimensions: expected a mapping of names to lists of choices, got {choices!r}")
        return Space(spec["family"], [Dimension(str(name), tuple(c)) for name, c in choices.items()], constraints)
    family = get_family(spec["family"])
    _check_keys(spec, _KEYS | {f.symbol for f in family.fields}, where)
    dimensions = [d for f in family.fields for d in _rule(f, spec.get(f.symbol), f"{where}: {f.symbol}")]
    of_detector = "detector" in spec
    keys = ("input_size", "num_classes", *(("detector", "width") if of_detector else ("in_chans",)))
    counting = {key: spec[key] for key in keys if spec.get(key) is not None}
    if of_detector:
        functions: dict[str, Any] = {"macs": DetectorCost(family.name, **counting)}
    else:
        functions = {figure: FamilyCost(family.name, figure, **counting) for figure in ("macs", "params")}
    budget = dict(spec.get("budget") or {})
    if not budget and not constraints:
        budget = {"macs": int(functions["macs"](np.array([family.original]))[0])}
    if odd := budget.keys() - functions.keys():
        raise SpaceError(f"{where}: budget: expected {' or '.join(functions)}, got {', '.join(sorted(odd))}")
    bounds = tuple(Constraint(key, parse_amount(value), functions[key], monotone=True) for key, value in budget.items())
    return Space(family.name, dimensions, bounds + constraints)


def _check_keys(spec: Mapping[str, Any], known: set[str], where: str) -> None:
    if odd := spec.keys() - known:
        key = sorted(map(str, odd))[0]
        raise SpaceError(f"{where}: unknown key {key!r}: {did_you_mean(key, known)}")


def _rule(field: Field, rule: Any, where: str) -> list[Dimension]:
    """The dimensions of a field by its rule, one value for each stage or one for all."""
    if not isinstance(rule, Mapping) or rule.keys() not in _RULES:
        forms = "; ".join(", ".join(sorted(form)) for form in _RULES)
        raise SpaceError(f"{where}: expected a mapping with one of these sets of keys: {forms}; got {rule!r}")
    if "fractions" in rule or "choices" in rule:
        of = "fractions" in rule
        try:
            choices = tuple(Fraction(c) if of else c for c in rule["fractions" if of else "choices"])
        except (TypeError, ValueError, ZeroDivisionError):
            raise SpaceError(f"{where}: expected a list of {'fractions' if of else 'integers'}, got {rule!r}") from None
        return [Dimension(n, choices, f"C{s}" if of else None) for n, s in zip(field.names, field.stages, strict=True)]
    each: list[dict[str, int]] = [{} for _ in field.stages]
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
