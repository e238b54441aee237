"""Studies beside each other, as one HTML file with interactive plots that loads nothing. Needs `autobss-zoo[plot]`."""

from __future__ import annotations

import os

from . import comparison_tables as tables
from . import html_plots as plots
from .comparison import Comparison
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
        "To keep in mind": " ".join(comparison.notes) or "The studies score alike, in one space under one budget.",
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
    if not (found := tables.answers(comparison)).rows:
        return section("Answers", "No study has an answer yet.")
    note = "What the searchers recommend, with the mean of its scores: in the search, and not of a test."
    return section("Answers", note, table("answers", *found))


def _fronts(comparison: Comparison) -> str:
    title, costs = "Cost and score", comparison.costs
    if not costs or not any(side.states["complete"] for side in comparison.sides):
        return section(title, "There are no costs, or no scores yet.")
    note = "Each study's Pareto front: the codes that none of its own beats at their cost or less. Stars are answers."
    return section(title, note, drawn("cost", plots.fronts(comparison.groups, costs, comparison.direction)))


def _seeds(comparison: Comparison) -> str:
    if not (found := tables.seeds(comparison)).rows:
        return ""
    return section("Over seeds", "Means ± standard deviations over a recipe's studies.", table("seeds", *found))


def _studies(comparison: Comparison) -> str:
    return section("Studies", "", table("studies", *tables.studies(comparison)))


def _differences(comparison: Comparison) -> str:
    if not (found := tables.differences(comparison)).rows:
        return section("What differs", "Nothing but the seeds.")
    note = "Settings that are not the same in all studies, and whose they are."
    return section("What differs", note, table("differences", *found))
