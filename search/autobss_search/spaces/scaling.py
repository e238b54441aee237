"""How bases are scaled in a search: each scaling stage's strategies (ScaleNet, section 3.2, appendices E and F).

A strategy multiplies a base's depth and width, and states the side of its images. The codes of a family with _r say all
of it, so that a scaled network is an ordinary code, and a space has the bases and all of what they are scaled to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from typing import Any

import numpy as np

from autobss_zoo.codes import Layout
from autobss_zoo.errors import did_you_mean, shown
from autobss_zoo.families import get_family
from autobss_zoo.families.resolution import SYMBOL
from autobss_zoo.yaml_text import parse_yaml

from ..errors import SpaceError
from .space import Dimension, Space

_KEYS = ("depth", "width", "side")
_ONE = 1000  # multipliers are kept in thousandths
_MOST = 256  # of a list


@dataclass(frozen=True)
class ScalingStage:
    """The choices of a scaling stage; its strategies are all combinations.

    Attributes:
        depth, width: Multipliers, in thousandths.
        side: Of the images in pixels.
    """

    depth: tuple[int, ...]
    width: tuple[int, ...]
    side: tuple[int, ...]

    @cached_property
    def strategies(self) -> np.ndarray:
        """Depth and width in thousandths and the side, shape (n, 3)."""
        grid = np.meshgrid(self.depth, self.width, self.side, indexing="ij")
        return np.stack(grid, axis=-1).reshape(-1, 3).astype(np.int64)

    def describe(self) -> dict[str, list[Any]]:
        """The choices as recipes state them."""
        multipliers = {name: [v / _ONE for v in getattr(self, name)] for name in _KEYS[:2]}
        return {**multipliers, "side": list(self.side)}


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
        if len(self.stages) < 2 or base is None or (base.depth, base.width) != ((_ONE,), (_ONE,)) or len(base.side) > 1:
            raise SpaceError(
                "scaling: expected a stage of the base, {depth: [1], width: [1], side: [...]}, and others after it"
            )

    @property
    def highest(self) -> int:
        """The number of the last stage, M."""
        return len(self.stages) - 1

    @property
    def side(self) -> int:
        """Of the base's images."""
        return self.stages[0].side[0]

    def describe(self) -> list[dict[str, list[Any]]]:
        """The stages as plain values, as `find_scaling` reads them."""
        return [stage.describe() for stage in self.stages]

    def up_to(self, highest: int) -> Scaling:
        """The same with fewer stages.

        Raises:
            SpaceError: If there are not so many.
        """
        if not 1 <= highest <= self.highest:
            raise SpaceError(f"scaling: expected 1 to {self.highest} stages, got {highest!r}")
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
        deeper, wider = (sorted({v for s in self.stages for v in getattr(s, name)}) for name in _KEYS[:2])
        missing = {v for s in self.stages for v in s.side} - set(space.dimensions[-1].choices)
        if missing:
            raise SpaceError(f"scaling: the space has no images of {min(missing)} pixels")
        dimensions = []
        for dimension, kind in zip(space.dimensions, _kinds(space.layout), strict=True):
            factors = {"depth": deeper, "width": wider}.get(kind, [_ONE])
            within, kept = set(dimension.choices), list(dimension.choices)
            if dimension.of is None:  # fractions of what is scaled are the same
                kept = [c for c in kept if all(_scaled(c, factor) in within for factor in factors)]
            if kind == "side":
                kept = [self.side]
            if not kept:
                raise SpaceError(f"scaling: no {dimension.name} of the space is in it also when scaled")
            dimensions.append(Dimension(dimension.name, tuple(kept), dimension.of, dimension.ordered))
        return replace(space, dimensions=dimensions)

    def drawn(self, n: int, rng: np.random.Generator, hierarchical: bool = True) -> np.ndarray:
        """Strategies, shape (n, 3).

        Args:
            n: How many.
            rng: Source of randomness.
            hierarchical: Whether first a stage is drawn, each with the same chance, and then one of its strategies
                (Equations 1 and 2). Otherwise depth, width and side are each drawn from the values of all stages,
                which is what the paper compares with.
        """
        if not hierarchical:
            every = [sorted({v for stage in self.stages for v in getattr(stage, name)}) for name in _KEYS]
            return np.stack([np.array(values)[rng.integers(0, len(values), n)] for values in every], axis=1)
        stages, luck = rng.integers(0, len(self.stages), n), rng.random(n)
        out = np.empty((n, 3), np.int64)
        for number, stage in enumerate(self.stages):
            own = stages == number
            out[own] = stage.strategies[(luck[own] * len(stage.strategies)).astype(int)]
        return out


