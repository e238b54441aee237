"""What all searchers have in common: proposals as a pure function of what is known.

`Session` asks and tells around a searcher; a `Study` runs one.
"""

from __future__ import annotations

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from autobss_zoo.codes import Code
from autobss_zoo.errors import AutoBSSWarning, shown

from ..errors import SpaceError
from ..spaces.budgets import Constraint
from ..spaces.space import Space
from . import candidates
from .front import layers, pareto_front

BATCH = 16
CONFIRMATIONS = 2  # of each of the best codes
DIRECTIONS = ("maximize", "minimize")


class Observation(NamedTuple):
    """A code that was evaluated, once or more often.

    Attributes:
        code: The code.
        value: The mean of its scores; None if all of them failed.
        round: The round that proposed it, from 0; -1 for codes that were known before.
        scores: How many scores there are.
    """

    code: Code
    value: float | None
    round: int = 0
    scores: int = 1


def pooled(observations: Iterable[Observation]) -> list[Observation]:
    """Observations sorted by code, those of one code as one; failures count where nothing else is known of it."""
    each: dict[Code, list[Observation]] = {}
    for observation in observations:
        each.setdefault(observation.code, []).append(observation)
    return [_pooled(each[code]) for code in sorted(each)]


def _pooled(same: list[Observation]) -> Observation:
    first, scored = same[0], [o for o in same if o.value is not None]
    if len(same) == 1 or not scored:
        return first
    scores = sum(o.scores for o in scored)
    mean = sum(o.value * o.scores for o in scored if o.value is not None) / scores
    return first._replace(value=mean, scores=scores)


def place(observations: Iterable[Observation], round: int, pending: Sequence[Code]) -> int:
    """The place in the round of the next code: how many codes are pending, or evaluated and of this round."""
    return len(pending) + sum(o.round == round for o in observations)


def _values(observations: Sequence[Observation]) -> np.ndarray:
    """The codes as integers of shape (n, m)."""
    return np.array([o.code.values for o in observations])


