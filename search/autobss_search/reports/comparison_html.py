"""Studies beside each other, as one HTML file with interactive plots that loads nothing. Needs `autobss-zoo[plot]`."""

from __future__ import annotations

import os

from . import html_plots as plots
from .comparison import Comparison
from .html_plots import amount
from .page import drawn, duration, section, table, terms, write_page


def write_comparison(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Write a page that compares studies, also while they run.

    Raises:
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    parts = [
        _facts(comparison),
        _curves(comparison),
        _answers(comparison),
        _fronts(comparison),
        _seeds(comparison),
        _studies(comparison),
        _differences(comparison),
    ]
    write_page(path, f"{len(comparison.sides)} studies compared", parts)


def _facts(comparison: Comparison) -> str:
    sides = comparison.sides
    facts = {
        "Studies": f"{len(sides)} of {len(comparison.groups)} recipes",
        "Scores": f"{sum(side.states['complete'] for side in sides):,}, to {comparison.direction}",
        "Scoring in all": duration(sum(side.seconds for side in sides)),
        "To keep in mind": " ".join(comparison.notes) or "The studies differ in nothing but their searchers and seeds.",
    }
    return terms(facts)


def _curves(comparison: Comparison) -> str:
    title = "Best score so far"
    if not any(side.states["complete"] for side in comparison.sides):
        return section(title, "No trial has a score yet.")
    note = (
        "Of studies that differ in their seed alone, the thick line is the mean and the area the range. Time is that "
        "of scoring, failures included, as if codes were scored one after the other."
    )
    axes = ["scores"] + ["seconds"] * any(side.seconds >= 1 for side in comparison.sides)  # of a table it takes none
    figures = (drawn(by, plots.curves(comparison.groups, by)) for by in axes)
    return section(title, note, f'<div class="beside">{"".join(figures)}</div>')


def _answers(comparison: Comparison) -> str:
    found = [side for side in comparison.sides if side.answer is not None]
    if not found:
        return section("Answers", "No study has an answer yet.")
    costs = comparison.costs
    rows = [[s.name, s.answer, s.answers_score, *(s.answers_costs.get(name) for name in costs)] for s in found]
    note = "What the searchers recommend, with the mean of its scores: in the search, and not of a test."
    return section("Answers", note, table("answers", ["study", "code", "score", *costs], rows))


def _fronts(comparison: Comparison) -> str:
    title, costs = "Cost and score", comparison.costs
    if not costs or not any(side.states["complete"] for side in comparison.sides):
        return section(title, "There are no costs, or no scores yet.")
    note = "Each study's Pareto front: the codes that none of its own beats at their cost or less. Stars are answers."
    return section(title, note, drawn("cost", plots.fronts(comparison.groups, costs, comparison.direction)))


def _seeds(comparison: Comparison) -> str:
    rows = [
        [group.name, len(group.sides), *(f"{amount(m)} ± {d:.2g}" for m, d in spread.values())]
        for group in comparison.groups
        if len(spread := group.spread()) == 2
    ]
    if not rows:
        return ""
    note = "Means and standard deviations over the studies of a recipe."
    return section("Over seeds", note, table("seeds", ["recipe", "studies", "best score", "answer's score"], rows))


def _studies(comparison: Comparison) -> str:
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
    heads = ["study", "searcher", "seed", "budget", "scored", "failed", "best score", "scoring"]
    return section("Studies", "", table("studies", heads, rows))


def _differences(comparison: Comparison) -> str:
    rows = [
        [key, "\n".join(f"{value}: {', '.join(names)}" for value, names in values.items())]
        for key, values in comparison.differences.items()
    ]
    if not rows:
        return section("What differs", "Nothing but the seeds.")
    note = "Settings that are not the same in all studies, and whose they are."
    return section("What differs", note, table("differences", ["setting", "values"], rows))
