"""BSS clustering (AutoBSS, section 3.3): search over the centres of k-means clusters of the refined candidates."""

from __future__ import annotations

import numpy as np

from .surrogate import squared_distances

_EQUAL = 1e-9  # squared distances that differ by less are equal
_TOGETHER = 100  # means whose distances are in memory


def schedule(round: int, n: int) -> int:
    """The number of clusters in a round, counted from 0: 16, 160, N / 10, then N of `n` candidates (section 4.1)."""
    return min(n, (16, 160, max(160, n // 10), n)[min(round, 3)])


def centers(x: np.ndarray, k: int, seed: int) -> np.ndarray:
    """The candidates nearest to the centres of k-means clusters with Euclidean distance.

    Args:
        x: Refined candidates, shape (n, m).
        k: Clusters; with `n` of them every candidate is its own centre.
        seed: Of k-means++.

    Returns:
        Indices into `x`, ascending; fewer than `k` where clusters share their nearest candidate.
    """
    if k >= len(x):
        return np.arange(len(x))
    from sklearn.cluster import KMeans

    # Lloyd's iterations after the first twenty move few candidates and cost as much as the first.
    means = KMeans(k, n_init=1, max_iter=20, random_state=seed).fit(x)
    parts = np.array_split(means.cluster_centers_, -(-k // _TOGETHER))
    return np.unique(np.concatenate([_nearest(part, x) for part in parts]))


def _nearest(means: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The index in `x` of the candidate nearest to each mean, shape (k,).

    The two codes of a pair are equally near to its centre: the first is taken, and not the one whose last bit, which
    processors round differently, happens to be lower.
    """
    squared = squared_distances(means, x)
    return (squared <= squared.min(axis=1, keepdims=True) + _EQUAL).argmax(axis=1)
