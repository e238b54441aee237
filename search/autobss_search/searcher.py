"""Ask and tell, common to all searchers."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from autobss_zoo.codes import Code

from . import candidates
from .errors import SpaceError
from .space import Space

BATCH = 16
DIRECTIONS = ("maximize", "minimize")


class Observation(NamedTuple):
    """A code that was evaluated, once or more often.

    Attributes:
        code: The code.
        value: The mean of its scores; None if all of them failed.
        round: The round that proposed it, from 0; -1 for codes that were known before.
    """

    code: Code
    value: float | None
    round: int = 0


def place(observations: Iterable[Observation], round: int, pending: Sequence[Code]) -> int:
    """The place in the round of the next code: how many codes are pending, or evaluated and of this round."""
    return len(pending) + sum(o.round == round for o in observations)


class Searcher(ABC):
    """Proposes codes and learns from their scores. Holds no files, processes or networks.

    Args:
        space: The codes that may be searched.
        direction: "maximize" or "minimize" the score.
        seed: The same seed and the same tells give the same asks, in any order of tells and on any number of threads.

    Attributes:
        observations: What was told so far, sorted by code.
        pending: Codes that were asked for and not yet told, sorted.

    Examples:
        >>> searcher = AutoBSS(get_space("resnet18_small", macs="10M"))
        >>> for code in searcher.ask(16):
        ...     searcher.tell(code, train(code))
        >>> searcher.recommend()
    """

    def __init__(self, space: Space, direction: str = "maximize", seed: int = 0) -> None:
        if direction not in DIRECTIONS:
            raise ValueError(f"direction: expected {' or '.join(DIRECTIONS)}, got {direction!r}")
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}")
        self.space = space
        self.direction = direction
        self.seed = int(seed)
        self._values: dict[Code, list[float]] = {}
        self._rounds: dict[Code, int] = {}  # of codes that were asked for
        self._pending: set[Code] = set()

    def settings(self) -> dict[str, Any]:
        """What makes two searchers over the same space propose the same codes, as plain values."""
        return {"searcher": type(self).__name__, "direction": self.direction, "seed": self.seed}

    @property
    def observations(self) -> list[Observation]:
        return [
            Observation(code, float(np.mean(values)) if values else None, self._rounds.get(code, -1))
            for code, values in sorted(self._values.items())
        ]

    @property
    def pending(self) -> list[Code]:
        return sorted(self._pending)

    def ask(self, n: int = BATCH) -> list[Code]:
        """Propose `n` codes that are feasible and new: neither evaluated nor pending.

        Sixteen codes, asked for together or one by one, are a round of the paper's schedule.

        Raises:
            ValueError: If `n` is not a positive integer.
            SpaceError: If every code of the space was asked for.
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"n: expected a positive integer, got {n!r}")
        round = len(self._rounds) // BATCH
        codes = self.propose(self.observations, round, int(n), self.pending)
        self._rounds.update(dict.fromkeys(codes, round))
        self._pending.update(codes)
        return codes

    def tell(self, code: Code, value: float | None) -> None:
        """Record a score.

        In any order, late, or never. Codes that were not asked for are known results, such as the hand-made network's.
        A code that is told several times counts with the mean.

        Args:
            code: A code of the space.
            value: Its score. None, NaN or an infinity records a failure; the code is not proposed again, and codes
                like it are avoided as if it had scored as badly as the worst so far.

        Raises:
            SpaceError: If the code is not in the space.
            TypeError: If the value is no number.
        """
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float, np.number))):
            raise TypeError(f"{code}: expected a number or None as the score, got {value!r}")
        self.space.check(code)
        values = self._values.setdefault(code, [])
        if value is not None and math.isfinite(value):
            values.append(float(value))
        self._pending.discard(code)

    def propose(
        self, observations: Iterable[Observation], round: int, n: int = BATCH, pending: Sequence[Code] = ()
    ) -> list[Code]:
        """What `ask` asks, as a pure function of the arguments, the space and the settings.

        Args:
            observations: Evaluated codes, in any order.
            round: The round, from 0. Its codes that are evaluated, and those that are pending, have its first places.
            n: How many codes.
            pending: Codes under evaluation, in any order.

        Returns:
            `n` feasible codes that are neither evaluated nor pending; fewer, with a warning, where fewer exist.

        Raises:
            SpaceError: If none exist.
        """
        observations = sorted(observations, key=lambda o: o.code)
        pending = sorted(pending)
        known = {o.code for o in observations} | set(pending)
        rng = np.random.default_rng([self.seed, round, place(observations, round, pending)])
        with threadpool_limits(1):  # sums depend on the number of threads in their last digits
            codes = self._propose(observations, round, n, pending, rng)[:n]
            codes += self._others(n - len(codes), known | set(codes), rng)
        if not codes:
            raise SpaceError(f"all codes of the space were asked for: {len(known):,}")
        if len(codes) < n:
            warnings.warn(f"{self.space.family}: only {len(codes)} new codes are left instead of {n}", stacklevel=3)
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

    def _signed(self, value: float) -> float:
        return value if self.direction == "maximize" else -value

    def scored(self, observations: Iterable[Observation]) -> list[Observation]:
        """The observations to learn from, larger values better; failures have the worst value of all."""
        observations = list(observations)
        values = [self._signed(o.value) for o in observations if o.value is not None]
        if not values:
            return []
        return [o._replace(value=min(values) if o.value is None else self._signed(o.value)) for o in observations]

    @property
    def best(self) -> Observation:
        """The best score so far.

        Raises:
            ValueError: If there is none yet.
        """
        scored = [o for o in self.observations if o.value is not None]
        if not scored:
            raise ValueError("no score was told yet")
        return max(scored, key=lambda o: self._signed(o.value))  # type: ignore[arg-type]

    def recommend(self, observations: Iterable[Observation] | None = None) -> Code:
        """The searcher's answer: one of the evaluated codes. Here the one with the best score.

        Args:
            observations: Those to judge by; what was told when None.

        Raises:
            ValueError: If there is no score yet.
        """
        known = [o for o in (self.observations if observations is None else observations) if o.value is not None]
        if not known:
            raise ValueError("no score was told yet")
        with threadpool_limits(1):
            return self._recommend(sorted(known, key=lambda o: o.code))

    def _recommend(self, known: list[Observation]) -> Code:
        return max(known, key=lambda o: self._signed(o.value)).code  # type: ignore[arg-type]
