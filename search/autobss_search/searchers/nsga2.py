"""The genetic algorithm that supernets are searched with (BCNet, section 4.3): NSGA-II with hard limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code

from ..spaces.space import Space
from .front import layers
from .searcher import Observation, Searcher

_TRIES = 50


class NSGA2(Searcher):
    """NSGA-II (Deb et al., 2002) of one objective or two, whose limits are hard: no code that breaks one is scored.

    A round is a generation: the best codes of all rounds, of two objectives by their layer and crowding, are parents,
    the winners of tournaments; their children come from a two-point crossover and a polynomial mutation, pymoo's. The
    first round is random, unless a study enqueues others.

    Args:
        space: The codes that may be searched.
        direction, seed: As of `Searcher`.
        population: How many codes are parents.
        tournament: How many of them compete to be one.
        eta: Of the mutation; the larger, the nearer children are to their parents.
        cost: The name of the constraint whose cost is a second objective, if there is one.
    """

    def __init__(
        self,
        space: Space,
        direction: str = "maximize",
        seed: int = 0,
        population: int = 40,
        tournament: int = 10,
        eta: float = 20.0,
        cost: str | None = None,
    ) -> None:
        super().__init__(space, direction, seed)
        self._trade(cost)
        if not 1 <= tournament <= population:
            raise ValueError(f"tournament: expected one of 1 to population ({population}), got {tournament!r}")
        self.population, self.tournament, self.eta = population, tournament, eta

    @override
    def settings(self) -> dict[str, Any]:
        own = {"population": self.population, "tournament": self.tournament, "eta": self.eta}
        return {**super().settings(), **own}

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        scored = self.scored(observations)
        alive = [scored[i] for i in self._order(scored)[: self.population]]
        if round == 0 or len(alive) < 2:
            return []
        rows = self.space.encode(o.code for o in alive)
        known = {o.code for o in observations} | set(pending)
        chosen: dict[Code, None] = {}
        for _ in range(_TRIES):
            if len(chosen) >= n:
                break
            entrants = rng.integers(0, len(rows), (2 * n, self.tournament))
            children = self._children(rows[entrants.min(axis=1)].reshape(n, 2, -1), rng)  # the best is the first
            codes = self.space.decode(children[self.space.feasible(children)])
            chosen.update(dict.fromkeys(code for code in codes if code not in known))
        return list(chosen)

    def _order(self, scored: list[Observation]) -> list[int]:
        """The indices of codes, the best first."""
        values = np.array([o.value for o in scored], float)
        if not self.cost or not scored:
            return np.argsort(-values, kind="stable").tolist()
        points = np.column_stack([self._costs(np.array([o.code.values for o in scored])), -values])
        layer, alone = layers(points[:, 0], values), np.zeros(len(points))
        for each in range(layer.max() + 1):
            alone[layer == each] = _distances(points[layer == each])
        return np.lexsort((-alone, layer)).tolist()

    def _children(self, parents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Children of pairs of parents, positions of shape (pairs, 2, m); of shape (2 pairs, m)."""
        try:
            from pymoo.core.population import Population
            from pymoo.core.problem import Problem
            from pymoo.operators.crossover.pntx import TwoPointCrossover
            from pymoo.operators.mutation.pm import PM
            from pymoo.operators.repair.rounding import RoundingRepair
        except ImportError:
            raise ImportError("NSGA2 needs pymoo: pip install 'autobss-zoo[evolution]'") from None
        problem = Problem(self.space.ndim, xl=0, xu=self.space.lengths - 1, vtype=int)
        pairs = [Population.new("X", pair.astype(float)) for pair in parents]
        crossed = TwoPointCrossover(prob=0.9).do(problem, pairs, random_state=rng)
        mutation = PM(prob=1.0, prob_var=1 / self.space.ndim, eta=self.eta, vtype=float, repair=RoundingRepair())
        return mutation.do(problem, crossed, random_state=rng).get("X").astype(np.int64)


def _distances(points: np.ndarray) -> np.ndarray:
    """The crowding distances of points of shape (n, 2) of a layer, shape (n,)."""
    out, order = np.zeros(len(points)), np.argsort(points, axis=0, kind="stable")
    for column, place in zip(points.T, order.T, strict=True):
        ends, spread = np.pad(column[place], 1, constant_values=(-np.inf, np.inf)), np.ptp(column)
        out[place] += (ends[2:] - ends[:-2]) / (spread or 1.0)
    return out
