"""The joint search of a base and of how it is scaled: Markov chain-based evolution (ScaleNet, section 3.3)."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from typing_extensions import override

from autobss_zoo.codes import Code
from autobss_zoo.errors import AutoBSSWarning
from autobss_zoo.families import get_family
from autobss_zoo.scaling import Strategy, scale_codes

from ..errors import SpaceError, StudyError
from ..spaces.budgets import Constraint, CostFunction
from ..spaces.scaling import Scaling, find_scaling, scaled
from ..spaces.space import Space
from . import candidates
from .autobss import AutoBSS
from .nsga2 import NSGA2
from .searcher import Observation, Searcher, pooled

SEARCHES = ("nsga2", "autobss")
_UNKNOWN = object()

Scores = Sequence[float | None]
Course = Generator[list[Code], Scores, None]
"""What has to be scored next, in answer to the scores of what had to be before."""


class Iteration(NamedTuple):
    """What an iteration of the search has found.

    Attributes:
        base: The base.
        strategies: Of each scaling stage but the base's own.
        networks: The base scaled by them.
        value: The mean of their scores (Equation 4).
        bases: The means of all bases that were tried, shape (n,).
        scores: Of each scaling stage the scores of all networks that were asked for, whose deviations show whether the
            search converges (Figure 6).
    """

    base: Code
    strategies: tuple[Strategy, ...]
    networks: tuple[Code, ...]
    value: float
    bases: np.ndarray
    scores: tuple[np.ndarray, ...]


class MCEA(Searcher):
    """Markov chain-based evolution: a base and a strategy for each scaling stage, found in turns.

    First some random bases are scaled by all strategies, and each scaling stage's best one on the mean is where the
    search begins (Equation 7). Each iteration then evolves the base, whose score is the mean of the stages' networks'
    (Equations 5 and 6), from the population that the iteration before has left, and tries all strategies of each stage
    on the best one (Equation 8). A base meets the budget; a strategy is admitted where it costs what the stage should,
    2^j times the cost of that base, more or less. The answers are the base and its scaled versions.

    The codes are of a family with the side of the images; those that are scored are scaled ones.

    Args:
        space: The scaled codes, under the budget of the bases. The first of its constraints is the cost that doubles.
        direction, seed: As of `Searcher`.
        scaling: A declared scaling's name, or its stages, as `find_scaling` reads them.
        limits: By the costs' names the least and the largest ones of bases; those of the space when None.
        tolerance: How far a scaled network may be from what its stage should cost, as a share of that. The paper's
            networks S1 to S3 are up to 14% over it.
        bases: How many random ones the first strategies are chosen by, K.
        iterations: How often base and strategies are searched in turns, T.
        population: Of the base search.
        generations: Of each base search.
        search: What searches the base: "nsga2", as in the paper, or "autobss", whose rounds are the generations.

    Raises:
        SpaceError: If the space is not of scaled codes, has no budget, or no base is in it.
        ValueError: If a setting is impossible.
    """

    stepwise: ClassVar[bool] = True

    def __init__(
        self,
        space: Space,
        direction: str = "maximize",
        seed: int = 0,
        scaling: Any = "scalenet",
        limits: Mapping[str, Sequence[float | None]] | None = None,
        tolerance: float = 0.15,
        bases: int = 20,
        iterations: int = 8,
        population: int = 50,
        generations: int = 40,
        search: str = "nsga2",
    ) -> None:
        if limits is None:
            limits = {c.name: [c.lower or None, c.upper if c.upper < np.inf else None] for c in space.constraints}
        if not limits:
            raise SpaceError("budget: expected one of the bases, such as macs=333M..368M")
        free = [replace(c, lower=0, upper=np.inf) for c in space.constraints]
        super().__init__(space.under(*free), direction, seed)
        for name, value in (
            ("bases", bases), ("iterations", iterations), ("population", population), ("generations", generations)
        ):  # fmt: skip
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        if type(tolerance) not in (int, float) or not 0 < tolerance < 0.5:
            raise ValueError(f"tolerance: expected a share below 0.5, got {tolerance!r}")
        if search not in SEARCHES:
            raise ValueError(f"search: expected {' or '.join(SEARCHES)}, got {search!r}")
        self.scaling: Scaling = find_scaling(scaling)
        self.limits = {name: list(bounds) for name, bounds in limits.items()}
        self.tolerance, self.search = float(tolerance), search
        self.first, self.iterations, self.population, self.generations = bases, iterations, population, generations
        bounded = [_bounded(c, self.limits[c.name]) for c in self.space.constraints]
        self.bases = self.scaling.bases(space.under(*bounded))
        self._cost = self.space.constraints[0].function
        self._progress = _Progress(self)

    @override
    def settings(self) -> dict[str, Any]:
        own = {"scaling": self.scaling.describe(), "limits": self.limits, "tolerance": self.tolerance}
        sizes = {"bases": self.first, "iterations": self.iterations}
        evolution = {"population": self.population, "generations": self.generations, "search": self.search}
        return {**super().settings(), **own, **sizes, **evolution}

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        wanted = self._followed(observations).wanted
        if wanted is None:
            raise SpaceError(f"the search has ended, after {self.iterations} iterations")
        known = {o.code for o in observations} | set(pending)
        if not (codes := [code for code in wanted if code not in known]):
            raise SpaceError(f"the next step needs the scores of the {len(pending)} codes that are pending")
        return codes

    @override
    def recommend(self, observations: Iterable[Observation]) -> Code:
        """The network of the last scaling stage; the code with the best score while no iteration has ended."""
        return self.recommendations(observations)[-1]

    @override
    def recommendations(self, observations: Iterable[Observation]) -> list[Code]:
        """The base and its scaled versions, by stage; the code with the best score while no iteration has ended.

        Raises:
            ValueError: If there is no score yet.
        """
        observations = list(observations)
        found = self.history(observations)
        if not found:
            return [super().recommend(observations)]
        best = max(found, key=lambda iteration: iteration.value)
        return [best.base, *best.networks]

    def history(self, observations: Iterable[Observation]) -> list[Iteration]:
        """What the iterations that have ended have found; values such that more is better."""
        with threadpool_limits(1):
            return list(self._followed(pooled(observations)).iterations)

    def _followed(self, observations: Iterable[Observation]) -> _Progress:
        """How far the scores lead. What was found before is found again, unless a score is another."""
        scores = {o.code: None if o.value is None else self.signed(o.value) for o in observations}
        if not self._progress.agrees(scores):
            self._progress = _Progress(self)
        self._progress.follow(scores)
        return self._progress

    def admitted(self, base: Code, stage: int) -> dict[Code, Strategy]:
        """The different networks that a stage's strategies make of a base at the cost that it should have."""
        strategies = self.scaling.strategies[stage]
        made = scaled(self.space, [base] * len(strategies), strategies)
        costs = self._cost(np.array([code.values for code in (base, *made)]))
        low, high = self._ratios(stage)
        out: dict[Code, Strategy] = {}
        for code, ratio, strategy in zip(made, (costs[1:] / costs[0]).tolist(), strategies, strict=True):
            if low <= ratio <= high:
                out.setdefault(code, strategy)
        return out

    def _ratios(self, stage: int) -> tuple[float, float]:
        """The costs that a stage's networks may have, in those of their base."""
        return 2**stage * (1 - self.tolerance), 2**stage * (1 + self.tolerance)

    def scaled(self, base: Code, strategies: Sequence[Strategy]) -> list[Code]:
        """A base scaled by some strategies."""
        return scaled(self.space, [base] * len(strategies), strategies)

    def course(self, ended: list[Iteration]) -> Course:
        """The search: yields what it needs the scores of, and enters what each iteration has found."""
        population = self._canonical(self.bases.decode(candidates.uniform(self.bases, self.first, self._rng(0))))
        strategies = yield from self._begun(population)
        for number in range(1, self.iterations + 1):
            tried = yield from self._evolved(number, population, strategies)
            ranked = sorted(tried.scored, key=lambda o: -(o.value or 0.0))
            population = [o.code for o in ranked[: self.population]]
            base = population[0]
            found = yield from self._chosen(base, tried.scores)
            strategies = [strategy for strategy, _, _ in found]
            networks = tuple(network for _, network, _ in found)
            value = float(np.mean([score for _, _, score in found]))
            bases = np.array([o.value for o in ranked])
            scores = tuple(np.array([*own.values()]) for own in tried.scores)
            ended.append(Iteration(base, tuple(strategies), networks, value, bases, scores))

    def _begun(self, population: list[Code]) -> Generator[list[Code], Scores, list[Strategy]]:
        """The first strategies: the best by their mean over random bases, of those that half of them admit."""
        made = [[self.admitted(base, stage) for base in population] for stage in self._stages]
        wanted = list(dict.fromkeys(code for own in made for networks in own for code in networks))
        known = dict(zip(wanted, (yield wanted), strict=True))
        out = []
        for stage, own in zip(self._stages, made, strict=True):
            each: dict[Strategy, list[float]] = {}
            for networks in own:
                for code, strategy in networks.items():
                    if (score := known[code]) is not None:
                        each.setdefault(strategy, []).append(score)
            enough = [s for s, scores in each.items() if 2 * len(scores) >= len(population)] or list(each)
            if not enough:
                raise StudyError(
                    f"no strategy of stage {stage} costs what it should, with {self.tolerance:.0%} to spare"
                )
            out.append(max(enough, key=lambda s: float(np.mean(each[s]))))
        return out

    def _evolved(
        self, number: int, population: list[Code], strategies: list[Strategy]
    ) -> Generator[list[Code], Scores, _Tried]:
        """The base search of an iteration."""
        space = self._under(strategies)
        seed = int(self._rng(number).integers(1 << 31))
        searcher: Searcher = NSGA2(space, seed=seed, population=self.population, tournament=min(10, self.population))
        if self.search == "autobss":
            searcher = AutoBSS(space, seed=seed)
        tried = _Tried([], [{} for _ in self._stages])
        first = [base for base in population if base in space][: self.population]
        for generation in range(self.generations):
            bases = self._proposed(searcher, tried, generation, () if generation else first)
            if not bases:
                break
            networks = [self.scaled(base, strategies) for base in bases]
            wanted = list(dict.fromkeys(code for own in networks for code in own))
            known = dict(zip(wanted, (yield wanted), strict=True))
            for base, own in zip(bases, networks, strict=True):
                tried.add(base, [(code, known[code]) for code in own], generation)
        if not any(o.value is not None for o in tried.scored):
            raise StudyError("no base could be scored")
        return tried._replace(scored=[o for o in tried.scored if o.value is not None])

    def _proposed(self, searcher: Searcher, tried: _Tried, generation: int, first: Sequence[Code]) -> list[Code]:
        """The bases of a generation, those given first; none where there are none left."""
        if missing := self.population - len(first):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AutoBSSWarning)  # of fewer codes than asked for
                with suppress(SpaceError):  # all bases are known
                    first = [*first, *searcher.propose(tried.scored, generation, missing, first)]
        known = {o.code for o in tried.scored}
        return [base for base in self._canonical(first) if base not in known]

    def _chosen(
        self, base: Code, scores: list[dict[Code, float]]
    ) -> Generator[list[Code], Scores, list[tuple[Strategy, Code, float]]]:
        """The best strategy of each stage for a base, with the network and its score."""
        made = [self.admitted(base, stage) for stage in self._stages]
        wanted = list(dict.fromkeys(code for networks in made for code in networks))
        known = dict(zip(wanted, (yield wanted), strict=True))
        out = []
        for networks, own in zip(made, scores, strict=True):
            values = {code: value for code in networks if (value := known[code]) is not None}
            own.update(values)
            best = max(values, key=lambda code: values[code])
            out.append((networks[best], best, values[best]))
        return out

    @property
    def _stages(self) -> range:
        return range(1, len(self.scaling.stages))

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number])

    def _under(self, strategies: list[Strategy]) -> Space:
        """The bases that each of some strategies makes as costly as its stage should be."""
        bounds = []
        for stage, strategy in zip(self._stages, strategies, strict=True):
            low, high = self._ratios(stage)
            ratio = _Ratio(self._cost, self.space.family, strategy)
            bounds.append(Constraint(f"stage{stage}", high, ratio, lower=low))
        return self.bases.under(*self.bases.constraints, *bounds)

    def _canonical(self, codes: Iterable[Code]) -> list[Code]:
        """Different codes of different networks."""
        rows = np.array([code.values for code in codes], np.int64).reshape(-1, self.space.ndim)
        made = get_family(self.space.family).canonical(rows)
        return list(dict.fromkeys(self.space.code(row) for row in made.tolist()))