def scaled(layout: Layout, bases: np.ndarray, strategies: np.ndarray) -> np.ndarray:
    """Scale bases: depths and widths are rounded up, ceil(n d) and ceil(c w) (Equations 28 to 30).

    Args:
        layout: Of a family with the side of the images in its codes.
        bases: Codes, integers of shape (n, m).
        strategies: A strategy for each, shape (n, 3).

    Returns:
        Codes of shape (n, m), in their canonical form: what a stage's last block does, added ones do too.
    """
    family = get_family(layout.family)
    out = family.canonical(bases)
    depth, width, side = strategies.T
    for column, kind in enumerate(_kinds(layout)):
        if kind == "side":
            out[:, column] = side
        elif kind:
            out[:, column] = _scaled(out[:, column], depth if kind == "depth" else width)
    return out


def find_scaling(source: Any) -> Scaling:
    """The scaling that a recipe states: a name of `list_scalings()`, or a list of stages.

    Raises:
        SpaceError: If there is no such scaling, or a value is wrong.
    """
    if isinstance(source, str):
        declared = _declared()
        if source not in declared:
            raise SpaceError(f"scaling: {shown(source)}: {did_you_mean(source, declared)}")
        source = declared[source]
    if not isinstance(source, Sequence) or isinstance(source, (str, bytes)):
        raise SpaceError(f"scaling: expected a name or a list of stages, got {shown(source)}")
    return Scaling(tuple(_stage(stage, number) for number, stage in enumerate(source)))


def list_scalings() -> list[str]:
    """The names of the declared scalings."""
    return list(_declared())


@cache
def _declared() -> dict[str, Any]:
    name = "scalings.yaml"
    return parse_yaml(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"), name)


def _stage(stage: Any, number: int) -> ScalingStage:
    where = f"scaling: stage {number}"
    if not isinstance(stage, Mapping) or stage.keys() != set(_KEYS):
        raise SpaceError(f"{where}: expected the keys {', '.join(_KEYS)}, got {shown(stage)}")
    out = {}
    for name in _KEYS:
        values = stage[name]
        if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= _MOST:
            raise SpaceError(f"{where}: {name}: expected a list of up to {_MOST} numbers, got {shown(values)}")
        unit, least, most = (1, 1, 4096) if name == "side" else (_ONE, _ONE, 8 * _ONE)
        numbers = [v * unit if type(v) in (int, float) else -1 for v in values]
        if any(not least <= v <= most or abs(v - round(v)) > 1e-6 for v in numbers):
            kind = "pixels" if name == "side" else "multipliers from 1 to 8 in thousandths"
            raise SpaceError(f"{where}: {name}: expected {kind}, got {shown(values)}")
        out[name] = tuple(round(v) for v in numbers)
        if list(out[name]) != sorted(set(out[name])):
            raise SpaceError(f"{where}: {name}: expected different numbers in ascending order, got {shown(values)}")
    return ScalingStage(**out)


def _kinds(layout: Layout) -> list[str]:
    """Of each element what scales it: depth, width, side, or nothing, an empty text."""
    out = []
    for field in layout.fields:
        wide = "width" if field.scales or field.part_of else ""
        kind = "side" if field.symbol == SYMBOL else "depth" if field.title == "blocks" else wide
        out += [kind] * len(field.names)
    return out


def _scaled(value: Any, factor: Any) -> Any:
    """ceil(value factor), exactly."""
    return -(-value * factor // _ONE)
