"""What a table of finished trainings can tell of methods that are tried on it (BCNetV2, sections 6.3 and 6.4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.plots import COLOURS, save

from ..evaluators.factorial import noise_variance, smooth_fit
from ..evaluators.tabular import Table
from ..spaces.uniform import uniform_code

BAND = 0.025  # of the MACs, to both sides: what counts as equal
_CENTRES = np.linspace(0.1, 0.9, 9)  # quantiles of the MACs, around which bands are
_LEAST = 30  # codes of a band
_DRAWS = 20  # of noise
_SHARES = (0.25, 0.5, 0.75)  # of the largest MACs, at which searches are worth something or not


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
    """What a table holds and how far it can tell methods apart.

    Attributes:
        table: The table.
        rows: Of the codes that it has, in lexicographic order, integers of shape (n,).
        accuracy: Their mean accuracy, shape (n,).
        noise: The standard deviation of one training; NaN where codes have one each.
        bands: Rows of `accuracy` that are of equal MACs, around nine quantiles of the MACs.
        of_figures: The correlations of what predicts accuracy at no cost: MACs, and parameters where they are known.
        ceiling: Those of the codes' true accuracy, which no predictor exceeds but by luck; None without a noise.
        headrooms: At a quarter, a half and three quarters of the largest MACs; none where no smooth fit holds.
    """

    table: Table
    rows: np.ndarray
    accuracy: np.ndarray
    noise: float
    bands: list[np.ndarray]
    of_figures: dict[str, Correlations]
    ceiling: Correlations | None
    headrooms: list[Headroom]

    @classmethod
    def of(cls, table: Table) -> Bench:
        """Read a table.

        Raises:
            ValueError: If it has fewer than 30 codes.
        """
        rows = np.flatnonzero(np.isfinite(table.macs))
        if len(rows) < _LEAST:
            raise ValueError(f"{table.path}: expected at least {_LEAST} codes to correlate, got {len(rows)}")
        macs, params, scores = table.macs[rows], table.params[rows], table.scores[rows]
        accuracy, variance = scores.mean(axis=1), noise_variance(scores)
        around = np.abs(macs - np.quantile(macs, _CENTRES)[:, None]) <= BAND * np.quantile(macs, _CENTRES)[:, None]
        bands = [band for each in around if len(band := np.flatnonzero(each)) >= _LEAST]
        figures = {"MACs": macs, **({"parameters": params} if np.isfinite(params).all() else {})}
        correlations = {name: correlate(values, accuracy, bands) for name, values in figures.items()}
        ceiling = None
        if np.isfinite(variance):
            ceiling = _ceiling(accuracy, variance / scores.shape[1], bands)
        return cls(table, rows, accuracy, variance**0.5, bands, correlations, ceiling, list(_headrooms(table)))

    @property
    def distributions(self) -> dict[str, np.ndarray]:
        """The figures that are known of all codes, each of shape (n,)."""
        table, rows = self.table, self.rows
        figures = {"MACs": table.macs[rows], "parameters": table.params[rows], "mean accuracy": self.accuracy}
        return {name: values for name, values in figures.items() if np.isfinite(values).all()}


def _headrooms(table: Table) -> Iterator[Headroom]:
    try:
        values = smooth_fit(table).values
    except ValueError:
        return
    for share in _SHARES:
        if (uniform := uniform_code(table.space(share))) is not None:
            own = table.index(uniform)
            best = values[table.macs <= table.macs[own]].max()
            yield Headroom(share, uniform, float(table.macs[own]), float(values[own]), float(best))


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
