"""The method: AutoBSS as the paper has it, and as it works best."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from autobss_zoo.codes import Code

from . import candidates, clustering, refining
from .acquisition import select
from .fitting import fitted_process
from .searcher import BATCH, Observation, Searcher
from .space import Space
from .surrogate import GaussianProcess, paper_process

PRESETS = ("default", "paper")
_EXPANSIONS, _EXPANDED = 2, 40  # local refinement of the candidates: how often, around how many codes


class AutoBSS(Searcher):
    """Bayesian optimisation of block stacking styles over a set of grown candidates (AutoBSS, section 3).

    The two presets share the candidate set, its growth and the choice of a batch by expected improvement over pending
    codes. "paper" is the paper: the approximate sampler (Equations 1, 2), z-scores of the elements refined by Equation
    3, k-means clusters, the process of Equation 6 with its rule for sigma, EI and EEI (Equations 7, 8), and the best
    score as the answer. "default" is what finds better codes (docs/search.md has the measurements): exactly uniform
    samples, half of the first round not grown, candidates added around the best, logarithms of the elements, a linear +
    squared exponential kernel fitted with its noise, noisy EI, and the best posterior mean among the evaluated codes as
    the answer.

    Args:
        space: The codes that may be searched.
        preset: "default" or "paper".
        direction, seed: As of `Searcher`.
        n_candidates: Size of the candidate set.
        growth: Whether candidates are grown until no dimension can be increased.
        clustering: Whether codes are chosen among cluster centres; by the preset when None.
        refining: Whether the linear refining is trained; by the preset when None.
    """

    def __init__(
        self,
        space: Space,
        preset: str = "default",
        direction: str = "maximize",
        seed: int = 0,
        n_candidates: int = candidates.SIZE,
        growth: bool = True,
        clustering: bool | None = None,
        refining: bool | None = None,
    ) -> None:
        super().__init__(space, direction, seed)
        if preset not in PRESETS:
            raise ValueError(f"preset: expected {' or '.join(PRESETS)}, got {preset!r}")
        if n_candidates < 1:
            raise ValueError(f"n_candidates: expected a positive integer, got {n_candidates!r}")
        self.preset, self.n_candidates, self.growth = preset, n_candidates, growth
        paper = preset == "paper"
        self.clustering = paper if clustering is None else clustering
        self.refining = paper if refining is None else refining

    def settings(self) -> dict[str, Any]:
        names = ("preset", "n_candidates", "growth", "clustering", "refining")
        return {**super().settings(), **{name: getattr(self, name) for name in names}}

    @cached_property
    def candidates(self) -> np.ndarray:
        """The candidate set: positions, an integer array of shape (N, m)."""
        sampler = candidates.approximate if self.preset == "paper" else candidates.uniform
        rng = np.random.default_rng(self.seed)
        return candidates.build(self.space, rng, self.n_candidates, sampler, self.growth)

    def use_candidates(self, positions: np.ndarray) -> None:
        """Search among these candidates instead, such as those that a resumed study has kept."""
        self.candidates = positions
        self.__dict__.pop("_scale", None)

    def encode(self, positions: np.ndarray) -> np.ndarray:
        """Codes as the surrogate sees them before the linear refining: z-scores over the candidates, shape (n, m)."""
        mean, deviation = self._scale
        return (self._raw(positions) - mean) / deviation

    def _raw(self, positions: np.ndarray) -> np.ndarray:
        values = self.space.values(positions).astype(float)
        if self.preset == "paper":
            return values
        return np.log(values + (self._least <= 0) * (1 - self._least))

    @cached_property
    def _least(self) -> np.ndarray:
        """The least value of each element, shape (m,); logarithms need positive ones."""
        return self.space.values(np.zeros((1, self.space.ndim), int))[0]

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        return refining.z_score(self._raw(self.candidates))

    def refine(self, observations: list[Observation]) -> np.ndarray:
        """The refining matrix W of shape (m, m) that the observations train; the identity without refining."""
        known = self.scored(observations)
        if not self.refining or len(known) < 2:
            return np.eye(self.space.ndim)
        x = self.encode(self.space.encode(o.code for o in known))
        return refining.train_linear(x, _values(known), np.random.default_rng(self.seed))

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        known = self.scored(observations)
        out = {tuple(row) for row in self.space.encode([*(o.code for o in observations), *pending]).tolist()}
        paper = self.preset == "paper"
        enough = 2 if round or paper else BATCH  # with so many known results the first round has a model, too
        if len(known) < enough or (round == 0 and paper):
            pool = _without(self._centers(self.candidates, round, np.eye(self.space.ndim)), out)
            # Codes of all sizes show the trend better than grown ones alone, which are all about as large.
            grown = pool[rng.permutation(len(pool))[: n if paper else -(-n // 2)]]
            others = candidates.uniform(self.space, 0 if paper else 4 * n, rng)
            return list(dict.fromkeys(self.space.decode(np.concatenate([grown, _without(others, out)]))))
        weight = self.refine(observations)
        process = self._process(known, weight)
        pool = self.candidates
        for _ in range(0 if paper else _EXPANSIONS):
            rows = np.concatenate([pool, self.space.encode(o.code for o in known)])
            mean, std = process.predict(self.encode(rows) @ weight.T)
            best = rows[np.argsort(-(mean + 0.5 * std), kind="stable")[:_EXPANDED]]
            pool = np.unique(np.concatenate([pool, candidates.around(self.space, best, rng)]), axis=0)
        pool = _without(self._centers(pool, round, weight), out)
        waiting = self.encode(self.space.encode(pending)) @ weight.T
        x = self.encode(pool) @ weight.T
        return self.space.decode(pool[select(process, x, min(n, len(pool)), waiting, rng, noisy=not paper)])

    def _centers(self, pool: np.ndarray, round: int, weight: np.ndarray) -> np.ndarray:
        """The cluster centres among the candidates; all candidates without clustering."""
        if not self.clustering:
            return pool
        x = self.encode(pool) @ weight.T
        return pool[clustering.centers(x, clustering.schedule(round, len(pool)), self.seed)]

    def _process(self, known: list[Observation], weight: np.ndarray) -> GaussianProcess:
        x = self.encode(self.space.encode(o.code for o in known)) @ weight.T
        if self.preset == "paper":
            return paper_process(x, _values(known), np.array([o.round == 0 for o in known]))
        return fitted_process(x, _values(known))

    def _recommend(self, known: list[Observation]) -> Code:
        if self.preset == "paper" or len(known) < 2:
            return super()._recommend(known)
        process = self._process(self.scored(known), self.refine(known))
        return known[int(process.predict(process.x)[0].argmax())].code


def _values(known: list[Observation]) -> np.ndarray:
    return np.array([o.value for o in known], float)


def _without(rows: np.ndarray, out: set[tuple[int, ...]]) -> np.ndarray:
    return rows[[tuple(row) not in out for row in rows.tolist()]]
