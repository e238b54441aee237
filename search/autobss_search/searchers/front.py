"""Two objectives, a score and a cost: which codes none beats in both, and how much a set of them covers."""

from __future__ import annotations

import numpy as np


def pareto_front(cost: np.ndarray, score: np.ndarray, direction: str = "maximize") -> np.ndarray:
    """Which points no other point equals or beats in both, and beats in one: lower cost, better score.

    Args:
        cost: Finite, of shape (n,).
        score: Finite, of shape (n,).
        direction: Whether to "maximize" or "minimize" the score.

    Returns:
        Booleans of shape (n,). Of points that are equal in both, all or none are on the front.
    """
    gain = score if direction == "maximize" else -score
    order = np.lexsort((-gain, cost))
    best = np.maximum.accumulate(gain[order])
    steps = order[np.flatnonzero(np.diff(best, prepend=-np.inf) > 0)]
    last = np.searchsorted(cost[steps], cost, side="right") - 1
    return (cost == cost[steps][last]) & (gain == gain[steps][last])


def layers(cost: np.ndarray, score: np.ndarray, least: int | None = None) -> np.ndarray:
    """Of points their layer: 0 on the front, 1 on the front of the others, and so on (non-dominated sorting).

    Args:
        cost: Lower is better, shape (n,).
        score: Higher is better, shape (n,).
        least: Once so many points have their layer, all others are of the next one; all have their own when None.

    Returns:
        Integers of shape (n,).
    """
    out, left, layer = np.zeros(len(cost), np.int64), np.arange(len(cost)), 0
    while len(left):
        front = pareto_front(cost[left], score[left])
        if least is not None and len(cost) - len(left) >= least:
            front = np.ones(len(left), bool)
        out[left[front]] = layer
        left, layer = left[~front], layer + 1
    return out


def hypervolume(cost: np.ndarray, score: np.ndarray, reference: tuple[float, float]) -> float:
    """The area that points cover up to a reference (Zitzler and Thiele, 1998): lower cost and higher score are better.

    Args:
        cost: Of shape (n,).
        score: Of shape (n,).
        reference: The cost and the score of the reference point; what is worse in either covers nothing.
    """
    order = np.argsort(cost, kind="stable")
    edges = np.minimum(np.append(cost[order], reference[0]), reference[0])
    return float(np.maximum.accumulate(np.maximum(score[order] - reference[1], 0.0)) @ np.diff(edges))
