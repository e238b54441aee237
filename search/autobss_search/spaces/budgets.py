"""Budgets: named costs with bounds, and what each counts, on what setting."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.cost import FIGURES, Setting
from autobss_zoo.errors import AutoBSSWarning, shown
from autobss_zoo.families import family_of, get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.registry import find

from ..errors import SpaceError
from .amounts import Bound, Multiple, parse_amount, parse_bounds

DEVICE = "device"
"""The key of a budget that names a device's table of latencies."""
_PRICEY = 5.0  # seconds of a constraint's calls to warn of

CostFunction = Callable[[np.ndarray], np.ndarray]


def describe(part: Any) -> Any:
    """What a cost's function or an evaluator says of itself, for a study's identity; else its name."""
    own = getattr(part, "describe", None)
    return own() if own else getattr(part, "__qualname__", "unnamed")


@dataclass(frozen=True)
class Constraint:
    """Bounds on a cost.

    Args:
        name: What is bounded, e.g. "macs".
        upper: The largest cost allowed; infinite where only `lower` bounds it.
        function: The cost of an integer array of codes of shape (n, m), as an array of shape (n,). `each` makes one of
            a function of a single code. Where it has a method `describe`, that says what is counted, as plain values;
            where it has a method `least`, that gives of codes what those that have no element smaller cost at least.
        monotone: Whether a growth step never lowers the cost. Then, or with `least`, values that are over the bound
            even in the smallest code are never looked at, which makes tight budgets quick.
        lower: The smallest cost allowed.

    Raises:
        SpaceError: If no cost is between the bounds.
    """

    name: str
    upper: float
    function: CostFunction
    monotone: bool = False
    lower: float = 0

    def __post_init__(self) -> None:
        for bound, value in (("upper", self.upper), ("lower", self.lower)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
                raise SpaceError(f"{self.name}: expected a number as the {bound} bound, got {value!r}")
        if not self.upper > 0:
            raise SpaceError(f"{self.name}: expected a positive upper bound, got {self.upper!r}")
        if not self.lower <= self.upper:
            raise SpaceError(f"{self.name}: expected a lower bound of at most {self.upper!r}, got {self.lower!r}")

    def costs(self, codes: np.ndarray) -> np.ndarray:
        """The costs of codes of shape (n, m), an array of shape (n,)."""
        return np.asarray(self.function(codes))

    def least(self, codes: np.ndarray) -> np.ndarray:
        """What codes that have no element smaller than those of shape (n, m) cost at least, shape (n,)."""
        if self.monotone:
            return self.costs(codes)
        own = getattr(self.function, "least", None)
        return np.asarray(own(codes)) if own else np.full(len(codes), -np.inf)

    def met(self, costs: np.ndarray) -> np.ndarray:
        """Whether costs are between the bounds, booleans of the same shape; NaN is not."""
        return (costs <= self.upper) & (costs >= self.lower) if self.lower > 0 else costs <= self.upper

    def excess(self, costs: np.ndarray) -> np.ndarray:
        """How far costs are from the bounds, relative to them; not positive where they are between."""
        over = costs / self.upper - 1
        return np.maximum(over, 1 - costs / self.lower) if self.lower > 0 else over

    def problem(self, cost: Any) -> str:
        """What is wrong with a cost that is not between the bounds."""
        if cost < self.lower:
            return f"{self.name} {cost:,} is under the bound {self.lower:,}"
        return f"{self.name} {cost:,} is over the bound {self.upper:,}"

    def describe(self) -> dict[str, Any]:
        """The bounds, and what is counted; part of a study's identity."""
        bounds = {"upper": self.upper if self.upper < math.inf else None, "lower": self.lower or None}
        return {**{key: bound for key, bound in bounds.items() if bound is not None}, "of": describe(self.function)}

    @property
    def range(self) -> str:
        """The bounds for people."""
        low, high = (
            f"{b:,.0f}" if b >= 1000 or float(b).is_integer() else f"{b:.5g}" for b in (self.lower, self.upper)
        )
        if self.upper == math.inf:
            return f"at least {low}"
        return f"{low} to {high}" if self.lower > 0 else f"up to {high}"


@dataclass(frozen=True)
class Counted:
    """What a space's codes are networks of.

    Attributes:
        family: The family's name.
        setting: What they are counted with, the input size included.
        detector: The detector that is counted over the codes' backbones, if it is one.
        device: The file of a device's latencies, if one was named.
    """

    family: str
    setting: Setting
    detector: DetectorKind | None = None
    device: str | None = None

    def describe(self) -> dict[str, Any]:
        """It as plain values."""
        detector = {"detector": self.detector.architecture, "width": self.detector.width} if self.detector else {}
        return {"family": self.family, **detector, **self.setting.describe()}


@dataclass(frozen=True)
class Figure:
    """A figure of the cost in closed form, as a constraint's function.

    Args:
        name: "macs", "params" or "activations".
        counted: Of what.

    Raises:
        SpaceError: If it is of a detector, and not its MACs.
    """

    name: str
    counted: Counted

    def __post_init__(self) -> None:
        if self.counted.detector and self.name != "macs":
            raise SpaceError(f"budget: expected macs of a detector, got {self.name}")

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """The figures of codes of shape (n, m), shape (n,)."""
        family, setting = get_family(self.counted.family), self.counted.setting
        if self.counted.detector:
            return self.counted.detector.macs(family, codes, setting)
        return family.figure(self.name, codes, setting)

    def describe(self) -> dict[str, Any]:
        """What is counted, on what setting."""
        return {"cost": self.name, **self.counted.describe()}


CostMaker = Callable[[Counted], CostFunction]
"""Makes a constraint's function of what a space's codes are networks of."""


@dataclass(frozen=True)
class NamedCost:
    """A cost that budgets can name.

    Attributes:
        make: Makes its function.
        monotone: As of `Constraint`, where the family's costs are.
        parse: Reads an amount of it.
    """

    make: CostMaker
    monotone: bool
    parse: Callable[[Any], float] = parse_amount

    def is_monotone(self, counted: Counted) -> bool:
        """As of `Constraint`."""
        return self.monotone and get_family(counted.family).inner.monotone


COSTS: dict[str, NamedCost] = {}
"""Every cost that budgets can name."""


def register_cost(
    name: str, make: CostMaker, monotone: bool = False, parse: Callable[[Any], float] = parse_amount
) -> None:
    """Make a cost known by a name, so that spaces, recipes and `--budget` can bound it.

    Args:
        name: The name.
        make: Makes the function of a `Constraint` of a `Counted`; it may raise a SpaceError.
        monotone: As of `Constraint`.
        parse: Reads an amount, as "9ms"; a number, or one with a suffix such as 300M, by default.
    """
    COSTS[name] = NamedCost(make, monotone, parse)


for _figure in FIGURES:
    register_cost(_figure, partial(Figure, _figure), monotone=True)


@dataclass(frozen=True)
class each:  # noqa: N801  # reads as a function
    """Apply `function`, the cost of a single code, to an array of codes; each code is asked for once.

    One ask looks at thousands of codes. Where the calls have taken five seconds, and again at each tenfold of that, a
    warning states their number and price.

    Args:
        family: The codes' family, of networks.
        function: The cost of a `Code`, such as its measured latency.
        max_calls: Calls of the function at most, over the whole search; as many as it takes when None.

    Raises:
        SpaceError: If more calls were needed than `max_calls`.
    """

    family: str
    function: Callable[[Code], float]
    max_calls: int | None = None
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, compare=False, repr=False)
    _price: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """The costs of an integer array of codes of shape (n, m), an array of shape (n,)."""
        rows = [tuple(row) for row in codes.tolist()]
        for row in rows:
            if row not in self._known:
                self._known[row] = self._ask(Code(self.family, row))
        return np.array([self._known[row] for row in rows])

    def _ask(self, code: Code) -> float:
        if self.max_calls is not None and len(self._known) >= self.max_calls:
            raise SpaceError(f"{self._so_far()}, which is max_calls; bound a cheap cost, such as macs, more tightly")
        start = time.perf_counter()
        cost = float(self.function(code))
        self._price["seconds"] = spent = self._price.get("seconds", 0.0) + time.perf_counter() - start
        if spent > self._price.get("limit", _PRICEY):
            self._price["limit"] = 10 * spent
            text = f"{self._so_far(1)}; max_calls bounds them, and a tighter bound on macs saves some"
            warnings.warn(text, AutoBSSWarning, stacklevel=2)
        return cost

    def _so_far(self, now: int = 0) -> str:
        calls = len(self._known) + now
        name = getattr(self.function, "__qualname__", "cost")
        return f"{name}: {calls:,} calls x {self._price.get('seconds', 0) / max(calls, 1):.3g} s so far"

    def describe(self) -> dict[str, Any]:
        """The function's own description or name."""
        return {"each": describe(self.function), "family": self.family}