class _Tried(NamedTuple):
    """What a base search has scored.

    Attributes:
        scored: The bases.
        scores: Of each stage those of the networks.
    """

    scored: list[Observation]
    scores: list[dict[Code, float]]

    def add(self, base: Code, networks: list[tuple[Code, float | None]], generation: int) -> None:
        values = [value for _, value in networks if value is not None]
        whole = float(np.mean(values)) if len(values) == len(networks) else None
        self.scored.append(Observation(base, whole, generation))
        for own, (code, value) in zip(self.scores, networks, strict=True):
            if value is not None:
                own[code] = value


class _Progress:
    """How far a search is, by the scores that it was told.

    Attributes:
        wanted: The codes whose scores it needs; None at its end.
        iterations: What those that have ended have found.
    """

    def __init__(self, searcher: MCEA) -> None:
        self.iterations: list[Iteration] = []
        self.wanted: list[Code] | None = None
        self._course = searcher.course(self.iterations)
        self._told: dict[Code, float | None] = {}
        self._under_way = False

    def agrees(self, scores: Mapping[Code, float | None]) -> bool:
        """Whether all that it was told is still so."""
        return all(scores.get(code, _UNKNOWN) == value for code, value in self._told.items())

    def follow(self, scores: Mapping[Code, float | None]) -> None:
        """Go on as far as scores are known."""
        if not self._under_way:
            self._under_way, self.wanted = True, next(self._course)
        while self.wanted is not None and all(code in scores for code in self.wanted):
            values = [scores[code] for code in self.wanted]
            self._told.update(zip(self.wanted, values, strict=True))
            try:
                self.wanted = self._course.send(values)
            except StopIteration:
                self.wanted = None


@dataclass(frozen=True)
class _Ratio:
    """The cost of a base that is scaled by a strategy, in its own, as a constraint's function."""

    cost: CostFunction
    family: str
    strategy: Strategy

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return self.cost(scale_codes(get_family(self.family), codes, [self.strategy])) / self.cost(codes)


def _bounded(constraint: Constraint, bounds: Sequence[float | None]) -> Constraint:
    low, high = bounds
    return replace(constraint, lower=low or 0, upper=np.inf if high is None else high)
