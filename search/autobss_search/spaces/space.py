"""Which codes may be searched: dimensions with steps, under constraints (AutoBSS, section 3.1 and appendix B.2.2).

Inside the engine a code is a row of choice positions, so that one growth step of any dimension is +1: the next
multiple for channels, the next power where powers are declared, one block more, the next bottleneck fraction, T 3 -> 6.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from autobss_zoo.codes import Code, Field, Layout, find_layout
from autobss_zoo.errors import CodeError, shown

from ..errors import SpaceError
from .budgets import Constraint

_CHUNK = 1 << 16
_ENUMERABLE = 1 << 27  # codes; about half a minute
_WALKS, _STEPS = 256, 2000  # in search of a code between bounds
_LARGEST = 1 << 31  # value of an element, so that products fit in 64 bits
_MOST = 1000  # elements of a code


@dataclass(frozen=True)
class Dimension:
    """One element of a code and the values that it may take.

    Args:
        name: The element's name, e.g. "C2", "s1.e1" or "R".
        choices: The values in ascending order: integers; or fractions of the value of `of`.
        of: An earlier dimension that the choices are fractions of, e.g. "C2" for "B2": when C2 grows, B2 keeps its
            fraction of it.
        ordered: Whether a larger value is more of something. Choices without an order, such as kernels or numbers of
            operations, may be listed in any; they are all one step from each other, do not grow, and are told apart by
            surrogates without a distance.

    Raises:
        SpaceError: If the name has another form, or the choices are empty, repeat or are not in ascending order.
    """

    name: str
    choices: tuple[int | Fraction, ...]
    of: str | None = None
    ordered: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z_][\w.]*", self.name):
            raise SpaceError(f"dimension {shown(self.name)}: expected a name such as C2, s1.e1 or R")
        if self.of is not None and not self.ordered:
            raise SpaceError(f"{self.name}: fractions of {self.of} have an order")
        kind: Any = int if self.of is None else Fraction
        given = tuple(self.choices)
        known = all(isinstance(c, Real) and not isinstance(c, bool) and abs(c) <= _LARGEST for c in given)
        choices: tuple[Any, ...] = tuple(map(kind, given)) if known else ()
        order = " in ascending order" if self.ordered else ""
        wrong = any(a >= b for a, b in itertools.pairwise(choices)) if order else len(set(choices)) < len(choices)
        if not choices or choices != given or wrong:
            expected = f"different {kind.__name__}s{order}"
            raise SpaceError(f"{self.name}: expected {expected}, got {shown(given)}, each up to {_LARGEST:,}")
        object.__setattr__(self, "choices", choices)

    def describe(self) -> list[Any]:
        """The choices as plain values, with what is special of them."""
        special = [*([f"of {self.of}"] if self.of else []), *([] if self.ordered else ["unordered"])]
        return [str(c) if self.of else c for c in self.choices] + special


@dataclass(frozen=True)
class Space:
    """The codes that may be searched.

    Args:
        family: The family of the codes; a new word if the codes are no networks of the zoo.
        dimensions: The elements of a code, in order.
        constraints: Bounds on costs, all of which hold for every code of the space.

    Raises:
        SpaceError: If the dimensions do not fit the family, or no code meets the constraints.

    Examples:
        >>> space = Space("toy", [Dimension("W1", (8, 16, 32)), Dimension("W2", (8, 16))])
        >>> space.size, space.code((16, 8)) in space
        (6, True)
    """

    family: str
    dimensions: Sequence[Dimension]
    constraints: Sequence[Constraint] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(self.dimensions))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        if not isinstance(self.family, str) or not re.fullmatch(r"[A-Za-z]\w*", self.family):
            raise SpaceError(f"family: expected a word such as mine, got {shown(self.family)}")
        if not 1 <= len(self.dimensions) <= _MOST:
            raise SpaceError(
                f"a space needs at least one dimension, and at most {_MOST:,}; got {len(self.dimensions):,}"
            )
        for what, parts in (("dimensions", self.dimensions), ("constraints", self.constraints)):
            names = [part.name for part in parts]
            if twice := [name for name in names if names.count(name) > 1]:
                raise SpaceError(f"two {what} are called {twice[0]}")
        self._check_fractions()
        names = [d.name for d in self.dimensions]
        if tuple(names) != (expected := self.layout.names):
            raise SpaceError(f"{self.family} codes are {','.join(expected)}; got dimensions {','.join(names)[:500]}")
        for values in self.extremes():
            try:
                self.code(values.tolist())
            except CodeError as error:
                raise SpaceError(f"a choice is out of the family's bounds: {error}") from None
        self.smallest()

    def _check_fractions(self) -> None:
        bases: dict[str, Dimension] = {}
        for dimension in self.dimensions:
            if dimension.of is None:
                bases[dimension.name] = dimension
                continue
            if dimension.of not in bases:
                raise SpaceError(f"{dimension.name}: fractions of {dimension.of}, which is no integer dimension before")
            choices = bases[dimension.of].choices
            common = math.gcd(*map(int, choices))  # what divides it divides them all
            if odd := next((f for f in dimension.choices if common % Fraction(f).denominator), None):
                product = next(p for c in choices if (p := odd * c).denominator != 1)
                raise SpaceError(f"{dimension.name}: a fraction of {dimension.of} is {product}, no integer")

    @cached_property
    def layout(self) -> Layout:
        """What the elements of the codes mean: the registered family's layout, or else their names and bounds."""
        if registered := find_layout(self.family):
            return registered
        lows, highs = (values.tolist() for values in self.extremes())
        fields = [
            Field(d.name, d.name, (), low, high) for d, low, high in zip(self.dimensions, lows, highs, strict=True)
        ]
        return Layout(self.family, tuple(fields), tuple(lows))

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each element, both of shape (m,)."""
        pairs = [[d.choices.index(end(d.choices)) for end in (min, max)] for d in self.dimensions]
        low, high = self.values(np.array(pairs).T)
        return low, high

    def code(self, values: Iterable[int]) -> Code:
        """A code of the space's family, whether or not it is in the space.

        Raises:
            CodeError: If it is no code of the family.
        """
        return Code(self.family, tuple(values), self.layout)

    def parse(self, text: str) -> Code:
        """Read the text of such a code; see `Code.parse`."""
        return Code.parse(text, self.layout)

    @property
    def ndim(self) -> int:
        """Elements of a code, m."""
        return len(self.dimensions)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of choices of each dimension, shape (m,)."""
        return np.array([len(d.choices) for d in self.dimensions])

    @cached_property
    def ordered(self) -> np.ndarray:
        """Whether the choices of each dimension have an order, booleans of shape (m,)."""
        return np.array([d.ordered for d in self.dimensions])

    @cached_property
    def reach(self) -> np.ndarray:
        """For each dimension the number of its choices that any code can have; `lengths` or less, shape (m,)."""
        # Without an order there is no smallest code, whose costs would show what is out of reach.
        bounds = self.constraints if self.ordered.all() else ()
        out = self.lengths.copy()
        for i, k in enumerate(self.lengths):
            rows = np.zeros((k, self.ndim), np.int64)
            rows[:, i] = np.arange(k)
            values = self.values(rows)
            out[i] = np.all([c.least(values) <= c.upper for c in bounds], axis=0).sum() if bounds else k
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
        return [Code(self.family, tuple(row), self.layout) for row in self.values(np.asarray(positions)).tolist()]

    def costs(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """The cost of each constraint by its name, each of shape (n,), for positions of shape (n, m)."""
        values = self.values(positions)
        return {c.name: c.costs(values) for c in self.constraints}

    def feasible(self, positions: np.ndarray) -> np.ndarray:
        """Whether codes meet all constraints: booleans of shape (n,) for positions of shape (n, m)."""
        values = self.values(positions)
        ok = np.ones(len(values), bool)
        for constraint in self.constraints:
            ok[ok] = constraint.met(constraint.costs(values[ok]))
        return ok

    def check(self, code: Code) -> None:
        """Do nothing if the code is in the space.

        Raises:
            SpaceError: If it is not; the message says why.
        """
        row = self.encode([code])
        for c, cost in zip(self.constraints, self.costs(row).values(), strict=True):
            if not c.met(cost)[0]:
                raise SpaceError(f"{code}: {c.problem(cost[0])}")

    def __contains__(self, code: object) -> bool:
        try:
            self.check(code)  # type: ignore[arg-type]
        except (SpaceError, AttributeError):
            return False
        return True

    def smallest(self) -> np.ndarray:
        """Positions of a code that meets the constraints, shape (1, m): the smallest wherever costs grow with size.

        Raises:
            SpaceError: If none was found; the message states the cost that came nearest.
        """
        return self._smallest

    @cached_property
    def _smallest(self) -> np.ndarray:
        row = np.zeros((1, self.ndim), np.int64)
        while not self.feasible(row)[0]:  # costs that grow with size end here at once; others are descended
            around = np.concatenate([row, self.steps(row)])
            excess = self._excess(around)
            if not excess.argmin():
                return self._searched(row)
            row = around[[excess.argmin()]]
        return row

    def _excess(self, positions: np.ndarray) -> np.ndarray:
        """How far codes are from meeting all constraints, shape (n,)."""
        values = self.values(positions)
        return np.max([c.excess(c.costs(values)) for c in self.constraints], axis=0)

    def _searched(self, nearest: np.ndarray) -> np.ndarray:
        """A code that meets the constraints, found by walks towards them from random codes.

        For bounds on both sides that no way leads to from the smallest code; `nearest` is where that ended.
        """
        if any(c.lower > 0 for c in self.constraints):
            rng = np.random.default_rng(0)
            rows = rng.integers(0, self.lengths, (_WALKS, self.ndim))
            for _ in range(_STEPS):
                if (ok := self.feasible(rows)).any():
                    return rows[ok][:1]
                moved = rows.copy()
                at = rng.integers(0, self.ndim, len(rows))
                moved[np.arange(len(rows)), at] = rng.integers(0, self.lengths[at])
                better = self._excess(moved) <= self._excess(rows)
                rows[better] = moved[better]
        costs = self.costs(nearest)
        worst = max(self.constraints, key=lambda c: c.excess(costs[c.name])[0])
        cost = costs[worst.name][0]
        over = cost > worst.upper
        bound, end = (f"at most {worst.upper:,}", "smallest") if over else (f"at least {worst.lower:,}", "largest")
        raise SpaceError(
            f"no {self.family} code has {worst.name} of {bound}: the {end} reachable is {cost:,}, of "
            f"{self.decode(nearest)[0]}; {'raise' if over else 'lower'} the budget or widen the space"
        )

    def steps(self, positions: np.ndarray, directions: Sequence[int] = (1, -1)) -> np.ndarray:
        """Positions one step away from any of `positions`, whether they meet the constraints or not; with repeats.

        Args:
            positions: Integer array of shape (n, m).
            directions: 1 to step up, -1 down. Choices without an order have neither: with both, each of them is a step.
        """
        moves = np.concatenate([d * np.eye(self.ndim, dtype=np.int64)[self.ordered] for d in directions])
        rows = (positions[:, None] + moves).reshape(-1, self.ndim)
        rows = rows[((rows >= 0) & (rows < self.lengths)).all(axis=1)]
        if self.ordered.all() or len(directions) < 2:
            return rows
        return np.concatenate([rows, *(self.others(positions, i) for i in np.flatnonzero(~self.ordered).tolist())])

    def others(self, positions: np.ndarray, dimension: int) -> np.ndarray:
        """Positions with each other choice of one dimension."""
        k = int(self.lengths[dimension])
        rows = np.repeat(positions, k - 1, axis=0)
        shift = np.tile(np.arange(1, k), len(positions))
        rows[:, dimension] = (rows[:, dimension] + shift) % k
        return rows

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
            "dimensions": {d.name: d.describe() for d in self.dimensions},
            "constraints": {c.name: c.describe() for c in self.constraints},
        }
