"""Pictures of a study. Needs the extra `autobss-zoo[plot]`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from autobss_zoo.plots import COLOURS, save

from ..searchers import AutoBSS, Searcher, refining
from ..searchers.mcea import Iteration
from ..spaces.described import is_told
from ..studies.reading import can_encode
from ..studies.records import Record

LEAST = 8  # scores, below which their discrepancies show nothing
_MOST = 300  # codes, whose 44,850 pairs are looked at


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


def plot_front(records: Sequence[Record], front: Sequence[Record], cost: str, path: str | os.PathLike[str]) -> None:
    """Draw scores against a cost, and the front of both.

    Args:
        records: The trials.
        front: Those of the front.
        cost: The cost's name.
        path: A file that ends in .png, .svg or .pdf.

    Raises:
        ValueError: If it ends otherwise.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    shown = {"trials": ("0.7", records), "the front, as the searcher judges it": (COLOURS[0], front)}
    for label, (colour, some) in shown.items():
        points = np.array([[r.costs[cost], r.value] for r in some if r.value is not None]).T
        axes.plot(*points, "o", markersize=4, color=colour, label=label)
    axes.set(xlabel=cost, ylabel="score")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


class Pairs(NamedTuple):
    """Pairs of scored codes, each an array of shape (n,).

    Attributes:
        distance: Of the two codes as the surrogate sees them.
        refined: Their distance after the linear refining.
        gap: The discrepancy of their scores.
    """

    distance: np.ndarray
    refined: np.ndarray
    gap: np.ndarray


def refiner(searcher: Searcher) -> AutoBSS | None:
    """What scales a study's codes for the refining; None where it needs candidates, and costs are a user's own."""
    if isinstance(searcher, AutoBSS) and can_encode(searcher):
        return searcher
    return AutoBSS(searcher.space, "paper") if is_told(searcher.space) else None


def refining_pairs(searcher: AutoBSS, records: Sequence[Record]) -> Pairs:
    """The pairs of up to 300 scored codes, evenly drawn from all.

    The refining is trained on the first round alone, so that most pairs are new to it.

    Raises:
        ValueError: If fewer than 8 trials have a score.
    """
    scored = [r for r in records if r.value is not None]
    if len(scored) < LEAST:
        raise ValueError(f"expected at least {LEAST} trials with a score, got {len(scored)}")
    first = [r for r in scored if r.round == scored[0].round][:_MOST]
    weight = refining.train_linear(*_encoded(searcher, first), np.random.default_rng(searcher.seed))
    x, y = _encoded(searcher, scored[:: -(-len(scored) // _MOST)])
    i, j = np.triu_indices(len(x), 1)
    before, after = (np.linalg.norm(codes[i] - codes[j], axis=1) for codes in (x, x @ weight.T))
    return Pairs(before, after, np.abs(y[i] - y[j]))


def _encoded(searcher: AutoBSS, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Codes of shape (n, m) and scores of shape (n,)."""
    return searcher.encode(searcher.space.encode(r.code for r in records)), np.array([r.value for r in records], float)


def trend(distance: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean distance, and the mean and standard deviation of the gaps, of each of 20 bins of equally many pairs."""
    bins = np.array_split(np.argsort(distance), min(20, len(gap) // 3))
    middle, mean, spread = np.array([(distance[b].mean(), gap[b].mean(), gap[b].std()) for b in bins]).T
    return middle, mean, spread


def plot_refining(searcher: AutoBSS, records: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Draw the discrepancy of scores against the distance of codes, before and after the linear refining.

    After AutoBSS's Figures 2 and 3b: the mean and the mean plus standard deviation over bins of equally many of the
    `refining_pairs`.

    Raises:
        ValueError: If fewer than 8 trials have a score.
    """
    from matplotlib.figure import Figure

    pairs = refining_pairs(searcher, records)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, distance, title in zip(
        figure.subplots(1, 2, sharey=True), pairs[:2], ("z-scores", "refined by Equation 3"), strict=True
    ):
        middle, mean, spread = trend(distance, pairs.gap)
        axes.plot(distance, pairs.gap, ".", color="0.8", markersize=2)
        axes.plot(middle, mean, color=COLOURS[0], label="mean")
        axes.plot(middle, mean + spread, "--", color=COLOURS[1], label="mean + standard deviation")
        axes.set(xlabel="distance of two codes", title=title, xlim=(0, None), ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("discrepancy of scores")
    figure.axes[0].legend(frameon=False)
    save(figure, path)


def plot_convergence(found: Sequence[Iteration], path: str | os.PathLike[str]) -> None:
    """Draw the deviations of scores in each iteration of a joint search (ScaleNet, Figure 6), and what it has found.

    Args:
        found: Of `MCEA.history`.
        path: The picture's file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = range(1, len(found) + 1)
    left.plot(numbers, [each.bases.std() for each in found], "o-", color="0.3", label="bases")
    for place in range(len(found[0].scores)):
        deviations = [each.scores[place].std() for each in found]
        left.plot(numbers, deviations, "o-", color=COLOURS[place % len(COLOURS)], label=f"scaling stage {place + 1}")
    right.plot(numbers, [each.value for each in found], "o-", color="0.3")
    left.set(xlabel="iteration", ylabel="standard deviation of scores", ylim=(0, None))
    right.set(xlabel="iteration", ylabel="mean score of the best base's networks")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
