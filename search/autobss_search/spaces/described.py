"""A space from its description, which a study keeps; `Space.describe` is the inverse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from autobss_zoo.cost import Setting
from autobss_zoo.errors import AutoBSSError
from autobss_zoo.families.detectors import DetectorKind

from ..errors import SpaceError
from .budgets import COSTS, Constraint, CostFunction, Counted, describe
from .space import Dimension, Space


@dataclass(frozen=True)
class Untold:
    """A cost of which only the description is known, such as a user's own function: any code is between its bounds.

    Args:
        description: What the function says of itself.
        within: A cost between the bounds.
    """

    description: Any
    within: float

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """The same cost for all codes."""
        return np.full(len(codes), self.within)

    def describe(self) -> Any:
        """As of the function."""
        return self.description


def described_space(
    description: Mapping[str, Any], costs: Mapping[str, tuple[CostFunction, bool]] | None = None
) -> Space:
    """The space that a description describes.

    Args:
        description: What `Space.describe` returned, perhaps after a way through JSON.
        costs: By the constraints' names their functions, and whether these are monotone. Others that count a
            registered cost are made anew, and what is left is `Untold`.

    Raises:
        SpaceError: If it describes no space, or another than the functions.
    """
    try:
        dimensions = [_dimension(name, choices) for name, choices in description["dimensions"].items()]
        constraints = [
            _constraint(name, bounds, (costs or {}).get(name)) for name, bounds in description["constraints"].items()
        ]
        space = Space(description["family"], dimensions, constraints)
    except AutoBSSError as error:
        raise SpaceError(f"space: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, ArithmeticError) as error:
        raise SpaceError(f"space: expected what a space describes: {error!r}") from None
    if space.describe() != description:
        raise SpaceError(f"space: expected {space.describe()}, got {description}")
    return space


def is_told(space: Space) -> bool:
    """Whether every cost of a space can be counted."""
    return not any(isinstance(constraint.function, Untold) for constraint in space.constraints)


def _dimension(name: str, description: list[Any]) -> Dimension:
    choices, ordered = list(description), description[-1] != "unordered"
    if not ordered:
        choices.pop()
    if isinstance(choices[-1], str):
        of = choices.pop().removeprefix("of ")
        return Dimension(name, tuple(Fraction(choice) for choice in choices), of, ordered)
    return Dimension(name, tuple(choices), None, ordered)


def _constraint(name: str, description: Mapping[str, Any], told: tuple[CostFunction, bool] | None) -> Constraint:
    upper, lower, of = description.get("upper", math.inf), description.get("lower", 0), description["of"]
    function, monotone = told or _registered(of) or (None, False)
    if function is None or describe(function) != of:
        function, monotone = Untold(of, upper if upper < math.inf else lower), False
    return Constraint(name, upper, function, monotone, lower)


def _registered(description: Any) -> tuple[CostFunction, bool] | None:
    """The function of a registered cost, and whether it is monotone; None if it is none."""
    if not isinstance(description, Mapping) or description.get("cost") not in COSTS:
        return None
    rest = dict(description)
    cost, family = COSTS[rest.pop("cost")], rest.pop("family")
    detector = DetectorKind(rest.pop("detector"), rest.pop("width")) if "detector" in rest else None
    try:
        counted = Counted(family, Setting(**rest), detector)
        return cost.make(counted), cost.is_monotone(counted)
    except TypeError:  # a table's
        return None
