"""Codes as values: parse, print, validate, compare.

A code lists what may differ between the networks of a family: stage by stage how wide and how deep they are (AutoBSS,
section 3 and appendix B.2), layer by layer how wide (BCNet), or one thing of the whole, such as the side of the images.
``resnet18{64,128,256,512,2,2,2,2}`` is {C2..C5, L2..L5}.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from .errors import CodeError, UnknownNameError, did_you_mean
from .plugins import MODULES, import_users_modules

_TEXT = re.compile(r"\s*([A-Za-z]\w*)\s*\{([^{}]*)\}\s*")


@dataclass(frozen=True)
class Field:
    """A run of elements of a code that mean the same, one for each stage or layer, or one for the network.

    Attributes:
        symbol: The paper's letter, such as C; with a stage's number it names an element.
        title: What the elements are, in a word or two: "channels".
        places: The numbers of the stages, e.g. range(2, 6) for C2..C5, or names of layers, e.g. ("s1.e1", "s1.e2"),
            which then are the elements' names; empty for a single element of the whole network, named by its symbol.
        low, high: Bounds of the elements, inclusive. They keep mistakes (channels where blocks belong) from
            becoming networks that fill the memory; a search space's bounds are its own and tighter.
        part_of: The symbol of an earlier field with the same places, whose fractions a search varies: bottlenecks are
            part of their stage's channels.
        scales: Whether the elements are widths, which a width multiplier scales.
    """

    symbol: str
    title: str
    places: tuple[int | str, ...] = ()
    low: int = 1
    high: int = 16384
    part_of: str | None = None
    scales: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", tuple(self.places))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The elements' names."""
        named = tuple(place if isinstance(place, str) else f"{self.symbol}{place}" for place in self.places)
        return named or (self.symbol,)

    def __str__(self) -> str:
        return self.names[0] if len(self.names) == 1 else f"{self.names[0]}..{self.names[-1]}"


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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The positions' names in order, e.g. ('C2', ..., 'L5')."""
        return tuple(name for field in self.fields for name in field.names)

    @cached_property
    def _bounds(self) -> tuple[tuple[str, int, int], ...]:
        return tuple((name, field.low, field.high) for field in self.fields for name in field.names)

    def at(self, place: int) -> tuple[str, ...]:
        """The names of the elements of a stage, by its number."""
        return self._places.get(place, ())

    @cached_property
    def _places(self) -> dict[int | str, tuple[str, ...]]:
        named = [pair for field in self.fields for pair in zip(field.places, field.names, strict=False)]
        return {place: tuple(name for own, name in named if own == place) for place, _ in named}

    def divide(self, values: Iterable) -> dict[str, list]:
        """Values of all positions, or columns of an array of codes, by the fields' symbols."""
        rest = iter(values)
        return {field.symbol: [next(rest) for _ in field.names] for field in self.fields}

    def validate(self, values: Iterable) -> tuple[int, ...]:
        """Return `values` as a tuple of ints.

        Raises:
            CodeError: If the length, an element's type or an element's value is wrong.
        """
        values, names = tuple(values), self.names
        if len(values) != len(names):
            where = f"no {names[len(values)]}" if len(values) < len(names) else f"nothing follows {names[-1]}"
            meaning = ",".join(map(str, self.fields))
            raise self._error(f"expected {len(names)} elements ({meaning}), got {len(values)}: {where}")
        return tuple(
            self._element(index, value, *bound)
            for index, (value, bound) in enumerate(zip(values, self._bounds, strict=True), start=1)
        )

    def _element(self, index: int, value, name: str, low: int, high: int) -> int:
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
"""The layout of every registered family by its name; `families.register` enters them."""


def find_layout(family: str) -> Layout | None:
    """The layout of a registered family's codes; None if there is no such family."""
    if family not in LAYOUTS:
        import_users_modules()
    return LAYOUTS.get(family)


def get_layout(family: str) -> Layout:
    """The layout of a registered family's codes.

    Raises:
        UnknownNameError: If there is no such family.
    """
    if layout := find_layout(family) if isinstance(family, str) else None:
        return layout
    raise UnknownNameError(
        f"unknown family {family!r}: {did_you_mean(str(family), LAYOUTS, 'docs/families.md lists them')}; a family of "
        f"your own is known once its module is imported, which {MODULES} can name"
    )


@dataclass(frozen=True, order=True)
class Code:
    """A code of one family: immutable, hashable, ordered.

    Args:
        family: The family's name, e.g. "resnet18".
        values: The elements in the family's order.
        layout: What the elements mean, of codes that are no networks of a registered family: their search space knows
            (`Space.code` makes such codes). The registered family's when None.

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
    layout: Layout = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        layout = get_layout(self.family) if self.layout is None else self.layout
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "values", layout.validate(self.values))

    @classmethod
    def parse(cls, text: str, layout: Layout | None = None) -> Code:
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
        values = tuple(_integer(e.strip()) for e in elements.split(",")) if elements.strip() else ()
        return cls(family, values, layout)  # type: ignore[arg-type]

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
        return dict(zip(self.layout.names, self.values, strict=True))

    def titled(self, title: str) -> tuple[int, ...]:
        """The elements of the field with this title; empty where the family has none."""
        parts = self.layout.divide(self.values)
        return tuple(value for field in self.layout.fields if field.title == title for value in parts[field.symbol])

    @property
    def channels(self) -> tuple[int, ...]:
        """The stages' output channels."""
        return self.titled("channels")

    @property
    def layers(self) -> tuple[int, ...]:
        """The stages' numbers of blocks."""
        return self.titled("blocks")

    @property
    def bottlenecks(self) -> tuple[int, ...]:
        """The stages' bottleneck channels; empty where the family has none."""
        return self.titled("bottleneck")

    @property
    def expansions(self) -> tuple[int, ...]:
        """The stages' expansion factors; empty where the family has none."""
        return self.titled("expansion")


def _integer(text: str):
    """The integer that `text` spells, or `text` itself for the layout to refuse by its position."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text
