"""Which codes to evaluate next: expected improvement, and its expectation over pending codes (AutoBSS, A.1).

    phi_EI(x)  = E( max{0, f(x) - tau} | O ),   tau = max_{i<n} y_i                                                  (7)
    phi_EEI(x) = E( E( max{0, f(x) - tau} | O, (x_n, y~_n), (x_(n+1), y~_(n+1)), ... ) )                             (8)

where y~_(n+j) is Gaussian given y~_n, ..., y~_(n+j-1). With tau fixed at the observed maximum the outer expectation
of Equation 8 gives Equation 7 back (the tower rule) and the same code would be chosen again: tau is the maximum over
the observed AND the fantasised values of each Monte Carlo draw.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from .surrogate import GaussianProcess

DRAWS = 128
_LIKELY = 64  # evaluated codes to look for a draw's maximum among, at most


def expected_improvement(mean: np.ndarray, std: np.ndarray, tau: np.ndarray | float) -> np.ndarray:
    """Equation 7 in closed form, (mean - tau) Phi(u) + std phi(u) with u = (mean - tau) / std; shapes broadcast."""
    gap = mean - tau
    u = gap / std
    return gap * ndtr(u) + std * np.exp(-0.5 * u * u) / np.sqrt(2 * np.pi)


class Fantasies:
    """Draws of the scores at pending codes, and the process at the candidates given each draw.

    Conditioning on one more code changes means by a rank-one update that is common to all draws, and the variances
    alike in all of them.

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
        self._gains: list[np.ndarray] = []

    def condition(self, index: int) -> None:
        """Draw the score of a candidate and condition on it."""
        covariance = self._process.covariance(self._candidates[[index]], self._candidates, self._whitened)[0]
        for gain in self._gains:
            covariance = covariance - gain * gain[index]
        spread = np.sqrt(max(covariance[index], 1e-12) + self._noise)
        gain, normal = covariance / spread, self._rng.standard_normal(len(self.tau))
        self.tau = np.maximum(self.tau, self.mean[:, index] + spread * normal)
        self.mean += normal[:, None] * gain
        self.std = np.sqrt(np.maximum(self.std**2 - gain**2, 1e-12))
        self._gains.append(gain)

    def expected_improvement(self) -> np.ndarray:
        """Equation 8 at each candidate, shape (p,)."""
        out = np.zeros(len(self.std))
        for mean, tau in zip(self.mean, self.tau, strict=True):  # by draws: all at once would not fit the cache
            out += expected_improvement(mean, self.std, tau)
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
    for index in range(len(known)):
        fantasies.condition(index)
    chosen: list[int] = []
    taken = np.zeros(len(known) + len(candidates), bool)
    taken[: len(known)] = True
    for _ in range(n):
        if chosen:
            fantasies.condition(len(known) + chosen[-1])
        gains = fantasies.expected_improvement()
        if gains[~taken].max() < 1e-12:  # no improvement that numbers can tell apart
            gains = fantasies.mean.mean(axis=0)
        best = int(np.where(taken, -np.inf, gains).argmax())
        taken[best] = True
        chosen.append(best - len(known))
    return chosen
