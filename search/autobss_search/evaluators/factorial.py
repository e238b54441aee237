"""A table of trainings without their luck: the analysis of variance of a complete factorial, shrunk by its noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autobss_zoo.codes import Code

from ..spaces.space import Space
from .tabular import Table

_TOP = 0.1  # of the codes, among which answers of searches are


@dataclass(frozen=True, eq=False)
class FactorialFit:
    """What a table's codes score, estimated from all trainings.

    Attributes:
        table: The table.
        values: Of all codes in lexicographic order, shape (n,).
        noise: The standard deviation of one training.
        error: The standard deviation of the fit's error, of one without a training each as that training tells it.
        error_of_means: That of the mean of as many trainings.
    """

    table: Table
    values: np.ndarray
    noise: float
    error: float
    error_of_means: float

    def means(self, codes: Iterable[Code]) -> np.ndarray:
        """The scores of codes without the luck of a training, shape (n,)."""
        return self.values[self.table.indices(np.array([code.values for code in codes]))]

    def best(self, space: Space) -> Code:
        """The best code of a space without luck."""
        rows = np.concatenate(list(space.enumerate()))
        return space.decode(rows[[self.values[self.table.indices(space.values(rows))].argmax()]])[0]


def noise_variance(scores: np.ndarray) -> float:
    """The variance of one training: the mean over codes of that of their trainings, of shape (n, trainings).

    It is NaN where codes have one training each.
    """
    if scores.shape[1] < 2:
        return float("nan")
    return float(scores[np.isfinite(scores).all(axis=1)].var(axis=1, ddof=1).mean())


def smooth_fit(table: Table) -> FactorialFit:
    """Fit a complete table: each main effect and interaction is shrunk by the share of noise in it.

    The table's means are split into orthogonal components, one for each set of positions. A component of the energy E
    and with d degrees of freedom has d times the variance of a mean as noise, and keeps max(0, 1 - d variance / E) of
    itself (James and Stein). So a table whose positions interact keeps what it has of that.

    Raises:
        ValueError: If combinations of digits are missing, codes have one training each, or the fit from all trainings
            but one predicts that one worse than their mean does, by three standard errors, on all codes or on the best
            tenth.
    """
    scores, lengths = table.scores, table.lengths
    trainings = scores.shape[1]
    if missing := int((~np.isfinite(scores).all(axis=1)).sum()):
        raise ValueError(
            f"{table.path}: no smooth fit: {missing:,} of {len(scores):,} combinations of digits are missing"
        )
    if trainings < 2:
        raise ValueError(f"{table.path}: no smooth fit: expected two trainings of each code or more, for their noise")
    variance = noise_variance(scores)
    squares, best = [], []
    for left_out, truth in enumerate(scores.T):
        means = np.delete(scores, left_out, axis=1).mean(axis=1)
        fit = _shrunk(means, lengths, variance / (trainings - 1))
        squares.append(np.square([fit - truth, means - truth]))
        best.append(fit >= np.quantile(fit, 1 - _TOP))
    ours, theirs = np.concatenate(squares, axis=1)
    for where, rows in (("all codes", slice(None)), ("the best tenth", np.concatenate(best))):
        worse = ours[rows] - theirs[rows]
        if worse.mean() > max(3 * worse.std() / len(worse) ** 0.5, 1e-9):  # than luck and rounding explain
            raise ValueError(
                f"{table.path}: no smooth fit: it predicts trainings of {where} with an RMSE of "
                f"{ours[rows].mean() ** 0.5:.3g}, and the mean of their others with {theirs[rows].mean() ** 0.5:.3g}"
            )
    error, error_of_means = (max(0.0, each.mean() - variance) ** 0.5 for each in (ours, theirs))
    return FactorialFit(
        table, _shrunk(scores.mean(axis=1), lengths, variance / trainings), variance**0.5, error, error_of_means
    )


def _shrunk(means: np.ndarray, lengths: tuple[int, ...], variance: float) -> np.ndarray:
    """The values of shape (n,) whose components keep what is not noise; `variance` is that of one of the means."""
    bases = [_contrasts(length) for length in lengths]
    coefficients = _turned(means.reshape(lengths), [basis.T for basis in bases])
    bits = np.meshgrid(*(np.minimum(np.arange(length), 1) << i for i, length in enumerate(lengths)), indexing="ij")
    component = np.sum(bits, axis=0).ravel()
    energy = np.bincount(component, coefficients.ravel() ** 2)
    noise = np.bincount(component) * variance
    kept = np.maximum(0.0, 1.0 - np.divide(noise, energy, out=np.ones_like(energy), where=energy > 0))
    kept[0] = 1.0  # the mean of all
    return _turned(coefficients * kept[component].reshape(lengths), bases).ravel()


def _contrasts(length: int) -> np.ndarray:
    """An orthonormal basis, in columns, whose first is constant."""
    return np.linalg.qr(np.hstack([np.ones((length, 1)), np.eye(length)[:, 1:]]))[0]


def _turned(values: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Values with each axis multiplied by its matrix."""
    for axis, matrix in enumerate(matrices):
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values
