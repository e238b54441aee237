"""What a benchmark of finished trainings can tell of methods that are tried on it (BCNetV2, sections 6.3 and 6.4)."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.plots import COLOURS, save

from ..errors import SpaceError
from ..evaluators.factorial import noise_variance, smooth_fit
from ..evaluators.shelves import opened
from ..evaluators.surrogates import SURROGATES, Surrogate
from ..evaluators.tabular import Table
from ..spaces.uniform import uniform_code

BAND = 0.025  # of the MACs, to both sides: what counts as equal
_CENTRES = np.linspace(0.1, 0.9, 9)  # quantiles of the MACs, around which bands are
_LEAST = 30  # codes of a band
_DRAWS = 20  # of noise
_SHARES = (0.25, 0.5, 0.75)  # of the largest MACs, at which searches are worth something or not


def open_benchmark(source: str | Path) -> Table | Surrogate:
    """A benchmark of the package by its name, or a user's own file.

    Raises:
        ValueError: If there is no such benchmark, or the file holds none.
    """
    names = SURROGATES.names()
    return Surrogate(source) if str(source) in names or _is_surrogate(Path(source)) else Table(source)


def _is_surrogate(path: Path) -> bool:
    """Whether a file begins as a surrogate's; tables begin with a key of digits."""
    if not path.is_file():
        return False
    with suppress(lzma.LZMAError, EOFError), opened(path) as file:
        return bool(re.match(rb'\s*{\s*"(space|covariance|trainings)"', file.read(256)))
    return False


@dataclass(frozen=True)
class Correlation:
    """How alike two figures of codes order them, each from -1 to 1.

    Attributes:
        pearson: Pearson's r.
        spearman: Spearman's rho.
        kendall: Kendall's tau-b.
    """

    pearson: float
    spearman: float
    kendall: float

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray) -> Correlation:
        """That of two figures of shape (n,); NaN where one is the same for all codes."""
        from scipy.stats import kendalltau, pearsonr, spearmanr

        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return cls(*[float("nan")] * 3)
        return cls(*(float(measure(a, b)[0]) for measure in (pearsonr, spearmanr, kendalltau)))


@dataclass(frozen=True)
class Correlations:
    """Of a figure with the mean accuracy.

    Attributes:
        overall: Among all codes.
        equal: The mean of those in bands of equal MACs.
        least: The least Kendall's tau of a band.
        most: The largest Kendall's tau of a band.
    """

    overall: Correlation
    equal: Correlation
    least: float
    most: float


@dataclass(frozen=True)
class Headroom:
    """What a search can win over uniform rescaling, at its MACs.

    Attributes:
        share: Of the largest MACs, which were the budget.
        uniform: The widest code of equally rescaled widths under it.
        macs: Its MACs.
        accuracy: Its accuracy, without its trainings' luck.
        best: The best accuracy of a code of at most its MACs, without luck.
    """

    share: float
    uniform: Code
    macs: float
    accuracy: float
    best: float

    @property
    def points(self) -> float:
        """The headroom, in accuracy."""
        return self.best - self.accuracy


@dataclass(frozen=True, eq=False)
class Bench:
    """What a benchmark holds and how far it can tell methods apart.

    Attributes:
        benchmark: The table or surrogate.
        rows: Of the codes that it has in the benchmark's own arrays, integers of shape (n,).
        accuracy: Their mean accuracy, shape (n,).
        noise: The standard deviation of one training; NaN where codes have one each.
        noise_of_means: That of the codes' means.
        bands: Rows of `accuracy` that are of equal MACs, around nine quantiles of the MACs.
        of_figures: The correlations of what predicts accuracy at no cost: MACs, and parameters where they are known.
        ceiling: Those of the codes' true accuracy, which no predictor exceeds but by luck; None without a noise.
        headrooms: At a quarter, a half and three quarters of the largest MACs, as far as there are codes; none where no
            smooth fit of a table holds.
    """

    benchmark: Table | Surrogate
    rows: np.ndarray
    accuracy: np.ndarray
    noise: float
    noise_of_means: float
    bands: list[np.ndarray]
    of_figures: dict[str, Correlations]
    ceiling: Correlations | None
    headrooms: list[Headroom]

    @classmethod
    def of(cls, benchmark: Table | Surrogate) -> Bench:
        """Read a benchmark.

        Raises:
            ValueError: If it has fewer than 30 codes.
        """
        rows = np.flatnonzero(np.isfinite(benchmark.macs))
        if len(rows) < _LEAST:
            raise ValueError(f"{benchmark.path}: expected at least {_LEAST} codes to correlate, got {len(rows)}")
        macs, params, scores = benchmark.macs[rows], benchmark.params[rows], benchmark.scores[rows]
        accuracy, variance = np.nanmean(scores, axis=1), noise_variance(scores)
        of_means = variance * float((1 / np.isfinite(scores).sum(axis=1)).mean())
        around = np.abs(macs - np.quantile(macs, _CENTRES)[:, None]) <= BAND * np.quantile(macs, _CENTRES)[:, None]
        bands = [band for each in around if len(band := np.flatnonzero(each)) >= _LEAST]
        figures = {"MACs": macs, **({"parameters": params} if np.isfinite(params).all() else {})}
        correlations = {name: correlate(values, accuracy, bands) for name, values in figures.items()}
        ceiling = _ceiling(accuracy, of_means, bands) if np.isfinite(variance) else None
        rooms = list(_headrooms(benchmark))
        return cls(benchmark, rows, accuracy, variance**0.5, of_means**0.5, bands, correlations, ceiling, rooms)

    @property
    def trainings(self) -> np.ndarray:
        """How many each code has, integers of shape (n,)."""
        return np.isfinite(self.benchmark.scores[self.rows]).sum(axis=1)

    @property
    def distributions(self) -> dict[str, np.ndarray]:
        """The figures that are known of all codes, each of shape (n,)."""
        known, rows = self.benchmark, self.rows
        figures = {"MACs": known.macs[rows], "parameters": known.params[rows], "mean accuracy": self.accuracy}
        return {name: values for name, values in figures.items() if np.isfinite(values).all()}


