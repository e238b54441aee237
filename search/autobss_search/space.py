"""Which codes may be searched: dimensions with steps, under constraints (AutoBSS, section 3.1 and appendix B.2.2).

Inside the engine a code is a row of choice positions, so that one growth step of any dimension is +1: the next
multiple for channels, the next power where powers are declared, one block more, the next bottleneck fraction, T 3 -> 6.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from autobss_zoo.codes import LAYOUTS, Code, Field, Layout

from .errors import SpaceError

_CHUNK = 1 << 16
_ENUMERABLE = 1 << 27  # codes; about half a minute


@dataclass(frozen=True)
class Dimension:
    """One element of a code and the values that it may take.

    Args:
        name: The paper's name of the element: a letter or word and the number of the stage, e.g. "C2".
        choices: The values in ascending order: integers; or fractions of the value of `of`.
        of: An earlier dimension that the choices are fractions of, e.g. "C2" for "B2": when C2 grows, B2 keeps its
            fraction of it.

    Raises:
        SpaceError: If the name has another form, or the choices are empty or not in ascending order.
    """

    name: str
    choices: tuple[int | Fraction, ...]
    of: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z_]+\d+", self.name):
            raise SpaceError(f"dimension {self.name!r}: expected a word and a number, such as C2")
        kind = int if self.of is None else Fraction
        try:
            choices = tuple(kind(c) for c in self.choices)
        except (TypeError, ValueError, ZeroDivisionError):
            choices = ()
        if not choices or choices != tuple(self.choices) or any(a >= b for a, b in itertools.pairwise(choices)):
            raise SpaceError(f"{self.name}: expected different {kind.__name__}s in ascending order, got {self.choices}")
        object.__setattr__(self, "choices", choices)


@dataclass(frozen=True)
class Constraint:
    """An upper bound on a cost.

    Args:
        name: What is bounded, e.g. "macs"; part of a study's identity.
        upper: The largest cost allowed.
        function: The cost of an integer array of codes of shape (n, m), as an array of shape (n,). `each` makes one of
            a function of a single code.
        monotone: Whether a growth step never lowers the cost. Then values that are over the bound even in the smallest
            code are never looked at, which makes tight budgets quick.
    """

    name: str
    upper: float
    function: Callable[[np.ndarray], np.ndarray]
    monotone: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.upper, bool) or not isinstance(self.upper, (int, float)) or not self.upper > 0:
            raise SpaceError(f"{self.name}: expected a positive upper bound, got {self.upper!r}")


@dataclass(frozen=True)
class FamilyCost:
    """MACs or parameters of a family's networks in closed form, as a constraint's function.

    Args:
        family: The family's name.
        figure: "macs" or "params".
        input_size: Side of the image in pixels; the family's own when None.
        in_chans, num_classes: Of the networks.
    """

    family: str
    figure: str
    input_size: int | None = None
    in_chans: int = 3
    num_classes: int = 1000

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        from autobss_zoo.families import get_family

        cost = get_family(self.family).cost(codes, self.input_size, self.in_chans, self.num_classes)
        return getattr(cost, self.figure)


@dataclass(frozen=True)
class each:  # noqa: N801  # reads as a function
    """Apply `function`, the cost of a single code, to an array of codes; each code is asked for once.

    Args:
        family: The codes' family.
        function: The cost of a `Code`, such as its measured latency.
    """

    family: str
    function: Callable[[Code], float]
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        rows = [tuple(row) for row in codes.tolist()]
        for row in rows:
            if row not in self._known:
                self._known[row] = float(self.function(Code(self.family, row)))
        return np.array([self._known[row] for row in rows])


@dataclass(frozen=True)
class Space:
    """The codes that may be searched.

    Args:
        family: The family of the codes; a new word if the codes are no networks of the zoo.
        dimensions: The elements of a code, in order.
        constraints: Upper bounds, all of which hold for every code of the space.

    Raises:
        SpaceError: If the dimensions do not fit the family, or no code meets the constraints.

    Examples:
        >>> space = Space("toy", [Dimension("W1", (8, 16, 32)), Dimension("W2", (8, 16))])
        >>> space.size, Code("toy", (16, 8)) in space
        (6, True)
    """

    family: str
    dimensions: Sequence[Dimension]
    constraints: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(self.dimensions))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        if not self.dimensions:
            raise SpaceError("a space needs at least one dimension")
        self._enter_layout()
        for i, dimension in enumerate(self.dimensions):
            if dimension.of is None:
                continue
            base = next((d for d in self.dimensions[:i] if d.name == dimension.of and d.of is None), None)
            if base is None:
                raise SpaceError(f"{dimension.name}: fractions of {dimension.of}, which is no integer dimension before")
            products = [f * c for f in dimension.choices for c in base.choices]
            if odd := next((p for p in products if Fraction(p).denominator != 1), None):
                raise SpaceError(f"{dimension.name}: a fraction of {dimension.of} is {odd}, no integer")
        self.smallest()

    def _enter_layout(self) -> None:
        """Check the names against the family's layout, or enter a layout for codes that are no networks."""
        names = tuple(d.name for d in self.dimensions)
        if self.family not in LAYOUTS:
            lows, highs = self.values(np.zeros((1, self.ndim), int))[0], self.values(self.lengths[None] - 1)[0]
            fields = []
            for name, low, high in zip(names, lows.tolist(), highs.tolist(), strict=True):
                symbol, number = re.fullmatch(r"(.*?)(\d+)", name).groups()  # type: ignore[union-attr]
                fields.append(Field(symbol, range(int(number), int(number) + 1), low, high))
            LAYOUTS[self.family] = Layout(self.family, tuple(fields), tuple(lows.tolist()))
        expected = LAYOUTS[self.family].names
        if names != expected:
            raise SpaceError(f"{self.family} codes are {','.join(expected)}; got dimensions {','.join(names)}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._enter_layout()  # of a space of the user's own, in a new process

    @property
    def ndim(self) -> int:
        """Elements of a code, m."""
        return len(self.dimensions)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of choices of each dimension, shape (m,)."""
        return np.array([len(d.choices) for d in self.dimensions])

    @cached_property
    def reach(self) -> np.ndarray:
        """For each dimension the number of its choices that any code can have; `lengths` or less, shape (m,)."""
        bounds = [c for c in self.constraints if c.monotone]
        out = self.lengths.copy()
        for i, k in enumerate(self.lengths):
            rows = np.zeros((k, self.ndim), np.int64)
            rows[:, i] = np.arange(k)
            values = self.values(rows)
            out[i] = np.all([c.function(values) <= c.upper for c in bounds], axis=0).sum() if bounds else k
        return out

    @property
    def size(self) -> int:
        """The exact number of codes, those that break a constraint included."""
        return math.prod(len(d.choices) for d in self.dimensions)

    def count(self) -> int:
        """The exact number of codes that meet the constraints, by enumeration.

        Raises:
            SpaceError: If there are more than 2**27 codes to look at.
        """
        if not self.constraints:
            return self.size
        if (size := math.prod(self.reach.tolist())) > _ENUMERABLE:
            raise SpaceError(f"{size:,} codes are too many to enumerate")
        return sum(len(rows) for rows in self.enumerate())

    def enumerate(self) -> Iterator[np.ndarray]:
        """All codes that meet the constraints, as arrays of positions in lexicographic order, a part at a time."""
        shape = tuple(self.reach.tolist())
        for start in range(0, math.prod(shape), _CHUNK):
            flat = np.arange(start, min(start + _CHUNK, math.prod(shape)))
            rows = np.stack(np.unravel_index(flat, shape), axis=1)
            yield rows[self.feasible(rows)]

    @cached_property
    def _tables(self) -> list[tuple[np.ndarray, int | None, int]]:
        """For each dimension its integer choices (of fractions the numerators), the base's column, the denominator."""
        columns = {d.name: i for i, d in enumerate(self.dimensions)}
        out: list[tuple[np.ndarray, int | None, int]] = []
        for d in self.dimensions:
            denominator = math.lcm(*(Fraction(c).denominator for c in d.choices))
            table = np.array([int(c * denominator) for c in d.choices], np.int64)
            out.append((table, None if d.of is None else columns[d.of], denominator))
        return out

    def values(self, positions: np.ndarray) -> np.ndarray:
        """The elements of codes given by positions; both integer arrays of shape (n, m)."""
        out = np.empty(np.shape(positions), np.int64)
        for i, (table, base, denominator) in enumerate(self._tables):
            out[:, i] = table[positions[:, i]]
            if base is not None:
                out[:, i] *= out[:, base]
                out[:, i] //= denominator
        return out

    def encode(self, codes: Iterable[Code]) -> np.ndarray:
        """Positions of codes, an integer array of shape (n, m); `decode` is the inverse.

        Raises:
            SpaceError: If a code is of another family or an element is none of its dimension's choices.
        """
        rows = []
        for code in codes:
            if code.family != self.family:
                raise SpaceError(f"{code} is no code of {self.family}")
            row, values = [], code.as_dict()
            for d in self.dimensions:
                value = values[d.name]
                choice = value if d.of is None else Fraction(value, values[d.of])
                if choice not in d.choices:
                    known = ", ".join(map(str, d.choices))
                    raise SpaceError(f"{code}: {d.name} = {value} is none of {known}{f' of {d.of}' if d.of else ''}")
                row.append(d.choices.index(choice))
            rows.append(row)
        return np.array(rows, np.int64).reshape(-1, self.ndim)

    def decode(self, positions: np.ndarray) -> list[Code]:
        """Codes of an array of positions of shape (n, m)."""
        return [Code(self.family, tuple(row)) for row in self.values(np.asarray(positions)).tolist()]

    def costs(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """The cost of each constraint by its name, each of shape (n,), for positions of shape (n, m)."""
        values = self.values(positions)
        return {c.name: np.asarray(c.function(values)) for c in self.constraints}

    def feasible(self, positions: np.ndarray) -> np.ndarray:
        """Whether codes meet all constraints: booleans of shape (n,) for positions of shape (n, m)."""
        values = self.values(positions)
        ok = np.ones(len(values), bool)
        for constraint in self.constraints:
            ok[ok] = np.asarray(constraint.function(values[ok])) <= constraint.upper
        return ok

    def check(self, code: Code) -> None:
        """Do nothing if the code is in the space.

        Raises:
            SpaceError: If it is not; the message says why.
        """
        row = self.encode([code])
        for c, cost in zip(self.constraints, self.costs(row).values(), strict=True):
            if not cost[0] <= c.upper:
                raise SpaceError(f"{code}: {c.name} {cost[0]:,} is over the bound {c.upper:,}")

    def __contains__(self, code: object) -> bool:
        try:
            self.check(code)  # type: ignore[arg-type]
        except (SpaceError, AttributeError):
            return False
        return True

    def smallest(self) -> np.ndarray:
        """Positions of a code that meets the constraints, shape (1, m): the smallest wherever costs grow with size.

        Raises:
            SpaceError: If none was found; the message states the smallest cost that was reached.
        """
        row = np.zeros((1, self.ndim), np.int64)
        while not self.feasible(row)[0]:  # costs that grow with size end here at once; others are descended
            around = np.concatenate([row, self.steps(row)])
            excess = np.max([c.function(self.values(around)) / c.upper for c in self.constraints], axis=0)
            if not excess.argmin():
                costs = self.costs(row)
                worst = max(self.constraints, key=lambda c: costs[c.name][0] / c.upper)
                raise SpaceError(
                    f"no {self.family} code has {worst.name} of at most {worst.upper:,}: the smallest reachable is "
                    f"{costs[worst.name][0]:,}, of {self.decode(row)[0]}; raise the budget or widen the space"
                )
            row = around[[excess.argmin()]]
        return row

    def steps(self, positions: np.ndarray, directions: Sequence[int] = (1, -1)) -> np.ndarray:
        """Positions one step away from any of `positions`, whether they meet the constraints or not; with repeats."""
        moves = np.concatenate([d * np.eye(self.ndim, dtype=np.int64) for d in directions])
        rows = (positions[:, None] + moves).reshape(-1, self.ndim)
        return rows[((rows >= 0) & (rows < self.lengths)).all(axis=1)]

    def neighbors(self, code: Code) -> list[Code]:
        """The codes of the space that are one step away in one dimension."""
        return self._feasible_codes(self.steps(self.encode([code])))

    def growth_steps(self, code: Code) -> list[Code]:
        """The codes of the space that are one step larger in one dimension."""
        return self._feasible_codes(self.steps(self.encode([code]), (1,)))

    def _feasible_codes(self, positions: np.ndarray) -> list[Code]:
        return self.decode(positions[self.feasible(positions)])

    def under(self, *constraints: Constraint) -> Space:
        """The same dimensions under other constraints."""
        return replace(self, constraints=constraints)

    def describe(self) -> dict[str, Any]:
        """What makes the space this one, as plain values; the identity that a study keeps."""
        return {
            "family": self.family,
            "dimensions": {
                d.name: [str(c) if d.of else c for c in d.choices] + ([f"of {d.of}"] if d.of else [])
                for d in self.dimensions
            },
            "constraints": {c.name: c.upper for c in self.constraints},
        }
