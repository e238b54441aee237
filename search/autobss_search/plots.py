"""Pictures of a study. Needs the extra `autobss-zoo[plot]`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autobss_zoo.plots import COLOURS, save

from . import refining
from .ledger import Record

if TYPE_CHECKING:
    from .autobss import AutoBSS


def plot_history(records: Sequence[Record], path: str | os.PathLike[str], direction: str = "maximize") -> None:
    """Draw the scores of each round in ascending order, and the best so far (AutoBSS, Figure 3a).

    Raises:
        ValueError: If no trial has a score, or the suffix of `path` is not .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure

    scored = [r for r in records if r.value is not None]
    if not scored:
        raise ValueError("no trial has a score yet")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    better, start, best, steps = max if direction == "maximize" else min, 0, None, []
    for round in sorted({r.round for r in scored}):
        values: list[Any] = sorted(r.value for r in scored if r.round == round)
        axes.plot(range(start, start + len(values)), values, ".", color=COLOURS[round % len(COLOURS)])
        axes.annotate(
            f"round {round + 1}", (start + (len(values) - 1) / 2, 1.0), xycoords=("data", "axes fraction"),
            ha="center", va="bottom", fontsize=9,
        )  # fmt: skip
        best = better(values) if best is None else better(best, *values)
        steps.append((start, start + len(values) - 1, best))
        start += len(values)
        axes.axvline(start - 0.5, color="0.85", linewidth=1, zorder=0)
    for first, last, value in steps:
        axes.hlines(value, first, last, color="0.3", linewidth=1)
    axes.set(xlabel="codes, sorted within each round (the line: the best so far)", ylabel="score")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def plot_refining(searcher: AutoBSS, records: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Draw the discrepancy of scores against the distance of codes, before and after the linear refining.

    After AutoBSS's Figures 2 and 3b: the mean and the mean plus standard deviation over bins of equally many pairs. The
    refining is trained on the first round alone, so that most pairs are new to it.

    Raises:
        ValueError: If fewer than 8 trials have a score.
    """
    from matplotlib.figure import Figure

    scored = [r for r in records if r.value is not None]
    if len(scored) < 8:
        raise ValueError(f"expected at least 8 trials with a score, got {len(scored)}")
    x = searcher.encode(searcher.space.encode(r.code for r in scored))
    y = np.array([r.value for r in scored], float)
    first = np.array([r.round == scored[0].round for r in scored])
    weight = refining.train_linear(x[first], y[first], np.random.default_rng(searcher.seed))
    i, j = np.triu_indices(len(x), 1)
    gap = np.abs(y[i] - y[j])
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, codes, title in zip(
        figure.subplots(1, 2, sharey=True), (x, x @ weight.T), ("z-scores", "refined by Equation 3"), strict=True
    ):
        distance = np.linalg.norm(codes[i] - codes[j], axis=1)
        bins = np.array_split(np.argsort(distance), min(20, len(gap) // 3))
        middle = [distance[b].mean() for b in bins]
        mean = np.array([gap[b].mean() for b in bins])
        spread = np.array([gap[b].std() for b in bins])
        axes.plot(distance, gap, ".", color="0.8", markersize=2)
        axes.plot(middle, mean, color=COLOURS[0], label="mean")
        axes.plot(middle, mean + spread, "--", color=COLOURS[1], label="mean + standard deviation")
        axes.set(xlabel="distance of two codes", title=title, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("discrepancy of scores")
    figure.axes[0].legend(frameon=False)
    save(figure, path)
