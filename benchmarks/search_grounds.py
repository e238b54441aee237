"""What searchers are compared on: tables and surrogates of trainings, and made-up scores of declared spaces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from autobss_search import Space, get_space
from autobss_search.evaluators.factorial import smooth_fit
from autobss_search.evaluators.surrogates import Surrogate, climbed
from autobss_search.evaluators.tabular import Table
from autobss_search.reports.benches import open_benchmark
from autobss_search.searchers.candidates import candidate_set
from autobss_search.spaces.uniform import uniform_code
from autobss_zoo.codes import Code

MADE = "made:"  # before a declared space's name
NOISE = 0.4  # of made-up scores, of their spread
RESCALED = (0.25, 0.5, 0.75)  # shares of the largest MACs, under which codes are rescaled uniformly
_WAVES = 300


class Truth(Protocol):
    """What codes score without luck."""

    def means(self, codes: Iterable[Code]) -> np.ndarray:
        """Of shape (n,)."""

    def best(self, space: Space) -> Code:
        """The best code of a space."""


class MadeUp:
    """Scores that no training gave: each wider or deeper element helps, by less and less, and all have a smooth part.

    Their mean over a space's grown candidates is 0 and their standard deviation 1.

    Args:
        space: The codes.
        seed: Of the function.
    """

    def __init__(self, space: Space, seed: int) -> None:
        rng = np.random.default_rng(seed)
        grown = candidate_set(space, np.random.default_rng(0))
        inputs = np.log(space.values(grown).astype(float))
        self._space, self._mean, self._deviation = space, inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        self._slopes = rng.gamma(1, 1, space.ndim)
        self._waves = rng.normal(0, space.ndim**-0.5, (space.ndim, _WAVES))
        self._phases = rng.uniform(0, 2 * np.pi, _WAVES)
        self._heights = rng.normal(0, (2 / _WAVES) ** 0.5, _WAVES) * 0.3 * np.linalg.norm(self._slopes)
        raw = self._raw(grown)
        self._middle, self._spread = raw.mean(), raw.std()

    def _raw(self, rows: np.ndarray) -> np.ndarray:
        inputs = (np.log(self._space.values(rows).astype(float)) - self._mean) / self._deviation
        return -0.7 * np.exp(-0.7 * inputs) @ self._slopes + np.cos(inputs @ self._waves + self._phases) @ self._heights

    def means(self, codes: Iterable[Code]) -> np.ndarray:
        """As in Truth."""
        return (self._raw(self._space.encode(codes)) - self._middle) / self._spread

    def best(self, space: Space) -> Code:
        """The best code that was found."""
        return climbed(space, self.means)


@dataclass(frozen=True)
class Ground:
    """Scores of a space's codes, and what an answer is worth.

    Attributes:
        space: The codes under the budget.
        draw: A score of a code, with luck.
        truth: What codes score without it; None where no smooth fit of a table holds.
        said: What there is to say of that.
        table: Whose trainings scores are, if they are a table's.
    """

    space: Space
    draw: Callable[[Code, np.random.Generator], float]
    truth: Truth | None
    said: str
    table: Table | None = None

    @cached_property
    def _best(self) -> float:
        return float(self.truth.means([self.truth.best(self.space)])[0]) if self.truth else float("nan")

    @cached_property
    def _best_of_means(self) -> float:
        if not self.table:
            return float("nan")
        return float(self.table.scores[self.table.macs <= self.space.constraints[0].upper].mean(axis=1).max())

    @cached_property
    def headroom(self) -> float:
        """The best score less the uniformly rescaled code's, without luck; NaN where there is no telling."""
        uniform = uniform_code(self.space)
        return self._best - float(self.truth.means([uniform])[0]) if self.truth and uniform else float("nan")

    def regret(self, answer: Code) -> float:
        """The best mean of a code's trainings in a table, less the answer's; NaN where there is no table."""
        return self._best_of_means - float(self.table.scores[self.table.index(answer)].mean()) if self.table else np.nan

    def smooth(self, answer: Code) -> float:
        """The best score without luck, less the answer's; NaN where there is no telling."""
        return self._best - float(self.truth.means([answer])[0]) if self.truth else float("nan")


@lru_cache
def load(source: str, fraction: float, function: int = 0) -> Ground:
    """A ground of scores.

    Args:
        source: A table or surrogate, as `autobss bench` takes it, or "made:" and the name of a declared space.
        fraction: The budget as a share: of a table's largest MACs, of a surrogate's or a space's own budget.
        function: Which of the made-up ones.
    """
    if source.startswith(MADE):
        name = source.removeprefix(MADE)
        space = get_space(name, macs=fraction * get_space(name).constraints[0].upper)
        made = MadeUp(space, function)

        def drawn(code: Code, rng: np.random.Generator) -> float:
            return float(made.means([code])[0] + NOISE * rng.normal())

        return Ground(space, drawn, made, f"A score's noise is {NOISE} of the spread of grown codes.")
    benchmark = open_benchmark(source)
    if isinstance(benchmark, Surrogate):
        budget = fraction * benchmark.make_space(None, {}).constraints[0].upper
        said = f"A score's noise is a training's, {benchmark.noise:.3f} points."

        def scored(code: Code, rng: np.random.Generator) -> float:
            return benchmark.score(code, int(rng.integers(2**32)))

        return Ground(benchmark.make_space(None, {"macs": budget}), scored, benchmark, said)
    truth = None
    try:
        truth = smooth_fit(benchmark)
        said = (
            f"A training's noise is {truth.noise:.3f} points; without one training the fit errs by {truth.error:.3f}, "
            f"and the mean of the others by {truth.error_of_means:.3f}."
        )
    except ValueError as error:
        said = str(error)

    def trained(code: Code, rng: np.random.Generator) -> float:
        return float(rng.choice(benchmark.scores[benchmark.index(code)]))

    return Ground(benchmark.space(fraction), trained, truth, said, benchmark)


def budgets(source: str) -> dict[float, str]:
    """The uniformly rescaled codes by their own MACs as shares of what `load` takes shares of; none that is alone."""
    out = {}
    for share in RESCALED:
        space = load(source, share).space
        if (code := uniform_code(space)) is not None:
            macs = space.costs(space.encode([code]))["macs"][0]
            own = float(share * macs / space.constraints[0].upper) * (1 + 1e-9)
            if load(source, own).headroom > 0:
                out[own] = str(code)
    return out
