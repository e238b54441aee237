"""A surrogate whose kernel and noise are fitted to the scores, for AutoBSS's default.

Accuracy rises nearly linearly with the logarithms of widths, depths and costs and bends a little: a linear kernel
carries the trend, which a stationary kernel has to relearn everywhere, and a squared exponential the rest. The trend
with the costs has a variance of its own: of codes that differ in little else, the larger one is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from .surrogate import GaussianProcess, squared_distances, standardize

_BIAS = 4.0  # variance of the constant: the evaluated codes' mean is not the candidates'


@dataclass(frozen=True)
class LinearPlusExponential:
    """bias + linear x.x'/m + size s.s' + smooth exp(-||x - x'||^2 / (2 length^2 m)) + own [x = x'].

    Codes are rows of x, the elements as the surrogate sees them, followed by the `costs` columns s.
    """

    costs: int
    linear: float
    size: float
    smooth: float
    length: float
    own: float

    def _split(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        elements = a.shape[1] - self.costs
        return a[:, :elements], a[:, elements:]

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        (a, a_costs), (b, b_costs) = self._split(a), self._split(b)
        m, squared = a.shape[1], squared_distances(a, b)
        out = (a @ b.T) * (self.linear / m) + (a_costs @ b_costs.T) * self.size + _BIAS
        out += self.smooth * np.exp(squared / (-2 * m * self.length**2))
        out[squared < 1e-9] += self.own
        return out

    def diagonal(self, a: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        a, costs = self._split(a)
        trend = np.square(a).mean(axis=1) * self.linear + np.square(costs).sum(axis=1) * self.size
        return trend + (_BIAS + self.smooth + self.own)


# Log-normal priors of (linear, size, smooth, length, residual): medians, and standard deviations of the logarithms.
_PRIOR = np.log([0.3, 0.5, 0.3, 1.0, 0.3])
_SPREAD = np.array([1.5, 1.5, 1.5, 0.7, 1.0])

# Of what the smooth kernel does not explain, this share is taken as the code's own and part of f, the rest as the luck
# of its training. Trainings of different codes cannot tell the two apart.
OWN_SHARE = 0.02


def fitted_process(
    x: np.ndarray, y: np.ndarray, costs: int = 0, scores: np.ndarray | None = None, own: float = OWN_SHARE
) -> GaussianProcess:
    """Fit the kernel's variances, its length and the noise: the maximum of marginal likelihood times prior.

    Args:
        x: Evaluated codes, shape (n, m + costs).
        y: Their scores, shape (n,).
        costs: How many of the last columns of `x` are costs.
        scores: Of how many scores each is the mean, shape (n,); of one when None.
        own: The share of what the smooth kernel does not explain that is the code's own.
    """
    standard = standardize(y)

    def process(theta: np.ndarray) -> GaussianProcess:
        linear, size, smooth, length, residual = np.exp(theta)
        kernel = LinearPlusExponential(costs, linear, size, smooth, length, own * residual)
        return GaussianProcess(x, standard, kernel, (1 - own) * residual, scores)

    def loss(theta: np.ndarray) -> float:
        return 0.5 * np.square((theta - _PRIOR) / _SPREAD).sum() - process(theta).log_marginal_likelihood()

    bounds = [(mean - 6 * spread, mean + 6 * spread) for mean, spread in zip(_PRIOR, _SPREAD, strict=True)]
    return process(minimize(loss, _PRIOR, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x)
