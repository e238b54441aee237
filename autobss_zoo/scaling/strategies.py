"""Strategies: by how much a base network is scaled in depth, width and resolution.

ScaleNet (Xie et al., ECCV 2022), section 3.1, appendices E and F and Tables 7 and 8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..codes import Code, Field
from ..errors import CodeError, shown
from ..families import Family, WithResolution, family_of, get_family
from ..families.resolution import SUFFIX, SYMBOL

_LARGEST = 100  # of a multiplier: beyond it is a slip
_PIXELS = 8  # from which on an r in a text is pixels
_LETTERS = {"d": "depth", "w": "width", "r": "resolution"}


@dataclass(frozen=True)
class Strategy:
    """The multipliers of a base's depth, width and resolution; 1 leaves them as they are.

    Args:
        depth: Of the blocks of each stage.
        width: Of all widths that the family's codes state.
        resolution: Of the side of the images.

    Raises:
        ValueError: If one is no positive number of at most 100.
    """

    depth: float = 1.0
    width: float = 1.0
    resolution: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not (isinstance(value, (int, float)) and 0 < value <= _LARGEST):
                raise ValueError(f"{name}: expected a positive multiplier of at most {_LARGEST}, got {shown(value)}")

    @classmethod
    def parse(cls, text: str, side: int) -> Strategy:
        """Read a strategy such as "d=1.48,w=1.4,r=1.58" or "d=1.48,w=1.4,r=354"; what is not given is 1.

        Args:
            text: The text. An r of 8 and more is the side of the images in pixels.
            side: Of the base's images in pixels.

        Raises:
            ValueError: If it is none.
        """
        given: dict[str, float] = {}
        for part in text.split(","):
            match = re.fullmatch(r"\s*([dwr])\s*=\s*([0-9]{1,6}(?:\.[0-9]{1,12})?)\s*", part, re.ASCII)
            if not match or _LETTERS[match[1]] in given:
                raise ValueError(
                    "strategy: expected d, w and r, each at most once, as in d=1.48,w=1.4,r=1.58 or "
                    f"d=1.48,w=1.4,r=354, got {shown(text)}"
                )
            given[_LETTERS[match[1]]] = float(match[2])
        if (pixels := given.get("resolution", 1)) >= _PIXELS:
            if pixels != int(pixels):
                raise ValueError(
                    f"strategy: expected an r of whole pixels, or a multiplier below {_PIXELS}, got {pixels:g}"
                )
            given["resolution"] = pixels / side
        return cls(**given)

    def __str__(self) -> str:
        return ",".join(f"{letter}={getattr(self, name):.6g}" for letter, name in _LETTERS.items())


@dataclass(frozen=True)
class Interval:
    """The strategies that are searched of a scaling stage: all combinations.

    Attributes:
        multipliers: Of depth and of width.
        sides: Of the images in pixels, of bases whose images have 224.
    """

    multipliers: tuple[float, ...]
    sides: tuple[int, ...]

    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies, depth by depth, and of each depth width by width."""
        resolutions = [side / 224 for side in self.sides]
        return tuple(Strategy(*each) for each in product(self.multipliers, self.multipliers, resolutions))


TABLE_7 = (
    Interval((1.0,), (224,)),
    Interval((1.04, 1.08, 1.12, 1.16), (224, 240, 256)),
    Interval((1.2, 1.24, 1.28, 1.32, 1.36), (272, 288, 304)),
    Interval((1.4, 1.44, 1.48, 1.52, 1.56, 1.6, 1.64), (320, 336, 354)),
)
"""What is searched of the scaling stages 0 to 3: 1, 48, 75 and 147 strategies.

The sides are those of the authors' configurations, whose multipliers deviate a little from the table's (1.355, 1.58).
"""

TABLE_8 = (
    Strategy(),
    Strategy(1.08, 1.04, 1.14),
    Strategy(1.36, 1.2, 1.355),
    Strategy(1.48, 1.4, 1.58),
    Strategy(1.653, 1.534, 2.042),
    Strategy(1.848, 1.688, 2.378),
)
"""ScaleNet-S0 to -S5: searched up to the stage 3, extrapolated from there."""


def scale(base: Code, strategy: Strategy, side: int | None = None) -> Code:
    """The code of a base under a strategy (Eq. 28-30): each count, width and side is multiplied and rounded up.

    A stage's last block is copied. What a family fixes, such as MobileNetV2's stem in `mnv2`, stays as it is.

    Args:
        base: The base's code.
        strategy: The strategy.
        side: Of the base's images in pixels, where the code does not state it; the family's when None.

    Returns:
        A code of the family's twin with the side of the images, R; of the same family where it needs to state none.

    Raises:
        CodeError: If the family's codes have no such dimension, or an element grows beyond its bounds.
    """
    family = family_of(base)
    (row,) = scale_codes(family, np.array([base.values]), [strategy], side).tolist()
    stated = family.stated_side(base)
    if stated is None and row[-1] == family.input_size:
        return Code(family.name, tuple(row[:-1]))
    return Code(family.inner.name + SUFFIX, tuple(row))


def scale_codes(
    family: Family, codes: np.ndarray, strategies: Sequence[Strategy], side: int | None = None
) -> np.ndarray:
    """Many codes, each under a strategy of its own; rules and errors as of `scale`, but bounds are not looked at.

    Args:
        family: The codes' family.
        codes: Integers of shape (n, m).
        strategies: One for each code, or one for all.
        side: As of `scale`.

    Returns:
        Codes of the family's twin with R, integers of shape (n, m + 1), or (n, m) if the family has R.
    """
    factors = {name: np.array([getattr(strategy, name) for strategy in strategies]) for name in _LETTERS.values()}
    if not isinstance(family, WithResolution):
        codes = np.column_stack([codes, np.full(len(codes), side or family.input_size)])
        family = get_family(family.name + SUFFIX)
    dimensions = [dimension_of(field) for field in family.fields for _ in field.names]
    for missing, what in (("depth", "numbers of blocks"), ("width", "widths")):
        if (factors[missing] != 1).any() and missing not in dimensions:
            raise CodeError(f"{family.inner.name}: its codes state no {what}; give a {missing} of 1")
    out = family.canonical(np.array(codes))
    for place, name in enumerate(dimensions):
        if name:
            out[:, place] = np.ceil(out[:, place] * factors[name] - 1e-9)
    return out


def dimension_of(field: Field) -> str | None:
    """The name of the multiplier that a field's elements have; None for those that have none."""
    if field.symbol == SYMBOL:
        return "resolution"
    if field.title == "blocks":
        return "depth"
    return "width" if field.scales or field.part_of else None
