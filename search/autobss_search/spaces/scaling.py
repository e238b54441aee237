"""How bases are scaled in a search: each scaling stage's strategies (ScaleNet, section 3.2, appendix E).

The codes of a family with _r say all that a strategy scales, so that a scaled network is an ordinary code, and a space
has the bases and all of what they are scaled to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.errors import did_you_mean, shown
from autobss_zoo.families import get_family
from autobss_zoo.families.resolution import SYMBOL
from autobss_zoo.scaling import TABLE_7, Strategy, scale_codes
from autobss_zoo.scaling.strategies import dimension_of

from ..errors import SpaceError
from .space import Dimension, Space

_KEYS = ("depth", "width", "side")
_MOST, _LARGEST = 256, {"depth": 8, "width": 8, "side": 4096}  # numbers of a list, and each at most


@dataclass(frozen=True)
class ScalingStage:
    """The choices of a scaling stage; its strategies are all combinations.

    Attributes:
        depth, width: Multipliers.
        side: Of the images in pixels.
    """

    depth: tuple[float, ...]
    width: tuple[float, ...]
    side: tuple[int, ...]

    def describe(self) -> dict[str, list[Any]]:
        """The choices as recipes state them."""
        return {name: list(getattr(self, name)) for name in _KEYS}


@dataclass(frozen=True)
class Scaling:
    """The scaling stages of a search, of which the first is the base itself.

    Attributes:
        stages: The stages.

    Raises:
        SpaceError: If there is no stage to scale to, or the first one is not one strategy that scales nothing.
    """

    stages: tuple[ScalingStage, ...]

    def __post_init__(self) -> None:
        base = self.stages[0] if self.stages else None
        if len(self.stages) < 2 or base is None or (base.depth, base.width) != ((1,), (1,)) or len(base.side) > 1:
            raise SpaceError(
                "scaling: expected a stage of the base, {depth: [1], width: [1], side: [...]}, and others after it"
            )

    @property
    def side(self) -> int:
        """Of the base's images."""
        return self.stages[0].side[0]

    @cached_property
    def strategies(self) -> tuple[tuple[Strategy, ...], ...]:
        """Of each stage."""
        each = [(s.depth, s.width, [side / self.side for side in s.side]) for s in self.stages]
        return tuple(tuple(Strategy(*choice) for choice in product(*choices)) for choices in each)

    def describe(self) -> list[dict[str, list[Any]]]:
        """The stages as plain values, as `find_scaling` reads them."""
        return [stage.describe() for stage in self.stages]

    def up_to(self, highest: int) -> Scaling:
        """The same with fewer stages.

        Raises:
            SpaceError: If there are not so many.
        """
        if not 1 <= highest < len(self.stages):
            raise SpaceError(f"scaling: expected 1 to {len(self.stages) - 1} stages, got {highest!r}")
        return Scaling(self.stages[: highest + 1])

    def bases(self, space: Space) -> Space:
        """The part of a space that has the bases: the codes whose scaled versions by every strategy are in the space.

        Args:
            space: Of a family with the side of the images in its codes; its constraints stay.

        Raises:
            SpaceError: If there are none.
        """
        if SYMBOL not in space.layout.names:
            raise SpaceError(f"scaling: expected a space of images of several sides, such as {space.family}_r's")
        if missing := {v for s in self.stages for v in s.side} - set(space.dimensions[-1].choices):
            raise SpaceError(f"scaling: the space has no images of {min(missing)} pixels")
        factors = {
            name: sorted({getattr(strategy, name) for own in self.strategies for strategy in own})
            for name in ("depth", "width")
        }
        kinds = [dimension_of(field) for field in space.layout.fields for _ in field.names]
        dimensions = []
        for place, (dimension, kind) in enumerate(zip(space.dimensions, kinds, strict=True)):
            kept: Any = dimension.choices
            if kind == "resolution":
                kept = (self.side,)
            elif kind and dimension.of is None:  # fractions of what is scaled are the same
                kept = self._kept(space, place, [Strategy(**{kind: factor}) for factor in factors[kind]])
            if not kept:
                raise SpaceError(f"scaling: no {dimension.name} of the space is in it also when scaled")
            dimensions.append(Dimension(dimension.name, tuple(kept), dimension.of, dimension.ordered))
        return replace(space, dimensions=dimensions)

    @staticmethod
    def _kept(space: Space, place: int, strategies: Sequence[Strategy]) -> list[int]:
        """The choices of an element that all of some strategies scale to others."""
        choices, family = [int(choice) for choice in space.dimensions[place].choices], get_family(space.family)
        rows = np.repeat(space.values(np.zeros((1, space.ndim), np.int64)), len(choices), axis=0)
        rows[:, place] = choices
        inside = [np.isin(scale_codes(family, rows, [s])[:, place], choices) for s in strategies]
        return np.array(choices)[np.all(inside, axis=0)].tolist()

    def drawn(self, n: int, rng: np.random.Generator, hierarchical: bool = True) -> list[Strategy]:
        """Strategies at random.

        Args:
            n: How many.
            rng: Source of randomness.
            hierarchical: Whether first a stage is drawn, each with the same chance, and then one of its strategies
                (Equations 1 and 2). Otherwise depth, width and side are each drawn from the values of all stages,
                which is what the paper compares with.
        """
        if hierarchical:
            stages, luck = rng.integers(0, len(self.stages), n).tolist(), rng.random(n).tolist()
            each = zip(stages, luck, strict=True)
            return [self.strategies[stage][int(chance * len(self.strategies[stage]))] for stage, chance in each]
        values = [sorted({v for stage in self.stages for v in getattr(stage, name)}) for name in _KEYS]
        columns = [np.array(own)[rng.integers(0, len(own), n)].tolist() for own in values]
        return [Strategy(depth, width, side / self.side) for depth, width, side in zip(*columns, strict=True)]


