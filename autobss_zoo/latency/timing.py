"""Timing in turns: whatever slows the machine for a while slows all that is compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import AutoBSSWarning

_LEAST, _MOST = 7, 1000  # rounds
_SPREAD = 0.10


@dataclass(frozen=True)
class Timing:
    """What repeated runs took.

    Attributes:
        median: Seconds.
        low: The first quartile in seconds.
        high: The third quartile in seconds.
        n: How many runs.
        quick: The first decile in seconds, which other work on the machine moves least.
    """

    median: float
    low: float
    high: float
    n: int
    quick: float

    @property
    def spread(self) -> float:
        """The interquartile range relative to the median."""
        return (self.high - self.low) / self.median

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The statistics of some runs."""
        quick, low, median, high = np.quantile(seconds, (0.1, 0.25, 0.5, 0.75)).tolist()
        return cls(median, low, high, len(seconds), quick)


def time_in_turns(
    runners: Sequence[Callable[[], float]], seconds: float, on_round: Callable[[float], None] | None = None
) -> list[Timing]:
    """Run each in turn, round after round.

    Args:
        runners: Each runs something once and returns the seconds that it took.
        seconds: That all runs together take about; at least seven rounds, at most a thousand.
        on_round: Called after each round with the share that is done, 0 to 1.

    Returns:
        What the runs of each took.
    """
    taken: list[list[float]] = [[] for _ in runners]
    spent = 0.0
    while len(taken[0]) < _LEAST or (spent < seconds and len(taken[0]) < _MOST):
        for runner, own in zip(runners, taken, strict=True):
            own.append(runner())
            spent += own[-1]
        if on_round:
            on_round(min(1.0, max(spent / seconds, 0.0)))
    return [Timing.of(own) for own in taken]


def warn_of_spread(timings: Sequence[Timing]) -> None:
    """Warn where runs of the same differed much."""
    worst = max(timing.spread for timing in timings)
    if worst > _SPREAD:
        text = f"half of the runs of a network differ by more than {worst:.0%} of its median: other work disturbs them"
        warnings.warn(AutoBSSWarning(text), stacklevel=3)
