"""What a comparison of studies says in tables, on a terminal and on a page."""

from __future__ import annotations

from typing import Any, NamedTuple

from .comparison import Comparison
from .page import duration


class Rows(NamedTuple):
    """A table.

    Attributes:
        heads: Of its columns.
        rows: Values; they may be none.
    """

    heads: list[str]
    rows: list[list[Any]]


def answers(comparison: Comparison) -> Rows:
    """What the searchers recommend, with the mean of its scores and its costs."""
    costs, found = comparison.costs, [side for side in comparison.sides if side.answer is not None]
    rows = [[s.name, s.answer, s.answers_score, *(s.answers_costs.get(name) for name in costs)] for s in found]
    return Rows(["study", "code", "score", *costs], rows)


def seeds(comparison: Comparison) -> Rows:
    """Means and standard deviations over the studies of each recipe that has several."""
    rows = [
        [group.name, len(group.sides), *(f"{mean:.6g} ± {deviation:.2g}" for mean, deviation in spread.values())]
        for group in comparison.groups
        if len(spread := group.spread()) == 2
    ]
    return Rows(["recipe", "studies", "best score", "answer's score"], rows)


def studies(comparison: Comparison) -> Rows:
    """What each study is, and how far it is."""
    rows = [
        [
            side.name,
            side.method,
            str(side.seed),
            "; ".join(f"{name} {bounds}" for name, bounds in side.budget.items()) or "none",
            f"{side.states['complete']:,} of {side.planned:,}",
            side.states["failed"],
            None if side.best is None else side.best.value,
            duration(side.seconds),
        ]
        for side in comparison.sides
    ]
    return Rows(["study", "searcher", "seed", "budget", "scored", "failed", "best score", "scoring"], rows)


def differences(comparison: Comparison) -> Rows:
    """The settings that are not the same in all studies, and whose they are: a line for each value."""
    rows = [
        ["" if i else key, value, ", ".join(names)]
        for key, values in comparison.differences.items()
        for i, (value, names) in enumerate(values.items())
    ]
    return Rows(["setting", "value", "studies"], rows)