def scaled(space: Space, bases: Sequence[Code], strategies: Sequence[Strategy]) -> list[Code]:
    """Codes of a space's family, each under a strategy of its own, or all under one."""
    rows = scale_codes(get_family(space.family), np.array([base.values for base in bases]), strategies)
    return [space.code(row) for row in rows.tolist()]


def _of_table(sides: Sequence[Sequence[int]]) -> Scaling:
    """ScaleNet's multipliers with images of these sides."""
    each = zip(TABLE_7, sides, strict=True)
    return Scaling(tuple(ScalingStage(own.multipliers, own.multipliers, tuple(side)) for own, side in each))


SCALINGS = {
    "scalenet": _of_table([interval.sides for interval in TABLE_7]),
    "scalenet_small": _of_table([[32], [32, 34, 36], [38, 41, 44], [46, 48, 51]]),
    "scalenet_tiny": _of_table([[14], [14, 15, 16], [17, 18, 19], [20, 21, 22]]),
}
"""The declared scalings: ScaleNet's, and in its proportions those of small images."""


def find_scaling(source: Any) -> Scaling:
    """The scaling that a recipe states: the name of a declared one, or a list of stages.

    Raises:
        SpaceError: If there is no such scaling, or a value is wrong.
    """
    if isinstance(source, str):
        if source not in SCALINGS:
            raise SpaceError(f"scaling: {shown(source)}: {did_you_mean(source, SCALINGS)}")
        return SCALINGS[source]
    if not isinstance(source, (list, tuple)):
        raise SpaceError(f"scaling: expected a name or a list of stages, got {shown(source)}")
    return Scaling(tuple(_stage(stage, number) for number, stage in enumerate(source)))


def _stage(stage: Any, number: int) -> ScalingStage:
    where = f"scaling: stage {number}"
    if not isinstance(stage, Mapping) or stage.keys() != set(_KEYS):
        raise SpaceError(f"{where}: expected the keys {', '.join(_KEYS)}, got {shown(stage)}")
    for name in _KEYS:
        values, kinds = stage[name], (int,) if name == "side" else (int, float)
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= _MOST:
            raise SpaceError(f"{where}: {name}: expected a list of up to {_MOST} numbers, got {shown(values)}")
        if any(type(v) not in kinds or not 1 <= v <= _LARGEST[name] for v in values):
            kind = "pixels" if name == "side" else "multipliers from 1"
            raise SpaceError(f"{where}: {name}: expected {kind} to {_LARGEST[name]:,}, got {shown(values)}")
        if list(values) != sorted(set(values)):
            raise SpaceError(f"{where}: {name}: expected different numbers in ascending order, got {shown(values)}")
    return ScalingStage(*(tuple(stage[name]) for name in _KEYS))
