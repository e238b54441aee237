"""The method: AutoBSS as the paper has it, and as it works best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr
from typing_extensions import override

from autobss_zoo.codes import Code

from ..spaces.budgets import describe
from ..spaces.space import Space
from ..spaces.uniform import uniform_code
from . import candidates, clustering, refining
from .acquisition import select
from .fitting import fitted_process
from .searcher import BATCH, Observation, Searcher, place
from .surrogate import GaussianProcess, paper_process, representative, standardize

PRESETS = ("default", "paper")

Hint = Callable[[list[Code]], Sequence[float]]
"""What codes are worth, cheaply; where it has a method `describe`, that says what it is."""

_SURE = 0.95  # the probability that a code is better than the guess, from which on it is answered instead
_HINTS = 512  # codes that a hint is asked for
_EXPANSIONS, _EXPANDED = 2, 40  # local refinement of the candidates: how often, around how many codes


class Codes(NamedTuple):
    """What a choice is among and what it is given, each an array of codes of shape (n, m)."""

    known: np.ndarray
    candidates: np.ndarray
    pending: np.ndarray


class AutoBSS(Searcher):
    """Bayesian optimisation of block stacking styles over a set of grown candidates (AutoBSS, section 3).

    The two presets share the candidate set, its growth and the choice of a batch by expected improvement over pending
    codes. "paper" is the paper: the approximate sampler (Equations 1, 2), z-scores of the elements refined by Equation
    3, k-means clusters, the process of Equation 6 with its rule for sigma, EI and EEI (Equations 7, 8), and the best
    score as the answer. "default" is what finds better codes (docs/search.md has the measurements): exactly uniform
    samples, half of the first round not grown, candidates added around the best, logarithms of the elements, a linear +
    squared exponential kernel fitted with its noise, noisy EI, and the best posterior mean among the evaluated codes as
    the answer.

    By default the uniformly rescaled hand-made network (`spaces.uniform`), a good guess that costs no search, is among
    the first codes to be scored, and the answer leaves it only where the model is sure that another code is better.

    Of more than 256 scores the best 32 are learned from, and 224 that lie evenly over the ranking of the others: an ask
    after 10,000 scores takes about as long as one after 256. Any evaluated code can be the answer.

    Args:
        space: The codes that may be searched.
        preset: "default" or "paper".
        direction, seed: As of `Searcher`.
        n_candidates: Size of the candidate set.
        growth: Whether candidates are grown until no dimension can be increased.
        clustering: Whether codes are chosen among cluster centres; by the preset when None.
        refining: Whether the linear refining is trained; by the preset when None.
        guess: Whether the uniformly rescaled code is scored first and trusted; by the preset when None.
        hint: A cheap score of many codes at once, such as a supernet's. It is asked once, for some hundred codes, and
            the best candidates by what is smooth in its answers are half of the first round.
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
        guess: bool | None = None,
        hint: Hint | None = None,
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
        self.guess = not paper if guess is None else guess
        self.hint = hint
        if hint and paper:
            raise ValueError("hint: is for the default, whose first round has a place for it")

    @override
    def settings(self) -> dict[str, Any]:
        names = ("preset", "n_candidates", "growth", "clustering", "refining", "guess")
        settings = {**super().settings(), **{name: getattr(self, name) for name in names}}
        return {**settings, "hint": describe(self.hint)} if self.hint else settings

    @cached_property
    def candidates(self) -> np.ndarray:
        """The candidate set: positions, an integer array of shape (N, m)."""
        sampler = candidates.approximate if self.preset == "paper" else candidates.uniform
        rng = np.random.default_rng(self.seed)
        return candidates.candidate_set(self.space, rng, self.n_candidates, sampler, self.growth)

    def kept(self, observations: list[Observation], round: int) -> dict[str, Callable[[], np.ndarray]]:
        """The candidates, since libraries' random streams change, and the refining matrix of each later round."""
        arrays: dict[str, Callable[[], np.ndarray]] = {"candidates": lambda: self.candidates}
        if self.hint:
            arrays["hints"] = lambda: self.hints
        if self.refining and round:
            arrays[f"refining_{round}"] = lambda: self.refine(observations)
        return arrays

    def restore(self, name: str, array: np.ndarray) -> None:
        """Search among the candidates that were kept; refining matrices are kept for the record."""
        if name == "candidates":
            self.candidates = array
            self.__dict__.pop("_scale", None)
        if name == "hints":
            self.hints = array

    def encode(self, positions: np.ndarray) -> np.ndarray:
        """Codes before the linear refining, shape (n, d).

        Z-scores over the candidates, a column for each element (d = m), or, where choices have no order, for each of
        the choices: two different ones are then as far from each other as any other two.
        """
        return self._standard(self.space.values(positions))

    def _standard(self, values: np.ndarray) -> np.ndarray:
        mean, deviation = self._scale
        return (self._raw(values) - mean) / deviation

    def _seen(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Codes, integers of shape (n, m), as a surrogate sees them."""
        return self._standard(values) @ weight.T

    def _values(self, codes: Iterable[Code]) -> np.ndarray:
        """Codes as integers of shape (n, m)."""
        return np.array([code.values for code in codes], np.int64).reshape(-1, self.space.ndim)

    def _raw(self, values: np.ndarray) -> np.ndarray:
        ordered, out = self.space.ordered, self._scaled(values.astype(float))
        if ordered.all():
            return out
        columns = [
            values[:, [i]] == np.array(self.space.dimensions[i].choices) for i in np.flatnonzero(~ordered).tolist()
        ]
        return np.concatenate([out[:, ordered], *columns], axis=1)

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        """Elements, floats of shape (n, m), such that equal differences mean about as much everywhere."""
        return values if self.preset == "paper" else np.log(values + (self._least <= 0) * (1 - self._least))

    @cached_property
    def _least(self) -> np.ndarray:
        """The least value of each element, shape (m,); logarithms need positive ones."""
        return self.space.extremes()[0]

    @cached_property
    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        mean, deviation = refining.z_score(self._raw(self.space.values(self.candidates)))
        # As many columns as choices tell a change of choice; together they weigh as one element.
        choices = self.space.lengths[~self.space.ordered]
        deviation[int(self.space.ordered.sum()) :] *= np.sqrt(np.repeat(choices, choices))
        return mean, deviation

    def refine(self, observations: list[Observation]) -> np.ndarray:
        """The refining matrix W of shape (d, d) that the observations train; the identity without refining."""
        known = self._learned(observations)
        if not self.refining or len(known) < 2:
            return np.eye(len(self._scale[0]))
        x = self._standard(self._values(o.code for o in known))
        return refining.train_linear(x, _scores(known), np.random.default_rng(self.seed))

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        known = self._learned(observations)
        out = {code.values for code in [*(o.code for o in observations), *pending]}
        paper = self.preset == "paper"
        enough = 2 if round or paper else BATCH  # with so many known results the first round has a model, too
        if len(known) < enough or (round == 0 and paper):
            first = [code for code in self._guesses if code.values not in out]
            pool = self._without(self._centers(self.candidates, round, np.eye(len(self._scale[0]))), out)
            # Codes of all sizes show the trend better than grown ones alone, which are all about as large: those at
            # even places of the round are grown, those at odd ones are not.
            even = (n - len(first) + 1 - (place(observations, round, pending) + len(first)) % 2) // 2
            order = np.argsort(-self._hinted(self.space.values(pool))) if self.hint else rng.permutation(len(pool))
            grown = pool[order[: n if paper else even]]
            others = candidates.uniform(self.space, 0 if paper else 4 * n, rng)
            rows = np.concatenate([grown, self._without(others, out)])
            return list(dict.fromkeys([*first, *self.space.decode(rows)]))
        return self._improving(known, self.refine(observations), round, n, pending, out, rng)

    def _improving(
        self,
        known: list[Observation],
        weight: np.ndarray,
        round: int,
        n: int,
        pending: list[Code],
        out: set[tuple[int, ...]],
        rng: np.random.Generator,
    ) -> list[Code]:
        """The codes, none of `out`, of the most expected improvement over known and pending ones."""
        process = self._process(known, weight)
        pool = self.candidates
        for _ in range(0 if self.preset == "paper" else _EXPANSIONS):
            rows = np.concatenate([pool, self.space.encode(o.code for o in known)])
            mean, std = process.predict(self._seen(self.space.values(rows), weight))
            best = rows[self._promising(rows, mean + 0.5 * std)]
            pool = np.unique(np.concatenate([pool, self._around(best, rng)]), axis=0)
        pool = self._without(self._centers(pool, round, weight), out)
        codes = Codes(self._values(o.code for o in known), self.space.values(pool), self._values(pending))
        seen = Codes(*(self._seen(values, weight) for values in codes))
        return self.space.decode(pool[self._chosen(process, seen, codes, min(n, len(pool)), rng)])

    def _promising(self, rows: np.ndarray, hopes: np.ndarray) -> np.ndarray:
        """The indices of the candidates to look for others around, of which `hopes` of shape (n,) are held."""
        return np.argsort(-hopes, kind="stable")[:_EXPANDED]

    def _chosen(
        self, process: GaussianProcess, seen: Codes, codes: Codes, n: int, rng: np.random.Generator
    ) -> list[int]:
        """Which of the candidates to evaluate, in the order of choice.

        Args:
            process: The posterior process.
            seen: The codes as it sees them.
            codes: The same as integers.
            n: How many to choose.
            rng: Source of the Monte Carlo draws.
        """
        return select(process, seen.candidates, n, seen.pending, rng, noisy=self.preset != "paper")

    def _learned(self, observations: list[Observation]) -> list[Observation]:
        """The scored observations, or those that represent them where there are very many."""
        known = self.scored(observations)
        return [known[i] for i in representative(_scores(known))]

    def _around(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Further candidates near codes; both of shape (n, m), of different n."""
        return candidates.around(self.space, positions, rng)

    def _without(self, rows: np.ndarray, out: set[tuple[int, ...]]) -> np.ndarray:
        """The positions of codes whose values are not among `out`."""
        return rows[[tuple(row) not in out for row in self.space.values(rows).tolist()]]

    def _centers(self, pool: np.ndarray, round: int, weight: np.ndarray) -> np.ndarray:
        """The cluster centres among the candidates; all candidates without clustering."""
        if not self.clustering:
            return pool
        x = self.encode(pool) @ weight.T
        return pool[clustering.centers(x, clustering.schedule(round, len(pool)), self.seed)]

    def _process(self, known: list[Observation], weight: np.ndarray) -> GaussianProcess:
        x = self._seen(self._values(o.code for o in known), weight)
        if self.preset == "paper":
            return paper_process(x, _scores(known), np.array([o.round == 0 for o in known]))
        scores = np.array([o.scores for o in known])
        return fitted_process(x, _scores(known), scores=scores)

    def _judged(self, known: list[Observation]) -> np.ndarray:
        """Posterior means; of the paper the scores."""
        return super()._judged(known) if self.preset == "paper" else self._posterior(known)[0]

    def _posterior(self, known: list[Observation]) -> tuple[np.ndarray, np.ndarray]:
        """Of f at evaluated codes the mean, and the probability that it is not below the guess's, if any."""
        weight = self.refine(known)
        process = self._process(self._learned(known), weight)
        x = self._seen(self._values(o.code for o in known), weight)
        mean, std = process.predict(x)
        place = next((i for i, o in enumerate(known) if o.code == self._guess), None)
        if place is None:
            return mean, np.ones(len(mean))
        shared = process.covariance(x, x[[place]])[:, 0]
        spread = np.sqrt(np.maximum(std**2 + std[place] ** 2 - 2 * shared, 1e-12))
        better = ndtr((mean - mean[place]) / spread)
        better[place] = 1.0
        return mean, better

    def _recommend(self, known: list[Observation]) -> Code:
        if self.preset == "paper" or len(known) < 2:
            return super()._recommend(known)
        mean, better = self._posterior(known)
        return known[int(np.where(better >= _SURE, mean, -np.inf).argmax())].code

    @cached_property
    def hints(self) -> np.ndarray:
        """Codes, half of them candidates, and after each its hint, floats of shape (n, m + 1)."""
        assert self.hint
        rng = np.random.default_rng([self.seed, _HINTS])
        grown = self.candidates[rng.permutation(len(self.candidates))[: _HINTS // 2]]
        rows = np.unique(np.concatenate([grown, candidates.uniform(self.space, _HINTS // 2, rng)]), axis=0)
        return np.column_stack([self.space.values(rows), self.hint(self.space.decode(rows))])

    @cached_property
    def _hinted(self) -> Callable[[np.ndarray], np.ndarray]:
        """What is smooth in the hints, a function of codes of shape (n, m), of a mean of 0 and a deviation of 1."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures

        x = self._standard(self.hints[:, :-1].astype(np.int64))
        y = standardize(self.signed(1.0) * self.hints[:, -1])
        model = make_pipeline(PolynomialFeatures(2), Ridge(1.0)).fit(x, y)
        return lambda values: model.predict(self._standard(values)) if len(values) else np.empty(0)

    @cached_property
    def _guess(self) -> Code | None:
        """The code that is good unless scores say otherwise."""
        return uniform_code(self.space) if self.guess else None

    @property
    def _guesses(self) -> list[Code]:
        """The codes to score first."""
        return [self._guess] if self._guess else []


def _scores(known: list[Observation]) -> np.ndarray:
    return np.array([o.value for o in known], float)
