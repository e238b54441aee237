"""What AutoBSS is compared with: random search, regularised evolution and local search, with the same ask and tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code

from ..spaces.space import Space
from .searcher import BATCH, Observation, Searcher


class RandomSearch(Searcher):
    """Codes drawn uniformly from the space: "a hard baseline to beat" (AutoBSS, section 4.1).

    Args:
        space: The codes that may be searched.
        direction, seed: As of `Searcher`.
        cost: The name of the constraint whose cost is a second objective, if there is one: the answer is a front then.
    """

    def __init__(self, space: Space, direction: str = "maximize", seed: int = 0, cost: str | None = None) -> None:
        super().__init__(space, direction, seed)
        self._trade(cost)

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        return []  # `propose` fills up with new random codes


class RegularizedEvolution(Searcher):
    """Aging evolution (Real et al., 2019, algorithm 1), with feasible mutations only.

    Each new code mutates the best of a random tournament among the youngest of the evaluated codes. Codes of one round
    are equally old.

    Args:
        space: The codes that may be searched.
        direction, seed: As of `Searcher`.
        population: How many of the youngest codes may be parents.
        tournament: How many of them compete.
    """

    def __init__(
        self, space: Space, direction: str = "maximize", seed: int = 0, population: int = 2 * BATCH, tournament: int = 8
    ) -> None:
        super().__init__(space, direction, seed)
        if not 1 <= tournament <= population:
            raise ValueError(f"tournament: expected one of 1 to population ({population}), got {tournament!r}")
        self.population, self.tournament = population, tournament

    @override
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "population": self.population, "tournament": self.tournament}

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        alive = sorted(self.scored(observations), key=lambda o: -o.round)[: self.population]
        if len(alive) < min(self.tournament, BATCH):
            return []
        known = {o.code for o in observations} | set(pending)
        chosen: dict[Code, None] = {}
        for _ in range(50 * n):
            if len(chosen) == n:
                break
            rivals = [alive[i] for i in rng.choice(len(alive), min(self.tournament, len(alive)), replace=False)]
            children = self._mutations(max(rivals, key=_value).code)
            if children:
                child = children[rng.integers(len(children))]
                if child not in known:
                    chosen[child] = None
        return list(chosen)

    def _mutations(self, code: Code) -> list[Code]:
        """The feasible codes that differ in one element, by any amount."""
        row = self.space.encode([code])
        rows = np.concatenate([np.tile(row, (int(k), 1)) for k in self.space.lengths])
        at = np.repeat(np.arange(self.space.ndim), self.space.lengths)
        rows[np.arange(len(rows)), at] = np.concatenate([np.arange(k) for k in self.space.lengths])
        rows = rows[(rows != row).any(axis=1)]
        return self.space.decode(rows[self.space.feasible(rows)])


class LocalSearch(Searcher):
    """Hill climbing (White et al., 2021): the neighbours of the best code, then those of the next best.

    Neighbours differ by a step in one element, or by a step up in one and a step down in another, since under a budget
    the best codes can rarely grow. Starts from random codes.
    """

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        known = {o.code for o in observations} | set(pending)
        chosen: dict[Code, None] = {}
        scored = self.scored(observations)
        if len(scored) < BATCH:
            return []
        for parent in sorted(scored, key=_value, reverse=True):
            near = self.space.steps(self.space.encode([parent.code]))
            swaps = self.space.steps(self.space.steps(self.space.encode([parent.code]), (1,)), (-1,))
            rows = np.unique(np.concatenate([near, swaps]), axis=0)
            codes = self.space.decode(rng.permutation(rows[self.space.feasible(rows)]))
            chosen.update((code, None) for code in codes if code not in known)
            if len(chosen) >= n:
                break
        return list(chosen)


def _value(observation: Observation) -> float:
    assert observation.value is not None  # of `scored`
    return observation.value
