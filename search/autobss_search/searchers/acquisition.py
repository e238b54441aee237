"""Which codes to evaluate next: expected improvement, and its expectation over pending codes (AutoBSS, A.1).

    phi_EI(x)  = E( max{0, f(x) - tau} | O ),   tau = max_{i<n} y_i                                                  (7)
    phi_EEI(x) = E( E( max{0, f(x) - tau} | O, (x_n, y~_n), (x_(n+1), y~_(n+1)), ... ) )                             (8)

where y~_(n+j) is Gaussian given y~_n, ..., y~_(n+j-1). With tau fixed at the observed maximum the outer expectation
of Equation 8 gives Equation 7 back (the tower rule) and the same code would be chosen again: tau is the maximum over
the observed AND the fantasised values of each Monte Carlo draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtr

from .surrogate import GaussianProcess

DRAWS = 128
_LOOKED_AT = 500  # candidates at a time
_LIKELY = 64  # evaluated codes to look for a draw's maximum among, at most


def expected_improvement(mean: np.ndarray, std: np.ndarray, tau: np.ndarray | float) -> np.ndarray:
    """Equation 7 in closed form, (mean - tau) Phi(u) + std phi(u) with u = (mean - tau) / std; shapes broadcast."""
    gap = mean - tau
    u = gap / std
    return gap * ndtr(u) + std * np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi)


class Fantasies:
    """Draws of the scores at pending codes, and the process at the candidates given each draw.

    Conditioning on codes changes means by an update of low rank that is common to all draws, and the variances alike in
    all of them.

    Args:
        process: The posterior process.
        candidates: Codes of shape (p, m).
        rng: Source of the draws.
        draws: How many.
        noise_free: Whether f is drawn at pending codes, or a noisy score of it (the paper's).
    """

    def __init__(
        self,
        process: GaussianProcess,
        candidates: np.ndarray,
        rng: np.random.Generator,
        draws: int = DRAWS,
        noise_free: bool = False,
    ) -> None:
        self._process, self._candidates, self._rng = process, candidates, rng
        self._noise = 0.0 if noise_free else process.noise
        self._whitened = process.whitened(candidates)
        mean, std = process.predict(candidates)
        self.mean, self.std = np.tile(mean, (draws, 1)), std
        self.tau = np.full(draws, -np.inf if noise_free else process.y.max())
        self._gains = np.empty((0, len(candidates)))

    def condition(self, indices: Sequence[int]) -> None:
        """Draw the scores of candidates, jointly, and condition on them."""
        covariance = self._process.covariance(self._candidates[indices], self._candidates, self._whitened)
        covariance -= self._gains[:, indices].T @ self._gains
        own = covariance[:, indices] + np.eye(len(indices)) * (self._noise + 1e-10)
        lower = cholesky(own, lower=True)
        gains = solve_triangular(lower, covariance, lower=True)
        normal = self._rng.standard_normal((len(indices), len(self.tau)))
        drawn = self.mean[:, indices] + (lower @ normal).T
        self._know(indices, drawn)
        self.mean += normal.T @ gains
        self.std = np.sqrt(np.maximum(self.std**2 - np.square(gains).sum(axis=0), 1e-12))
        self._gains = np.concatenate([self._gains, gains])

    def _know(self, indices: Sequence[int], drawn: np.ndarray) -> None:
        """Improve over what was drawn, of shape (draws, indices), from now on."""
        self.tau = np.maximum(self.tau, drawn.max(axis=1, initial=-np.inf))

    def expected_improvement(self, indices: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Equation 8 at some candidates, all by default; shape (p,)."""
        std = self.std[indices]
        out = np.zeros(len(std))
        for mean, tau in zip(self.mean, self.tau, strict=True):  # by draws: all at once would not fit the cache
            out += expected_improvement(mean[indices], std, tau)
        return out / len(self.tau)


def _likely_best(process: GaussianProcess) -> np.ndarray:
    """The evaluated codes that may have the highest f, in their order; shape (n, m)."""
    mean, std = process.predict(process.x)
    return process.x[np.sort(np.argsort(-(mean + 2 * std), kind="stable")[:_LIKELY])]


def select(
    process: GaussianProcess,
    candidates: np.ndarray,
    n: int,
    pending: np.ndarray,
    rng: np.random.Generator,
    noisy: bool = False,
    draws: int = DRAWS,
) -> list[int]:
    """Choose codes one after the other by EEI, each given those before.

    Args:
        process: The posterior process.
        candidates: Unevaluated codes of shape (p, m), p >= n.
        n: How many to choose.
        pending: Codes under evaluation, shape (q, m).
        rng: Source of the Monte Carlo draws.
        noisy: Whether scores are noisy enough to matter: then tau is the maximum of f at the evaluated and pending
            codes of each draw, and not of the scores that were seen (noisy EI; Letham et al., 2019).
        draws: Monte Carlo draws.

    Returns:
        Indices into `candidates`, in the order of choice.
    """
    known = np.concatenate([_likely_best(process), pending]) if noisy else pending
    fantasies = Fantasies(process, np.concatenate([known, candidates]), rng, draws, noise_free=noisy)
    return greedy(fantasies, len(known), n)


def greedy(fantasies: Fantasies, known: int, n: int) -> list[int]:
    """Choose codes one after the other by their expected improvement, each given those before.

    Args:
        fantasies: Of codes the first of which are known or pending; not conditioned on any.
        known: How many these are.
        n: How many of the others to choose.

    Returns:
        Indices into the others, in the order of choice.
    """
    if known:
        fantasies.condition(range(known))
    taken = np.arange(len(fantasies.std)) < known
    chosen: list[int] = []
    gains = fantasies.expected_improvement()
    for _ in range(n):
        if chosen:
            fantasies.condition([chosen[-1]])
            _lower(gains, fantasies, taken)
        told_apart = gains[~taken].max() >= 1e-12
        worth = gains if told_apart else fantasies.mean.mean(axis=0)
        chosen.append(int(np.where(taken, -np.inf, worth).argmax()))
        taken[chosen[-1]] = True
    return [index - known for index in chosen]


def _lower(gains: np.ndarray, fantasies: Fantasies, taken: np.ndarray) -> None:
    """Bring gains up to date where they may be the largest: they only fall as codes are chosen (lazy greedy)."""
    order, best = np.argsort(np.where(taken, np.inf, -gains), kind="stable"), -np.inf
    for start in range(0, len(order) - taken.sum(), _LOOKED_AT):
        part = order[start : start + _LOOKED_AT]
        if gains[part[0]] <= best:
            break
        gains[part] = fantasies.expected_improvement(part)
        best = max(best, gains[part].max())