def _headrooms(benchmark: Table | Surrogate) -> Iterator[Headroom]:
    try:
        truth = smooth_fit(benchmark) if isinstance(benchmark, Table) else benchmark
    except ValueError:
        return
    largest = benchmark.macs[np.isfinite(benchmark.macs)].max()
    for share in _SHARES:
        with suppress(SpaceError):
            space = benchmark.make_space(None, {"macs": share * largest})
            if (uniform := uniform_code(space)) is not None:
                macs = float(space.costs(space.encode([uniform]))["macs"][0])
                best = truth.best(benchmark.make_space(None, {"macs": macs}))
                yield Headroom(share, uniform, macs, *truth.means([uniform, best]).tolist())


def correlate(figure: np.ndarray, accuracy: np.ndarray, bands: list[np.ndarray]) -> Correlations:
    """The correlations of a figure with an accuracy, both of shape (n,), overall and within bands of rows."""
    each = [Correlation.of(figure[band], accuracy[band]) for band in bands]
    return _pooled(Correlation.of(figure, accuracy), each)


def _pooled(overall: Correlation, each: list[Correlation]) -> Correlations:
    taus = [band.kendall for band in each] or [float("nan")]
    means = [float(np.mean([getattr(band, name) for band in each] or [np.nan])) for name in vars(overall)]
    return Correlations(overall, Correlation(*means), min(taus), max(taus))


def _ceiling(accuracy: np.ndarray, variance: float, bands: list[np.ndarray]) -> Correlations:
    """The correlations of true accuracies with those that have a noise of some variance, by simulation.

    True accuracies are taken to be the measured ones, drawn together until noise gives them their variance back.
    """
    rng = np.random.default_rng(0)

    def reached(measured: np.ndarray) -> Correlation:
        spread = measured.var()
        truth = measured.mean() + np.sqrt(max(0.0, 1 - variance / spread) if spread else 0.0) * (
            measured - measured.mean()
        )
        drawn = [Correlation.of(truth, truth + rng.normal(0, variance**0.5, len(truth))) for _ in range(_DRAWS)]
        return Correlation(*(float(np.mean([getattr(one, name) for one in drawn])) for name in vars(drawn[0])))

    return _pooled(reached(accuracy), [reached(accuracy[band]) for band in bands])


def plot_bench(bench: Bench, path: str | os.PathLike[str]) -> None:
    """Draw the distributions of MACs, parameters and accuracies (BCNetV2, Figure 5), and accuracy against MACs.

    Raises:
        ValueError: If the suffix of `path` is not .png, .svg or .pdf.
    """
    from matplotlib.figure import Figure

    figures = bench.distributions
    macs = figures["MACs"] / 1e6
    figure = Figure(figsize=(3.4 * (len(figures) + 1), 3.4), layout="constrained")
    *histograms, scatter = figure.subplots(1, len(figures) + 1)
    for axes, colour, (title, values) in zip(histograms, COLOURS, figures.items(), strict=False):
        axes.hist(values, bins=60, color=colour)
        axes.set(xlabel=title, ylabel="codes")
    scatter.plot(macs, bench.accuracy, ".", markersize=1, color="0.6", rasterized=True)
    for band in bench.bands:
        scatter.plot(macs[band], bench.accuracy[band], ".", markersize=1, color=COLOURS[0], rasterized=True)
    scatter.set(xlabel="MACs (millions); blue: the bands of equal MACs", ylabel="mean accuracy")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
