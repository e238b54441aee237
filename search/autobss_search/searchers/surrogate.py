"""The surrogate: a Gaussian process over codes (AutoBSS, section 3.4 and appendix A.1).

    mu_n(x) = k^T (K + eta^2 I)^-1 Y,    kappa_n(x, x') = kappa(x, x') - k^T (K + eta^2 I)^-1 k'                     (6)

with k_i = kappa(x, x_i), K_ij = kappa(x_i, x_j), over standardised accuracies Y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

ETA = 0.1
LIMIT = 256  # scores to learn from: the time of a fit grows with its cube


class Kernel(Protocol):
    """A covariance function of codes."""

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The covariances of shape (p, q) between codes of shapes (p, m) and (q, m)."""

    def diagonal(self, a: np.ndarray) -> np.ndarray:
        """The variances of shape (p,) of codes of shape (p, m)."""


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of shape (p, q) between codes of shapes (p, m) and (q, m)."""
    return np.maximum((a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T, 0.0)


@dataclass(frozen=True)
class SquaredExponential:
    """The paper's kernel, kappa(x, x') = exp(-||x - x'||^2 / (2 sigma^2))."""

    sigma: float

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        return np.exp(squared_distances(a, b) / (-2 * self.sigma**2))

    def diagonal(self, a: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        return np.ones(len(a))


class GaussianProcess:
    """The posterior process of Equation 6.

    Args:
        x: Evaluated codes, shape (n, m).
        y: Their standardised accuracies, shape (n,).
        kernel: The prior covariance.
        noise: The variance of a score, eta^2.
        scores: Of how many scores each accuracy is the mean, shape (n,); of one when None.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, kernel: Kernel, noise: float, scores: np.ndarray | None = None
    ) -> None:
        self.x, self.y, self.kernel, self.noise = x, y, kernel, noise
        covariance = kernel(x, x)
        # Something small for codes that are nearly equal.
        covariance[np.diag_indices(len(x))] += noise / (1 if scores is None else scores) + 1e-8
        self._lower = cholesky(covariance, lower=True)
        self._alpha = cho_solve((self._lower, True), y)

    def whitened(self, z: np.ndarray) -> np.ndarray:
        """L^-1 k(x, z) with L L^T = K + eta^2 I, shape (n, p): its columns' products are what scores explain."""
        return solve_triangular(self._lower, self.kernel(self.x, z), lower=True)

    def predict(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean and standard deviation of f, each of shape (p,), at codes `z` of shape (p, m)."""
        mean = self.kernel(z, self.x) @ self._alpha
        variance = self.kernel.diagonal(z) - np.square(self.whitened(z)).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def covariance(self, a: np.ndarray, b: np.ndarray, whitened: np.ndarray | None = None) -> np.ndarray:
        """Posterior covariance of f, shape (p, q), between codes of shapes (p, m) and (q, m).

        Args:
            a: Codes.
            b: Codes.
            whitened: `whitened(b)`, which is most of the work, where it is known.
        """
        return self.kernel(a, b) - self.whitened(a).T @ (self.whitened(b) if whitened is None else whitened)

    def log_marginal_likelihood(self) -> float:
        """log p(y | x), up to the constant."""
        return float(-0.5 * self.y @ self._alpha - np.log(np.diag(self._lower)).sum())


def representative(y: np.ndarray, n: int = LIMIT) -> np.ndarray:
    """Which scores to learn from, so that very many of them do not make asks slow: all up to `n`.

    Of more, an eighth are the best, where the maximum is looked for, and the rest lie evenly over the ranking of the
    others: the best alone, which are the lucky ones, too, show neither the trend nor the noise.

    Args:
        y: Scores, shape (k,).
        n: How many at most.

    Returns:
        Indices into `y`, ascending, of shape (min(k, n),).
    """
    if len(y) <= n:
        return np.arange(len(y))
    best, others = np.split(np.argsort(-y, kind="stable"), [n // 8])
    even = np.linspace(0, len(others) - 1, n - len(best)).round().astype(int)
    return np.sort(np.concatenate([best, others[even]]))


def standardize(y: np.ndarray, variance: float = 1.0) -> np.ndarray:
    """Scores with mean 0 and the given variance (the paper's is 1 + eta^2); zeros where all are equal."""
    deviation = y.std()
    return (y - y.mean()) * (np.sqrt(variance) / deviation if deviation > 0 else 0.0)


def paper_sigma(x: np.ndarray, y: np.ndarray, first: np.ndarray) -> float:
    """The paper's rule for sigma, Dis_(l/20) / 2 (appendix A.1).

    The mean discrepancy of accuracy between the codes of the first round filters the pairs of all evaluated codes; of
    the l pairs with a larger discrepancy the distances are sorted, and sigma is half of the one at position l/20.

    Args:
        x: Refined evaluated codes, shape (n, m).
        y: Their accuracies, shape (n,).
        first: Whether a code is of the first round, booleans of shape (n,).
    """
    i, j = np.triu_indices(len(x), 1)
    gap, distance = np.abs(y[i] - y[j]), np.linalg.norm(x[i] - x[j], axis=1)
    initial = first[i] & first[j]
    threshold = gap[initial].mean() if initial.any() else gap.mean()
    chosen = np.sort(distance[gap > threshold])
    if not len(chosen):  # all accuracies are equal: then all pairs count
        chosen = np.sort(distance)
    return float(max(chosen[len(chosen) // 20], 1e-6)) / 2


def paper_process(x: np.ndarray, y: np.ndarray, first: np.ndarray) -> GaussianProcess:
    """The paper's surrogate; arguments as of `paper_sigma`, at least two codes."""
    kernel = SquaredExponential(paper_sigma(x, y, first))
    return GaussianProcess(x, standardize(y, 1 + ETA**2), kernel, ETA**2)