def parse_budget(budget: str | float | Mapping[str, Any]) -> dict[str, Any]:
    """Bounds by their names, as numbers.

    "10M" and "macs=10M" are {"macs": 10_000_000}, the largest cost allowed; "macs=9M..10M" is
    {"macs": [9_000_000, 10_000_000]}. "0.75x", of the hand-made network's, stays a text, and so does the `device`.
    None, which lifts a bound of the space, stays None.

    Raises:
        SpaceError: If a part is none of these.
    """
    if isinstance(budget, (int, float)) and not isinstance(budget, bool):
        budget = {"macs": budget}
    elif isinstance(budget, str):
        parts = [part.partition("=") for part in budget.split(",")]
        named = [(name.strip() if equals else "macs", value if equals else name) for name, equals, value in parts]
        budget = dict(named)
        if len(budget) < len(named):
            raise SpaceError(f"budget: expected a bound for each cost once, got {shown(named)}")
    if not isinstance(budget, Mapping):
        raise SpaceError(f"budget: expected a text or a mapping of costs to amounts, got {shown(budget)}")
    out: dict[str, Any] = {}
    for name, value in budget.items():
        if name == DEVICE:
            out[name] = _device(value, "budget: ")
        elif value is None:
            out[name] = None
        else:
            low, high = (str(b) if isinstance(b, Multiple) else b for b in _named_bounds(name, value, "budget: "))
            out[name] = [low, high if high != math.inf else None] if low else high
    return out


