"""Scores from a table of finished trainings, such as Channel-Bench-Macro's or NAS-Bench-Macro's JSON files."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AliasChoices, BaseModel, Field

from autobss_zoo.codes import Code
from autobss_zoo.limits import Number

from ..errors import SpaceError
from ..spaces.amounts import Multiple, parse_bounds
from ..spaces.budgets import Constraint
from ..spaces.space import Dimension, Space
from .evaluator import Evaluator, register_evaluator
from .shelves import Shelf, read_json

_MOST = 10_000_000  # codes, which are all held in memory
TABLES = Shelf("table")
"""The tables that there are."""


@dataclass(frozen=True, eq=False)
class TableMacs:
    """MACs by look-up, as a constraint's function; infinite for codes that the table does not have.

    Args:
        family: The codes' family; part of what makes two of these equal.
        macs: Of all codes in lexicographic order.
        digits: The digits of each position, ascending.
    """

    family: str
    macs: np.ndarray
    digits: tuple[np.ndarray, ...]

    def index(self, codes: np.ndarray) -> np.ndarray:
        """Ranks of codes, shape (n,), in lexicographic order."""
        positions = [np.searchsorted(d, column) for d, column in zip(self.digits, codes.T, strict=True)]
        return np.ravel_multi_index(positions, tuple(map(len, self.digits)))

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """The MACs of codes of shape (n, m), shape (n,)."""
        return self.macs[self.index(codes)]

    def describe(self) -> dict[str, str]:
        """What is counted: the table's MACs, by their hash."""
        digest = hashlib.sha256(np.ascontiguousarray(self.macs).tobytes()).hexdigest()
        return {"cost": "macs", "family": self.family, "table": digest[:16]}


class _Entry(BaseModel):
    """What a file holds of a code."""

    accuracies: list[Number] = Field(min_length=1, validation_alias=AliasChoices("acc", "test_acc"))
    flops: Annotated[Number, Field(ge=0)]
    params: Annotated[Number, Field(ge=0)] = math.nan


_Entries = Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]+$")], _Entry], Field(min_length=1)]


def _read(path: Path) -> dict[str, _Entry]:
    """The file's entries, whose keys have the same length, and which have as many accuracies each."""
    expected = f"{path}: expected an object of keys of digits, each with acc or test_acc (a list) and flops"
    entries: dict[str, _Entry] = read_json(path, _Entries, expected)
    if len({(len(key), len(entry.accuracies)) for key, entry in entries.items()}) > 1:
        raise ValueError(f"{expected}: keys of different lengths, or not as many accuracies of each code")
    if (size := math.prod(len(set(column)) for column in zip(*entries, strict=True))) > _MOST:
        raise ValueError(f"{expected}: its digits make {size:,} codes, over {_MOST:,}")
    return entries


@register_evaluator("table")
class Table(Evaluator):
    """A benchmark of trained codes.

    The file is a JSON object, optionally compressed as .xz: a key of digits for each code, and for each the accuracies
    of its trainings (`acc` or `test_acc`), its MACs (`flops`) and, where they are known, its parameters (`params`).

    Args:
        table: The file, or the name of a table that comes with the package (`TABLES.names()`).

    Attributes:
        path: The file.
        family: The codes' family, named after the file: results_mobilenet{4,4,4,4,4,4,4}.
        scores: Accuracies, shape (number of codes, trainings), in lexicographic order of codes; NaN where missing.
        macs: MACs of all codes in the same order; infinite where missing.
        params: Parameters of all codes in the same order; NaN where missing.

    Raises:
        ValueError: If there is no such table.
    """

    needs_space = False

    def __init__(self, table: str | Path) -> None:
        self.path = path = TABLES.find(table)
        entries = _read(path)
        keys = np.array([[int(c) for c in key] for key in entries])
        scores = np.array([entry.accuracies for entry in entries.values()], float)
        macs = np.array([entry.flops for entry in entries.values()], float)
        digits = tuple(np.unique(column) for column in keys.T)
        self.family = "table_" + re.sub(r"\W", "_", path.name.partition(".")[0]).lower()
        self._macs = TableMacs(self.family, np.full(np.prod([len(d) for d in digits]), np.inf), digits)
        rows = self._macs.index(keys)
        self._macs.macs[rows] = macs
        self.macs = self._macs.macs
        self.params = np.full(len(self.macs), np.nan)
        self.params[rows] = [entry.params for entry in entries.values()]
        self.scores = np.full((len(self.macs), scores.shape[1]), np.nan)
        self.scores[rows] = scores

    @property
    def codes(self) -> np.ndarray:
        """All codes in lexicographic order, an integer array of shape (n, m)."""
        return np.stack([g.ravel() for g in np.meshgrid(*self._macs.digits, indexing="ij")], axis=1)

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many digits each position has."""
        return tuple(map(len, self._macs.digits))

    def describe(self) -> str:
        """The table's identity."""
        return f"{self.family} {hashlib.sha256(self.scores.tobytes()).hexdigest()[:16]}"

    @classmethod
    def from_recipe(cls, settings: Mapping[str, Any], models: Path | None) -> Table:
        """As in Evaluator; the settings are the `file`."""
        return cls(TABLES.from_recipe(settings))

    def to_recipe(self) -> dict[str, Any]:
        """As in Evaluator."""
        return TABLES.to_recipe(self.path)

    def make_space(self, space: Any, budget: Mapping[str, Any]) -> Space:
        """As in Evaluator: the codes of the table; the only cost is its macs."""
        TABLES.check_no_space(space)
        if odd := budget.keys() - {"macs"}:
            raise SpaceError(f"budget: expected macs, got {', '.join(sorted(odd))}")
        lower, upper = parse_bounds(budget["macs"]) if budget.get("macs") is not None else (0.0, None)
        if isinstance(lower, Multiple) or isinstance(upper, Multiple):
            raise SpaceError(f"budget: macs: a table has no hand-made network; give amounts, not {budget['macs']}")
        return self.space(macs=upper, lower=lower)

    def space(self, fraction: float = 1.0, macs: float | None = None, lower: float = 0) -> Space:
        """The codes of the table under a budget.

        Args:
            fraction: The largest MACs allowed as a share of the table's largest.
            macs: The same as a number, instead.
            lower: The smallest MACs allowed.

        Raises:
            SpaceError: If there are none.
        """
        if not 0 < fraction <= 1:
            raise SpaceError(f"fraction: expected one in (0, 1], got {fraction!r}")
        dimensions = [Dimension(f"W{i}", tuple(d.tolist())) for i, d in enumerate(self._macs.digits, start=1)]
        largest = float(self.macs[np.isfinite(self.macs)].max())
        upper = fraction * largest if macs is None else macs
        return Space(self.family, dimensions, [Constraint("macs", min(upper, largest), self._macs, lower=lower)])

    def indices(self, codes: np.ndarray) -> np.ndarray:
        """The rows in `scores` and `macs` of codes of shape (n, m)."""
        return self._macs.index(codes)

    def index(self, code: Code) -> int:
        """The row of a code in `scores` and `macs`."""
        return int(self.indices(np.array([code.values]))[0])

    def score(self, code: Code, seed: int) -> float:
        """The accuracy of one training of the code, chosen by `seed`."""
        scores = self.scores[self.index(code)]
        return float(scores[np.random.default_rng([seed, *code.values]).integers(len(scores))])
