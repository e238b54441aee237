"""A surrogate whose kernel and noise are fitted to the scores, for AutoBSS's default.

Accuracy rises nearly linearly with the logarithms of widths and depths and bends a little: a linear kernel carries the
trend, which a stationary kernel has to relearn everywhere, and a squared exponential the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from .surrogate import GaussianProcess, squared_distances, standardize

_BIAS = 4.0  # variance of the constant: the evaluated codes' mean is not the candidates'


@dataclass(frozen=True)
class LinearPlusExponential:
    """bias + linear x.x'/m + smooth exp(-||x - x'||^2 / (2 length^2 m)) + own [x = x']."""

    linear: float
    smooth: float
    length: float
    own: float

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        m, squared = a.shape[1], squared_distances(a, b)
        out = (a @ b.T) * (self.linear / m) + _BIAS
        out += self.smooth * np.exp(squared / (-2 * m * self.length**2))
        out[squared < 1e-9] += self.own
        return out

    def diagonal(self, a: np.ndarray) -> np.ndarray:
        """As of `Kernel`."""
        return np.square(a).mean(axis=1) * self.linear + (_BIAS + self.smooth + self.own)


# Log-normal priors of (linear, smooth, length, residual): medians, and standard deviations of the logarithms. They are
# wide, and expect noise: where codes hardly differ, trends that are not there would be followed.
_PRIOR = np.log([0.1, 0.1, 1.7, 0.5])
_SPREAD = np.array([2.0, 2.0, 0.7, 1.0])

# Of what the smooth kernel does not explain, this share is taken as the code's own and part of f, the rest as the luck
# of its training. Trainings of different codes cannot tell the two apart.
OWN_SHARE = 0.02


def fitted_process(
    x: np.ndarray, y: np.ndarray, own: float = OWN_SHARE, scores: np.ndarray | None = None
) -> GaussianProcess:
    """Fit the kernel's variances, its length and the noise: the maximum of marginal likelihood times prior.

    Args:
        x: Evaluated codes, shape (n, m).
        y: Their scores, shape (n,).
        own: The share of what the smooth kernel does not explain that is the code's own.
        scores: Of how many scores each is the mean, shape (n,); of one when None.
    """
    standard = standardize(y)

    def process(theta: np.ndarray) -> GaussianProcess:
        linear, smooth, length, residual = np.exp(theta)
        kernel = LinearPlusExponential(linear, smooth, length, own * residual)
        return GaussianProcess(x, standard, kernel, (1 - own) * residual, scores)

    def loss(theta: np.ndarray) -> float:
        return 0.5 * np.square((theta - _PRIOR) / _SPREAD).sum() - process(theta).log_marginal_likelihood()

    bounds = list(zip(_PRIOR - 6 * _SPREAD, _PRIOR + 6 * _SPREAD, strict=True))
    return process(minimize(loss, _PRIOR, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}).x)
