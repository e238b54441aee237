"""Laws: how depth, width and resolution grow with the scaling stage, fitted to the stages that are known.

ScaleNet (Xie et al., ECCV 2022), section 3.4 and appendix C: a network of the stage j has about 2^j times the MACs of
its base, and each dimension has a law of its own, which is 1 at the stage 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from typing_extensions import override

from ..codes import Code
from ..cost import Setting
from ..families import family_of, get_family
from ..families.resolution import SUFFIX
from .strategies import TABLE_8, Strategy, scale, scale_codes


class Law(ABC):
    """How one dimension grows with the stage."""

    least: ClassVar[int] = 2
    """How many stages a fit needs."""

    @abstractmethod
    def __call__(self, stage: float) -> float:
        """The multiplier of a stage."""

    @classmethod
    @abstractmethod
    def fit(cls, values: np.ndarray) -> Law:
        """The law whose squared deviation from the multipliers of the stages 1, 2, ... is least (Eq. 27)."""


@dataclass(frozen=True)
class Exponential(Law):
    """a0 (a1^j - 1) + 1 (Eq. 9)."""

    a0: float
    a1: float

    @override
    def __call__(self, stage: float) -> float:
        return 1 + self.a0 * (self.a1**stage - 1)

    @classmethod
    @override
    def fit(cls, values: np.ndarray) -> Exponential:
        from scipy.optimize import minimize_scalar

        stages, grown = np.arange(1, len(values) + 1), values - 1

        def best(rate: float) -> tuple[float, float]:
            """Of a rate, the logarithm of a1, the squared deviation and the a0 of which it is least."""
            curve = np.expm1(rate * stages)
            a0 = float(curve @ grown / (curve @ curve))
            return float(((grown - a0 * curve) ** 2).sum()), a0

        # Of growth that slows down, the best is the limit of a straight line, which the smallest rate comes near.
        rates = np.geomspace(1e-4, 3, 400)
        nearest = int(np.argmin([best(rate)[0] for rate in rates]))
        bounds = rates[max(nearest - 1, 0)], rates[min(nearest + 1, len(rates) - 1)]
        rate = minimize_scalar(lambda rate: best(rate)[0], bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return cls(best(rate)[1], float(np.exp(rate)))


@dataclass(frozen=True)
class Linear(Law):
    """a0 j + 1 (Eq. 23)."""

    a0: float

    least = 1

    @override
    def __call__(self, stage: float) -> float:
        return 1 + self.a0 * stage

    @classmethod
    @override
    def fit(cls, values: np.ndarray) -> Linear:
        stages = np.arange(1, len(values) + 1)
        return cls(float(stages @ (values - 1) / (stages @ stages)))


@dataclass(frozen=True)
class Squared(Law):
    """a0 j^2 + a1 j + 1 with an a0 of at least 0 (Eq. 26)."""

    a0: float
    a1: float

    @override
    def __call__(self, stage: float) -> float:
        return 1 + self.a0 * stage**2 + self.a1 * stage

    @classmethod
    @override
    def fit(cls, values: np.ndarray) -> Squared:
        stages = np.arange(1, len(values) + 1)
        (a0, a1), *_ = np.linalg.lstsq(np.stack([stages**2, stages], axis=1), values - 1)
        return cls(float(a0), float(a1)) if a0 > 0 else cls(0.0, Linear.fit(values).a0)


@dataclass(frozen=True)
class Laws:
    """The laws of the three dimensions; called with a stage they give its strategy."""

    depth: Law
    width: Law
    resolution: Law

    def __call__(self, stage: float) -> Strategy:
        """The strategy of a stage, which need not be whole."""
        return Strategy(self.depth(stage), self.width(stage), self.resolution(stage))


def fit(strategies: Sequence[Strategy], kind: type[Law] = Exponential) -> Laws:
    """Fit a law to each dimension by least squares (Eq. 27).

    Args:
        strategies: Of the stages 1, 2, ... in order; two at least, or one for a straight line.
        kind: Exponential, Linear or Squared.

    Raises:
        ValueError: If there are too few, or a dimension does not grow.
    """
    if len(strategies) < kind.least:
        raise ValueError(f"expected the strategies of at least {kind.least} stages, got {len(strategies)}")
    laws = []
    for name in ("depth", "width", "resolution"):
        values = np.array([getattr(strategy, name) for strategy in strategies], float)
        if Linear.fit(values).a0 <= 0:
            raise ValueError(f"{name}: expected multipliers that grow from 1, got {values.tolist()}")
        laws.append(kind.fit(values))
    return Laws(*laws)


PRINTED = Laws(Exponential(2.0, 1.07323), Exponential(2.0, 1.06092), Exponential(2.0, 1.11052))
"""The laws on which the printed stages 4 and 5 of Table 8 lie.

They are no least-squares fits to the searched stages, which give 1.720 and 1.980 for the depths 1.653 and 1.848.
"""


def published(stage: float) -> Strategy:
    """ScaleNet's strategy of a stage: those of Table 8, straight lines between them, and `PRINTED` beyond.

    The networks of Table 8 were trained by the paper's authors, those in between and beyond were not.
    """
    last = len(TABLE_8) - 1
    columns = zip(*(vars(strategy).values() for strategy in TABLE_8), strict=True)
    up_to_last = [float(np.interp(stage, range(last + 1), column)) for column in columns]
    if stage <= last:
        return Strategy(*up_to_last)
    return Strategy(*map(max, up_to_last, vars(PRINTED(stage)).values()))


class AtBudget(NamedTuple):
    """A network at a budget.

    Attributes:
        code: Its code.
        strategy: By which the base is scaled to it.
        stage: Of the law.
        macs: Multiply-accumulates for one image.
    """

    code: Code
    strategy: Strategy
    stage: float
    macs: int


LAST_STAGE = 20.0
"""The largest stage that is tried, far beyond any network that anybody trains."""


def at_budget(
    base: Code,
    budget: float,
    law: Callable[[float], Strategy] = published,
    setting: Setting | None = None,
) -> AtBudget:
    """The largest network of a base under a law that has at most some MACs.

    Args:
        base: The base's code.
        budget: Multiply-accumulates for one image.
        law: The strategy of each stage.
        setting: What is counted with; the side of the images is the base's. The family's own when None.

    Raises:
        ValueError: If the base has more MACs, or the law ends before the budget.
        CodeError: As of `scale`.
    """
    setting = setting or Setting()
    family, twin = family_of(base), get_family(family_of(base).inner.name + SUFFIX)
    codes = np.array([base.values])

    def macs(stage: float) -> int:
        scaled = scale_codes(family, codes, [law(stage)], setting.input_size)
        return int(twin.figure("macs", scaled, setting)[0])

    if macs(0) > budget:
        raise ValueError(f"budget: {base} has {macs(0):,} MACs already, more than {budget:,.0f}; give at least these")
    high = 1.0
    while macs(high) <= budget:
        if high >= LAST_STAGE:
            raise ValueError(f"budget: expected fewer than {macs(high):.2g} MACs of this base, got {budget:.3g}")
        high += 1
    low = high - 1
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if macs(middle) <= budget else (low, middle)
    strategy = law(low)
    return AtBudget(scale(base, strategy, setting.input_size), strategy, low, macs(low))
