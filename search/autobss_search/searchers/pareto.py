"""AutoBSS of two objectives: a score, which trainings tell with luck, and a cost, which is known before any.

Since the cost of every code is known, the hypervolume that a code with the score f and the cost c adds to a front is a
sum over the steps of the front: with the best score b_j at costs from c_j up to c_(j+1),

    HVI(f, c) = sum_j w_j(c) max{0, f - b_j},   w_j(c) = the length of what of [c_j, c_(j+1)) is at least c

so that its expectation is exact, a sum of expected improvements (AutoBSS, Equation 7) over b_j with weights w_j. Scores
are noisy, so that the front is not known either: it is that of f in each Monte Carlo draw, as in noisy EI.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code

from ..errors import SpaceError
from ..spaces.space import Space
from ..spaces.uniform import uniform_code
from . import candidates
from .acquisition import DRAWS, Fantasies, expected_improvement, greedy
from .autobss import AutoBSS, Codes
from .front import layers
from .surrogate import GaussianProcess

_LEVELS = 16  # of the cost, up to which candidates are grown
_GUESSES = 4  # uniformly rescaled codes of the first round
_LIKELY, _EXPANDED = 64, 80


class Fronts(Fantasies):
    """Fantasies whose improvement is that of the hypervolume over the front of each draw.

    Args:
        process: The posterior process.
        candidates: Codes of shape (p, m).
        costs: Theirs, shape (p,), from 0 to 1, which is the reference's.
        least: The reference's score.
        rng: Source of the draws.
        draws: How many.
    """

    def __init__(
        self,
        process: GaussianProcess,
        candidates: np.ndarray,
        costs: np.ndarray,
        least: float,
        rng: np.random.Generator,
        draws: int = DRAWS,
    ) -> None:
        super().__init__(process, candidates, rng, draws, noise_free=True)
        self._costs, self._least = costs, least
        self._known, self._drawn = np.empty(0, np.int64), np.empty((draws, 0))

    @override
    def _know(self, indices: Sequence[int], drawn: np.ndarray) -> None:
        self._known = np.concatenate([self._known, indices])
        self._drawn = np.concatenate([self._drawn, drawn], axis=1)

    @override
    def expected_improvement(self, indices: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The expected improvement of the hypervolume at some candidates, all by default; shape (p,)."""
        order = self._known[np.argsort(self._costs[self._known], kind="stable")]
        drawn = self._drawn[:, np.argsort(self._costs[self._known], kind="stable")]
        edges, own, std = self._costs[order], self._costs[indices][:, None], self.std[indices][:, None]
        out = np.zeros(len(std))
        for mean, scores in zip(self.mean, drawn, strict=True):
            best = np.maximum.accumulate(np.append(self._least, scores))
            steps = np.flatnonzero(np.diff(best) > 0)
            starts, levels = np.append(-np.inf, edges[steps]), np.append(self._least, best[1:][steps])
            widths = np.maximum(np.append(starts[1:], 1.0) - np.maximum(starts, own), 0.0)
            out += (widths * expected_improvement(mean[indices][:, None], std, levels)).sum(axis=1)
        return out / len(drawn)


class Pareto(AutoBSS):
    """AutoBSS's default for the front of a score and a cost, such as MACs or predicted latency.

    Codes are chosen by the expected improvement of the hypervolume up to the bound on the cost (`Fronts`), among
    candidates grown to each of several bounds. The reference point is that bound and the score that the cheapest code
    is expected to have. The front is that of posterior means among the evaluated codes.

    Args:
        space: The codes that may be searched, whose budget bounds the cost from above.
        cost: The name of its constraint.
        direction, seed: As of `Searcher`; the direction is the score's.
        n_candidates: Size of the candidate set.
        guess: Whether uniformly rescaled codes of several costs are scored first.

    Raises:
        SpaceError: If the space does not bound the cost.
    """

    def __init__(
        self,
        space: Space,
        cost: str = "macs",
        direction: str = "maximize",
        seed: int = 0,
        n_candidates: int = candidates.SIZE,
        guess: bool = True,
    ) -> None:
        super().__init__(space, "default", direction, seed, n_candidates, guess=guess)
        self._trade(cost)

    @override
    def settings(self) -> dict[str, Any]:
        names = ("searcher", "cost", "direction", "seed", "n_candidates", "guess")
        return {name: value for name, value in super().settings().items() if name in names}

    @cached_property
    def _levels(self) -> list[Space]:
        """The space, and then it under lower bounds on the cost, which lie evenly down to the cheapest code's."""
        (lowest, highest), out = self._range, [self.space]
        for share in np.linspace(1, 0, _LEVELS, endpoint=False)[1:].tolist():
            bound = replace(self._bound, upper=lowest + share * (highest - lowest))
            with suppress(SpaceError):  # where costs do not grow with size, not all codes are found that are there
                out.append(self.space.under(*(bound if c.name == self.cost else c for c in self.space.constraints)))
        return out

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The cheapest code's cost, and the bound."""
        return float(self._costs(self.space.values(self.space.smallest()))[0]), float(self._bound.upper)

    @cached_property
    def candidates(self) -> np.ndarray:
        """The candidate set, as of `AutoBSS`, grown to bounds on the cost that lie evenly up to the space's."""
        rng, parts = np.random.default_rng(self.seed), [self.space.smallest()]
        for space in self._levels:
            parts.append(candidates.grow(space, candidates.uniform(space, self.n_candidates // _LEVELS, rng), rng))
        return np.unique(np.concatenate(parts), axis=0)

    @property
    def _guesses(self) -> list[Code]:
        spaces = self._levels[:: _LEVELS // _GUESSES] if self.guess else []
        return list(dict.fromkeys(code for space in spaces if (code := uniform_code(space))))

    @override
    def _promising(self, rows: np.ndarray, hopes: np.ndarray) -> np.ndarray:
        layer = layers(self._costs(self.space.values(rows)), hopes, _EXPANDED)
        return np.lexsort((-hopes, layer))[:_EXPANDED]

    @override
    def _around(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        near = self.space.steps(positions)
        return np.unique(near[self.space.feasible(near)], axis=0)

    @override
    def _chosen(
        self, process: GaussianProcess, seen: Codes, codes: Codes, n: int, rng: np.random.Generator
    ) -> list[int]:
        if not n:
            return []
        mean, std = process.predict(seen.known)
        likely = np.lexsort((-mean, layers(self._costs(codes.known), mean + 2 * std, _LIKELY)))[:_LIKELY]
        everything = np.concatenate([seen.known[likely], seen.pending, seen.candidates])
        costs = self._costs(np.concatenate([codes.known[likely], codes.pending, codes.candidates]))
        lowest, highest = self._range
        scaled = (costs - lowest) / ((highest - lowest) or 1.0)
        least = process.predict(everything[[costs.argmin()]])[0].item()
        fantasies = Fronts(process, everything, scaled, least, rng)
        return greedy(fantasies, len(likely) + len(seen.pending), n)
