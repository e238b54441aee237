"""AutoBSS's default with one of its parts left out or as the paper has it, each a searcher of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from typing_extensions import override

from autobss_search import AutoBSS, Searcher
from autobss_search.searchers.acquisition import select
from autobss_search.searchers.autobss import Codes
from autobss_search.searchers.searcher import Observation
from autobss_search.searchers.surrogate import GaussianProcess, paper_process
from autobss_zoo.codes import Code


class _OnlyGrown(AutoBSS):
    @override
    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        if round:
            return super()._propose(observations, round, n, pending, rng)
        rows = self.candidates[rng.permutation(len(self.candidates))[:n]]
        return [*([self._guess] if self._guess else []), *self.space.decode(rows)]


class _NoneAround(AutoBSS):
    @override
    def _around(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return positions[:0]


class _NoLogarithms(AutoBSS):
    @override
    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values


class _PapersProcess(AutoBSS):
    @override
    def _process(self, known: list[Observation], weight: np.ndarray) -> GaussianProcess:
        x, y = self._seen(self._values(o.code for o in known), weight), np.array([o.value for o in known], float)
        return paper_process(x, y, np.array([o.round == 0 for o in known]))


class _PapersImprovement(AutoBSS):
    @override
    def _chosen(
        self, process: GaussianProcess, seen: Codes, codes: Codes, n: int, rng: np.random.Generator
    ) -> list[int]:
        return select(process, seen.candidates, n, seen.pending, rng)


class _BestScore(AutoBSS):
    @override
    def _recommend(self, known: list[Observation]) -> Code:
        return Searcher._recommend(self, known)

    @override
    def _judged(self, known: list[Observation]) -> np.ndarray:
        return Searcher._judged(self, known)


ABLATIONS: dict[str, tuple[str, Callable[..., Searcher]]] = {
    "no-guess": ("default without the uniformly rescaled code", partial(AutoBSS, guess=False)),
    "only-grown": ("default with grown codes alone at first", _OnlyGrown),
    "no-growth": ("default without growth", partial(AutoBSS, growth=False)),
    "none-around": ("default without candidates around the best", _NoneAround),
    "no-logarithms": ("default without logarithms", _NoLogarithms),
    "papers-process": ("default with the paper's process", _PapersProcess),
    "papers-improvement": ("default with the paper's improvement", _PapersImprovement),
    "best-score": ("default that answers the best score", _BestScore),
}
"""What they are, and searchers over a space with a seed."""
