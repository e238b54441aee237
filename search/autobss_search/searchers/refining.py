"""BSSC refining (AutoBSS, section 3.2): make distances between codes proportional to discrepancies of accuracy.

The first refining is the z-score of each element. From the second round a linear layer W, which begins as the identity,
is trained on the evaluated codes, x^ = W x, with

    Loss_dy = ( |y0 - y1| / |y2 - y3|  -  ||x^0 - x^1|| / ||x^2 - x^3|| )^2                                          (3)

over four randomly selected evaluated codes. Equal accuracies would divide by zero and nearly equal ones drown all the
other quadruples, which the paper does not mention: the pair (2, 3) is drawn only among the pairs of different codes
whose discrepancy is at least a tenth of the mean discrepancy.
"""

from __future__ import annotations

import numpy as np

_STEPS, _BATCH, _RATE = 300, 256, 0.003  # of Adam; the paper does not state its optimiser
_LEAST = 0.1


def z_score(reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each element over `reference` of shape (n, m); 1 where an element is constant."""
    constant = np.ptp(reference, axis=0) == 0  # whose deviation can come out as 1e-14
    return reference.mean(axis=0), np.where(constant, 1.0, reference.std(axis=0))


def loss_and_gradient(
    weight: np.ndarray, first: np.ndarray, second: np.ndarray, ratio: np.ndarray
) -> tuple[float, np.ndarray]:
    """The mean of Equation 3 over quadruples, and its gradient.

    Args:
        weight: W of shape (m, m).
        first: x0 - x1 of shape (b, m).
        second: x2 - x3 of shape (b, m); no row is zero.
        ratio: |y0 - y1| / |y2 - y3|, shape (b,).
    """
    a, b = first @ weight.T, second @ weight.T
    da, db = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    error = ratio - da / db
    # d||W u|| / dW = W u u^T / ||W u||
    along_a = (-2 * error / (np.maximum(da, 1e-12) * db))[:, None] * a
    along_b = (2 * error * da / db**3)[:, None] * b
    return float(np.mean(error**2)), (along_a.T @ first + along_b.T @ second) / len(ratio)


def train_linear(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Train W with Equation 3.

    Args:
        x: Standardised codes, shape (n, m), no two equal.
        y: Their accuracies, shape (n,).
        rng: Draws the quadruples.

    Returns:
        W of shape (m, m); the identity where fewer than two accuracies differ.
    """
    weight = np.eye(x.shape[1])
    i, j = np.triu_indices(len(x), 1)
    gap = np.abs(y[i] - y[j])
    usable = np.flatnonzero(gap > _LEAST * gap.mean()) if len(gap) else gap
    if not len(usable):
        return weight
    moment, square = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, _STEPS + 1):
        p, q = rng.integers(len(gap), size=_BATCH), usable[rng.integers(len(usable), size=_BATCH)]
        _, gradient = loss_and_gradient(weight, x[i[p]] - x[j[p]], x[i[q]] - x[j[q]], gap[p] / gap[q])
        moment += 0.1 * (gradient - moment)
        square += 0.001 * (gradient**2 - square)
        corrected = (moment / (1 - 0.9**step), square / (1 - 0.999**step))
        weight = weight - _RATE * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
    return weight