def _device(value: Any, where: str) -> str:
    if not isinstance(value, (str, Path)) or not str(value):
        raise SpaceError(f"{where}device: expected the file of a device's latencies, got {shown(value)}")
    return str(Path(value).absolute())


def _named_bounds(name: Any, value: Any, where: str) -> tuple[Bound, Bound]:
    if not isinstance(name, str) or not name:
        raise SpaceError(f"{where}expected the name of a cost, such as macs, got {shown(name)}")
    try:
        return parse_bounds(value, COSTS[name].parse if name in COSTS else parse_amount)
    except SpaceError as error:
        raise SpaceError(f"{where}{name}: {error}") from None


def make_constraints(budget: Mapping[str, Any], counted: Counted, where: str = "") -> list[Constraint]:
    """The constraints of a budget.

    Args:
        budget: By the costs' names their bounds, as `parse_bounds` reads them; as `device` the file of a device's
            latencies.
        counted: What is counted.
        where: Whose budget it is, for errors.

    Raises:
        SpaceError: If there is no such cost, or it cannot be counted.
    """
    if DEVICE in budget:
        if "latency" not in budget:
            raise SpaceError(f"{where}budget: device: is for a bound on latency, and there is none")
        counted = replace(counted, device=_device(budget[DEVICE], f"{where}budget: "))
    out = []
    for name, value in budget.items():
        if name == DEVICE:
            continue
        if name not in COSTS:
            raise SpaceError(f"{where}budget: expected {' or '.join(COSTS)}, got {name[:60]}")
        bounds = _named_bounds(name, value, f"{where}budget: ")
        lower, upper = (_absolute(bound, name, counted, f"{where}budget: {name}: ") for bound in bounds)
        out.append(Constraint(name, upper, COSTS[name].make(counted), COSTS[name].is_monotone(counted), lower))
    return out


def _absolute(bound: Bound, name: str, counted: Counted, where: str) -> float:
    """A bound on a cost as a number, where it may be a multiple of a network's."""
    if not isinstance(bound, Multiple):
        return bound
    family = get_family(counted.family)
    code = find(bound.network)[0] if bound.network else Code(family.name, family.original)
    if family_of(code).inner is not family.inner:
        raise SpaceError(f"{where}expected a network of {family.inner.name}, got {bound.network}, which is {code}")
    function = COSTS[name].make(replace(counted, family=code.family))
    return bound.factor * function(np.array([code.values])).item()
