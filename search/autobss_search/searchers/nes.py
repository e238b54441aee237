"""Natural evolution strategies, by which the joint search of architecture hyperparameters estimates its gradients.

"A Gradient-based Architecture HyperParameter Optimization Approach" (2020), of which only the abstract could be had.
What it leaves open is as of separable natural evolution strategies (Schaul, Glasmachers and Schmidhuber, 2011) and, of
elements without an order, of their natural gradient on chances (Akimoto et al., 2019).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code

from ..spaces.space import Space
from .searcher import Observation, Searcher

_TRIES = 20
_FAR, _SHIFTS = 2.0, 161  # how far all elements move together, of ranges of 2, to use a budget up
_WIDEST = 1.0  # deviation
_CLIPPED = 3.0  # deviations: the most that a rounded code is taken to be away from the mean


class _State(NamedTuple):
    """A distribution of codes.

    Attributes:
        mean, deviation: Of each ordered element's coordinate, shape (m,).
        chances: Of each other element's choices, shape (m, most choices).
    """

    mean: np.ndarray
    deviation: np.ndarray
    chances: np.ndarray


class NES(Searcher):
    """Follows the natural gradient of the expected score over a distribution of codes.

    An ordered element's coordinate is the logarithm of its value, from -1 at the least choice to 1 at the largest; each
    has a mean and a deviation. Elements without an order have a chance for each choice. A round's codes are drawn from
    the distribution that the rounds before it have led to, and its scores, by rank, move it on. A drawn code that does
    not use its budgets up, or breaks one, is rescaled: all ordered coordinates move together until it is the largest
    that meets them. Where a code lies, rounded and rescaled, is what is learned from, so that enqueued ones count, too.

    Args:
        space: The codes that may be searched.
        direction, seed: As of `Searcher`.
        deviation: Of each coordinate at first.
        rate: Of the mean and of the chances; 1 is the natural step.

    Raises:
        ValueError: If one of them is not positive.
    """

    def __init__(
        self, space: Space, direction: str = "maximize", seed: int = 0, deviation: float = 0.5, rate: float = 1.0
    ) -> None:
        super().__init__(space, direction, seed)
        for name, value in (("deviation", deviation), ("rate", rate)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
        self.deviation, self.rate = float(deviation), float(rate)
        self._coordinates = [_coordinates(np.array(d.choices, float)) for d in space.dimensions]
        self._middles = [(own[1:] + own[:-1]) / 2 for own in self._coordinates]
        self._finest = np.array([1 / max(1, len(own) - 1) for own in self._coordinates])  # half of a mean step

    @override
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "deviation": self.deviation, "rate": self.rate}

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        state = self._state([o for o in self.scored(observations) if 0 <= o.round < round])
        known = {o.code for o in observations} | set(pending)
        chosen: dict[Code, None] = {}
        for _ in range(_TRIES):
            if len(chosen) >= n:
                break
            codes = self.space.decode(self._rescaled(*self._drawn(state, 2 * n, rng)))
            chosen.update(dict.fromkeys(code for code in codes if code not in known))
        return list(chosen)

    def _state(self, scored: list[Observation]) -> _State:
        """Where the rounds before have led, one after the other."""
        space = self.space
        allowed = np.arange(space.lengths.max()) < space.lengths[:, None]
        state = _State(
            np.zeros(space.ndim), np.full(space.ndim, self.deviation), allowed / space.lengths[:, None].astype(float)
        )
        for _, own in itertools.groupby(sorted(scored, key=lambda o: (o.round, o.code)), key=lambda o: o.round):
            state = self._moved(state, list(own))
        return state

    def _moved(self, state: _State, scored: list[Observation]) -> _State:
        """A step along the natural gradient, by the scores of one round."""
        rows = self.space.encode(o.code for o in scored)
        weights = utilities(np.array([o.value for o in scored], float))
        away = np.clip((self._places(rows) - state.mean) / state.deviation, -_CLIPPED, _CLIPPED)
        mean = np.clip(state.mean + self.rate * state.deviation * (weights @ away), -1, 1)
        slow = (3 + math.log(self.space.ndim)) / (5 * math.sqrt(self.space.ndim))
        deviation = state.deviation * np.exp(slow / 2 * (weights @ (away**2 - 1)))
        taken = np.arange(state.chances.shape[1]) == rows[:, :, None]
        chances = state.chances + self.rate * np.einsum("n,nmk->mk", weights, taken - state.chances)
        least = 1 / (self.space.lengths[:, None] * (len(scored) + 1.0))  # what seems to be bad is drawn now and then
        chances = np.where(state.chances > 0, np.maximum(chances, least), 0.0)
        return _State(mean, np.clip(deviation, self._finest, _WIDEST), chances / chances.sum(axis=1, keepdims=True))

    def _places(self, rows: np.ndarray) -> np.ndarray:
        """The coordinates of codes by their positions, both of shape (n, m)."""
        return np.stack([own[column] for own, column in zip(self._coordinates, rows.T, strict=True)], axis=1)

    def _drawn(self, state: _State, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of codes, and positions of the elements without an order; both of shape (n, m)."""
        drawn = state.mean + state.deviation * rng.standard_normal((n, len(state.mean)))
        luck = rng.random((n, len(state.mean), 1))
        positions = (luck > state.chances.cumsum(axis=1)[None]).sum(axis=2)
        return drawn, np.minimum(positions, self.space.lengths - 1)

    def _rescaled(self, drawn: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Positions of the largest codes of these proportions that meet the constraints, shape (codes, m)."""
        bounded = bool(self.space.constraints)
        shifts = np.linspace(_FAR, -_FAR, _SHIFTS) if bounded else np.zeros(1)
        moved = (drawn[:, None] + shifts[:, None]).reshape(-1, self.space.ndim)
        rows = np.repeat(positions, len(shifts), axis=0)
        for i in np.flatnonzero(self.space.ordered).tolist():
            rows[:, i] = np.searchsorted(self._middles[i], moved[:, i])
        met = self.space.feasible(rows).reshape(-1, len(shifts))
        rows = rows.reshape(len(drawn), len(shifts), -1)
        return rows[met.any(axis=1), met.argmax(axis=1)[met.any(axis=1)]]


def utilities(values: np.ndarray) -> np.ndarray:
    """What scores weigh by their ranks, shape (n,): the better half most, all together 0 (Schaul et al., 2011).

    Equal scores weigh the mean of their ranks' weights.
    """
    n = len(values)
    best_first = np.maximum(0.0, math.log(n / 2 + 1) - np.log(np.arange(1, n + 1)))
    by_rank = best_first / best_first.sum() - 1 / n
    _, which, counts = np.unique(-values, return_inverse=True, return_counts=True)
    return (np.add.reduceat(by_rank, np.cumsum(counts) - counts) / counts)[which]


def _coordinates(choices: np.ndarray) -> np.ndarray:
    """Of an element's choices, from -1 to 1; by their logarithms where they are positive."""
    values = np.log(choices) if choices.min() > 0 else choices
    span = np.ptp(values)
    return 2 * (values - values.min()) / span - 1 if span else np.zeros(len(values))