class Searcher(ABC):
    """Proposes codes from scores. Holds no scores, files, processes or networks.

    Args:
        space: The codes that may be searched.
        direction: "maximize" or "minimize" the score.
        seed: The same seed and the same scores give the same proposals, on any number of threads.

    Examples:
        >>> session = Session(AutoBSS(get_space("resnet18_small", macs="10M")))
        >>> for code in session.ask(16):
        ...     session.tell(code, train(code))
        >>> session.recommend()
    """

    stepwise: ClassVar[bool] = False
    """Whether rounds are a search's own steps, of which each needs all scores of those before it: no round is filled up
    with random codes, and a search has an end."""

    #: The cost that is an objective beside the score, by its constraint's name; None where the score is the only one.
    cost: str | None = None

    def __init__(self, space: Space, direction: str = "maximize", seed: int = 0) -> None:
        if direction not in DIRECTIONS:
            raise ValueError(f"direction: expected {' or '.join(DIRECTIONS)}, got {direction!r}")
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}")
        self.space = space
        self.direction = direction
        self.seed = int(seed)

    def settings(self) -> dict[str, Any]:
        """What makes two searchers over the same space propose the same codes, as plain values."""
        settings = {"searcher": type(self).__name__, "direction": self.direction, "seed": self.seed}
        return {**settings, "cost": self.cost} if self.cost else settings

    def kept(self, observations: list[Observation], round: int) -> dict[str, Callable[[], np.ndarray]]:
        """What a study keeps before the proposals of a round, so that a resumed one need not compute it anew.

        Args:
            observations: Those of earlier rounds.
            round: The round, from 0.

        Returns:
            For each name a function that computes the array. What was kept goes to `restore` instead.
        """
        return {}

    def restore(self, name: str, array: np.ndarray) -> None:
        """Use an array that was kept."""
        return

    def propose(
        self, observations: Iterable[Observation], round: int, n: int = BATCH, pending: Sequence[Code] = ()
    ) -> list[Code]:
        """The codes to score next, as a pure function of the arguments, the space and the settings.

        Args:
            observations: Evaluated codes, in any order; a code can be there several times.
            round: The round, from 0. Its codes that are evaluated, and those that are pending, have its first places.
            n: How many codes.
            pending: Codes under evaluation, in any order.

        Returns:
            `n` feasible codes that are neither evaluated nor pending; fewer, with a warning, where fewer exist, and
            where a step has fewer.

        Raises:
            SpaceError: If none exist, or none can be said now.
        """
        observations = pooled(observations)
        pending = sorted(pending)
        known = {o.code for o in observations} | set(pending)
        rng = np.random.default_rng([self.seed, round, place(observations, round, pending)])
        with threadpool_limits(1):  # sums depend on the number of threads in their last digits
            codes = self._propose(observations, round, n, pending, rng)[:n]
            if not self.stepwise:
                codes += self._others(n - len(codes), known | set(codes), rng)
        if not codes:
            raise SpaceError(f"all codes of the space were asked for: {len(known):,}")
        if len(codes) < n and not self.stepwise:
            fewer = f"{self.space.family}: only {len(codes)} new codes are left instead of {n}"
            warnings.warn(fewer, AutoBSSWarning, stacklevel=3)
        return codes

    @abstractmethod
    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        """Up to `n` feasible new codes; arguments as of `propose`, sorted."""

    def _others(self, n: int, known: set[Code], rng: np.random.Generator) -> list[Code]:
        """Up to `n` random codes of the space that are not known."""
        out: dict[Code, None] = {}
        for attempt in range(20):
            if len(out) >= n:
                break
            rows = candidates.uniform(self.space, 4 * n << min(attempt, 8), rng)
            out.update((code, None) for code in self.space.decode(rows) if code not in known)
        else:
            if self.space.reach.prod(dtype=float) <= 1 << 18:  # then the few that are left can be listed
                rows = np.concatenate(list(self.space.enumerate()))
                left = [code for code in self.space.decode(rows) if code not in known]
                return [left[i] for i in rng.permutation(len(left))[:n]]
        return list(out)[:n]

    def signed(self, value: float) -> float:
        """A score such that more is better."""
        return value if self.direction == "maximize" else -value

    def scored(self, observations: Iterable[Observation]) -> list[Observation]:
        """The observations to learn from, larger values better; failures have the worst value of all."""
        observations = list(observations)
        values = [self.signed(o.value) for o in observations if o.value is not None]
        if not values:
            return []
        return [o._replace(value=min(values) if o.value is None else self.signed(o.value)) for o in observations]

    def best(self, observations: Iterable[Observation]) -> Observation:
        """The observation with the best score.

        Raises:
            ValueError: If there is none yet.
        """
        scored = [o for o in observations if o.value is not None]
        if not scored:
            raise ValueError("no score was told yet")
        return max(scored, key=lambda o: self.signed(o.value))  # type: ignore[arg-type]

    def recommend(self, observations: Iterable[Observation]) -> Code:
        """The searcher's answer: one of the evaluated codes. Here the one with the best score; of a front the last one.

        Args:
            observations: Those to judge by, in any order.

        Raises:
            ValueError: If there is no score yet.
        """
        known = [o for o in pooled(observations) if o.value is not None]
        if not known:
            raise ValueError("no score was told yet")
        if self.cost:
            return self.front(known)[-1]
        with threadpool_limits(1):
            return self._recommend(known)

    def recommendations(self, observations: Iterable[Observation]) -> list[Code]:
        """The searcher's answers; here the one of `recommend`."""
        return [self.recommend(observations)]

    def front(self, observations: Iterable[Observation], costs: Mapping[Code, float] | None = None) -> list[Code]:
        """The evaluated codes that none other is taken to beat at its cost or less, the cheapest first.

        Args:
            observations: Those to judge by, in any order.
            costs: Of each of their codes, where that was kept; as the space counts them when None.

        Raises:
            ValueError: If there is no score yet, or the score is the only objective.
        """
        if not self.cost:
            raise ValueError("front: the score is the only objective of this search")
        known = [o for o in pooled(observations) if o.value is not None]
        if not known:
            raise ValueError("no score was told yet")
        with threadpool_limits(1):
            judged = self._judged(known)
        counted = np.array([costs[o.code] for o in known]) if costs else self._costs(_values(known))
        on = np.flatnonzero(pareto_front(counted, judged))
        return [known[i].code for i in on[np.argsort(counted[on], kind="stable")]]

    def confirm(self, observations: Iterable[Observation], n: int) -> list[Code]:
        """Which codes to score again, with other seeds, before the answer: the most promising, each once or twice.

        Args:
            observations: Those to judge by, in any order.
            n: How many scores.

        Returns:
            `n` codes, some of them twice; none if there is no score yet.
        """
        known = [o for o in pooled(observations) if o.value is not None]
        if not known:
            return []
        with threadpool_limits(1):
            judged = self._judged(known)
        layer = layers(self._costs(_values(known)), judged) if self.cost else 0 * judged
        order = np.lexsort((-judged, layer))[: -(-n // CONFIRMATIONS)].tolist()
        return [known[i].code for i in itertools.islice(itertools.cycle(order), n)]

    def _trade(self, cost: str | None) -> None:
        """Make a cost the second objective, if one is given.

        Raises:
            SpaceError: If the space does not bound it from above.
        """
        bounded = [c.name for c in self.space.constraints if c.upper < math.inf]
        if cost is not None and cost not in bounded:
            known = " or ".join(bounded) or "there is none"
            raise SpaceError(
                f"objectives: expected a cost that the budget bounds from above ({known}), got {shown(cost)}"
            )
        self.cost = cost

    @property
    def _bound(self) -> Constraint:
        """The constraint on the second objective."""
        return next(c for c in self.space.constraints if c.name == self.cost)

    def _costs(self, codes: np.ndarray) -> np.ndarray:
        """The second objective of codes of shape (n, m), shape (n,)."""
        return self._bound.costs(codes)

    def _judged(self, known: list[Observation]) -> np.ndarray:
        """How good codes are taken to be by what is known, larger is better, shape (n,). Here their scores."""
        return np.array([self.signed(o.value) for o in known if o.value is not None])

    def _recommend(self, known: list[Observation]) -> Code:
        return self.best(known).code
