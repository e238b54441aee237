"""Ask and tell: a notebook of what was asked for and what is known, around a searcher."""

from __future__ import annotations

import math

import numpy as np

from autobss_zoo.codes import Code

from .searcher import BATCH, Observation, Searcher


class Session:
    """A search that is asked for codes and told their scores.

    Args:
        searcher: Proposes the codes.

    Attributes:
        searcher: The searcher.

    Examples:
        >>> session = Session(AutoBSS(get_space("resnet18_small", macs="10M")))
        >>> for code in session.ask(16):
        ...     session.tell(code, train(code))
        >>> session.recommend()
    """

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._values: dict[Code, list[float]] = {}
        self._rounds: dict[Code, int] = {}  # of codes that were asked for
        self._pending: set[Code] = set()

    @property
    def observations(self) -> list[Observation]:
        """What was told so far, sorted by code; of a code that was told more than once the mean."""
        return [
            Observation(code, float(np.mean(values)) if values else None, self._rounds.get(code, -1), len(values) or 1)
            for code, values in sorted(self._values.items())
        ]

    @property
    def pending(self) -> list[Code]:
        """Codes that were asked for and not yet told, sorted."""
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
        codes = self.searcher.propose(self.observations, round, int(n), self.pending)
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
        self.searcher.space.check(code)
        values = self._values.setdefault(code, [])
        if value is not None and math.isfinite(value):
            values.append(float(value))
        self._pending.discard(code)

    @property
    def best(self) -> Observation:
        """The best score so far.

        Raises:
            ValueError: If there is none yet.
        """
        return self.searcher.best(self.observations)

    def recommend(self) -> Code:
        """The searcher's answer: one of the codes that were told.

        Raises:
            ValueError: If there is no score yet.
        """
        return self.searcher.recommend(self.observations)
