"""AutoSlim's search: from the widest network down to the budget (Yu and Huang, 2019, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code

from ..spaces.space import Space
from .searcher import Observation, Searcher


class Greedy(Searcher):
    """Greedy slimming: time and again each layer is made narrower by one choice, and the best of these codes is kept.

    It scores codes over the budget until it is met, so that it is for scores that cost little, a supernet's. A round
    should have as many codes as there are elements; what a step leaves of a round is filled with random codes.

    Args:
        space: The codes that may be the answer.
        direction, seed: As of `Searcher`.
        limits: By the costs' names the largest ones of an answer; those of the space when None.

    Attributes:
        answers: The codes that may be the answer; those that are scored are not limited.
    """

    def __init__(
        self,
        space: Space,
        direction: str = "maximize",
        seed: int = 0,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        limits = limits or {constraint.name: constraint.upper for constraint in space.constraints}
        self.answers = space.under(*(replace(c, upper=limits[c.name]) for c in space.constraints))
        super().__init__(space.under(*(replace(c, upper=math.inf) for c in space.constraints)), direction, seed)
        self.limits = dict(limits)

    @override
    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "limits": self.limits}

    def _propose(
        self, observations: list[Observation], round: int, n: int, pending: list[Code], rng: np.random.Generator
    ) -> list[Code]:
        _, near = self.way(observations)
        known = {o.code for o in observations} | set(pending)
        return [code for code in near if code not in known]

    @override
    def _recommend(self, known: list[Observation]) -> Code:
        """The end of the way, or the best code within the budget while it is not reached."""
        end, near = self.way(known)
        if not near:
            return end
        answers = [o for o in known if o.code in self.answers]
        return self.best(answers or known).code

    def way(self, observations: list[Observation]) -> tuple[Code, list[Code]]:
        """How far the scores lead, and the codes whose scores lead on; none at the end."""
        scores = {o.code: o.value or 0.0 for o in self.scored(observations)}
        row = self.space.encode([self.space.code(self.space.extremes()[1].tolist())])
        while not self.answers.feasible(row)[0]:
            rows = self.space.steps(row, (-1,))
            near = self.space.decode(rows)
            if any(code not in scores for code in near):
                return self.space.decode(row)[0], near
            row = rows[[int(np.argmax([scores[code] for code in near]))]]
        return self.space.decode(row)[0], []
