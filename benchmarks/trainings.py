"""Trainings from scratch of some codes with several seeds, side by side, which go on where they were interrupted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from autobss_search.evaluators.training import Training
from autobss_search.executors import InProcess, Job
from autobss_search.executors.processes import LocalProcesses
from autobss_zoo import Code


def accuracies(
    recipe: Any, folder: Path, codes: Iterable[Code], seeds: Sequence[int], workers: int
) -> dict[Code, list[float]]:
    """The scores of trainings, one for each seed.

    Args:
        recipe: What trains them, as of `Training`.
        folder: Where they are kept.
        codes: Of the networks; those that are there twice are trained once.
        seeds: Of each network's trainings.
        workers: Trainings side by side.

    Raises:
        RuntimeError: If one fails.
    """
    executor = LocalProcesses(workers) if workers > 1 else InProcess()
    found: dict[Code, list[float]] = {code: [] for code in codes}
    jobs = [Job(i, code, seed) for i, (code, seed) in enumerate((c, s) for s in seeds for c in found)]
    for outcome in executor.outcomes(Training(recipe, str(folder)), jobs):
        if outcome.value is None:
            raise RuntimeError(f"{jobs[outcome.id]}: {outcome.error}")
        found[jobs[outcome.id].code].append(outcome.value)
        print(f"{jobs[outcome.id].code} seed {jobs[outcome.id].seed}: {outcome.value:.2f}%", flush=True)
    return found


def interval(values: Sequence[float]) -> float:
    """Half the width of the mean's 95% confidence interval (Student's t); NaN of a single value."""
    if len(values) < 2:
        return float("nan")
    return float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5


def mean(values: Sequence[float], digits: int = 2) -> str:
    """A mean with its interval, as tables have it."""
    known = statistics.fmean(values)
    if len(values) < 2:
        return f"{known:.{digits}f}"
    return f"{known:.{digits}f} ± {interval(values):.{digits}f}"
