"""Block-stacking codes (BSSC) as values: parse, print, validate, compare.

A code lists, stage by stage, how wide and how deep a network of a family is (AutoBSS, section 3 and appendix B.2):
``resnet18{64,128,256,512,2,2,2,2}`` is {C2..C5, L2..L5}.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .errors import CodeError, UnknownNameError, did_you_mean

_TEXT = re.compile(r"\s*([A-Za-z]\w*)\s*\{([^{}]*)\}\s*")


@dataclass(frozen=True)
class Field:
    """A run of elements of a code, one for each stage, e.g. C2..C5.

    Attributes:
        symbol: The paper's letter: C (output channels), L (blocks), B (bottleneck channels), T (expansion factor).
        stages: The paper's numbers of the stages.
        low, high: Bounds of the elements, inclusive. They keep mistakes (channels where blocks belong) from
            becoming networks that fill the memory; a search space's bounds are its own and tighter.
    """

    symbol: str
    stages: range
    low: int
    high: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.symbol}{stage}" for stage in self.stages)


@dataclass(frozen=True)
class Layout:
    """What each position of a family's codes means.

    Attributes:
        family: The family's name.
        fields: The fields in their order.
        example: The elements of a valid code, shown in error messages.
    """

    family: str
    fields: tuple[Field, ...]
    example: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The positions' names in order, e.g. ('C2', ..., 'L5')."""
        return tuple(name for field in self.fields for name in field.names)

    def validate(self, values: Iterable) -> tuple[int, ...]:
        """Return `values` as a tuple of ints.

        Raises:
            CodeError: If the length, an element's type or an element's value is wrong.
        """
        values, names = tuple(values), self.names
        if len(values) != len(names):
            where = f"no {names[len(values)]}" if len(values) < len(names) else f"nothing follows {names[-1]}"
            raise self._error(f"expected {len(names)} elements ({','.join(names)}), got {len(values)}: {where}")
        bounds = [(field.low, field.high) for field in self.fields for _ in field.stages]
        return tuple(
            self._element(index, name, value, *bound)
            for index, (name, value, bound) in enumerate(zip(names, values, bounds, strict=True), start=1)
        )

    def _element(self, index: int, name: str, value, low: int, high: int) -> int:
        try:
            if isinstance(value, bool):
                raise TypeError
            number = operator.index(value)
            if low <= number <= high:
                return number
        except TypeError:
            pass
        raise self._error(f"element {index} ({name}): expected an integer from {low} to {high}, got {value!r}")

    def _error(self, problem: str) -> CodeError:
        example = f"{self.family}{{{','.join(map(str, self.example))}}}"
        return CodeError(f"{self.family} code: {problem}; a valid code is {example}")


LAYOUTS: dict[str, Layout] = {}
"""The layout of every family by its name; the families enter themselves."""


def get_layout(family: str) -> Layout:
    """The layout of a family's codes.

    Raises:
        UnknownNameError: If there is no such family.
    """
    try:
        return LAYOUTS[family]
    except (KeyError, TypeError):
        raise UnknownNameError(f"unknown family {family!r}: {did_you_mean(str(family), LAYOUTS)}") from None


@dataclass(frozen=True, order=True)
class Code:
    """A block-stacking code of one family: immutable, hashable, ordered.

    Args:
        family: The family's name, e.g. "resnet18".
        values: The elements in the family's order.

    Raises:
        CodeError: If `values` is no code of the family.
        UnknownNameError: If there is no such family.

    Examples:
        >>> code = Code.parse("resnet18{64,128,256,512,2,2,2,2}")
        >>> code.channels, code.layers
        ((64, 128, 256, 512), (2, 2, 2, 2))
        >>> print(code)
        resnet18{64,128,256,512,2,2,2,2}
    """

    family: str
    values: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", get_layout(self.family).validate(self.values))

    @classmethod
    def parse(cls, text: str) -> Code:
        """Read a code as the papers print it; spaces do not matter. `str` is the inverse.

        Raises:
            CodeError: If `text` is not of the form family{integer,integer,...}.
            UnknownNameError: If there is no such family.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise CodeError(
                f"expected a code of the form family{{integer,...}}, got {text!r}; "
                "a valid code is resnet18{64,128,256,512,2,2,2,2}"
            )
        family, elements = match.groups()
        return cls(family, tuple(_integer(e.strip()) for e in elements.split(",")) if elements.strip() else ())

    def __str__(self) -> str:
        return f"{self.family}{{{','.join(map(str, self.values))}}}"

    def __iter__(self) -> Iterator[int]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]

    def as_dict(self) -> dict[str, int]:
        """The elements by the names of their positions: {'C2': 64, ...}."""
        return dict(zip(get_layout(self.family).names, self.values, strict=True))

    def _field(self, symbol: str) -> tuple[int, ...]:
        return tuple(value for name, value in self.as_dict().items() if name[0] == symbol)

    @property
    def channels(self) -> tuple[int, ...]:
        """C: the stages' output channels."""
        return self._field("C")

    @property
    def layers(self) -> tuple[int, ...]:
        """L: the stages' numbers of blocks."""
        return self._field("L")

    @property
    def bottlenecks(self) -> tuple[int, ...]:
        """B: the stages' bottleneck channels; empty where the family has none."""
        return self._field("B")

    @property
    def expansions(self) -> tuple[int, ...]:
        """T: the stages' expansion factors; empty where the family has none."""
        return self._field("T")


def _integer(text: str):
    """The integer that `text` spells, or `text` itself for the layout to refuse by its position."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text
