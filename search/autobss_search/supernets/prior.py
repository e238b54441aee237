"""A prior population for evolution, of what the supernet learned best (BCNetV2, section 4.4, Equations 13 to 15)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autobss_zoo.codes import Code

from ..errors import SpaceError
from ..spaces.space import Space

_STEPS = 1000
_RATE, _BUDGETS_RATE = 0.02, 0.3  # of the range of errors
_CHECKED = 256  # codes


class ExpectedCost:
    """The mean cost of codes whose elements are drawn independently, and its gradient.

    A cost in which no more than two elements meet is the sum of a constant, of one term for each element and of one for
    each pair: of BCNetV2's F(l, c_i, c_j), which a fold over the family's plan gives. So is that of widths.

    Args:
        space: The codes.
        name: The cost's, one of the space's constraints.

    Raises:
        SpaceError: If more elements meet, as the depth and the widths of a stage do.
    """

    def __init__(self, space: Space, name: str = "macs") -> None:
        self._space, m, k = space, space.ndim, int(space.lengths.max())
        self._cost = lambda rows: space.costs(rows)[name].astype(float)
        base = np.zeros((1, m), np.int64)
        self._constant = float(self._cost(base)[0])
        self._single = np.zeros((m, k))
        self._pairs = np.zeros((m, k, m, k))
        for i in range(m):
            rows = np.repeat(base, space.lengths[i], axis=0)
            rows[:, i] = np.arange(space.lengths[i])
            self._single[i, : space.lengths[i]] = self._cost(rows) - self._constant
        for i in range(m):
            for j in range(i):
                self._meet(i, j)
        self._check(name)

    def _meet(self, i: int, j: int) -> None:
        n, o = self._space.lengths[[i, j]]
        rows = np.zeros((n * o, self._space.ndim), np.int64)
        rows[:, i], rows[:, j] = np.repeat(np.arange(n), o), np.tile(np.arange(o), n)
        together = self._cost(rows).reshape(n, o) - self._constant
        self._pairs[i, :n, j, :o] = together - self._single[i, :n, None] - self._single[j, :o]

    def _check(self, name: str) -> None:
        rows = np.random.default_rng(0).integers(0, self._space.lengths, (_CHECKED, self._space.ndim))
        found = [self(np.eye(self._single.shape[1])[row]) for row in rows]
        if not np.allclose(found, self._cost(rows), rtol=1e-6):
            raise SpaceError(f"{self._space.family}: the {name} of its codes are no sum over pairs of elements")

    def __call__(self, chances: np.ndarray) -> float:
        """The mean cost; `chances` are those of each element's choices, shape (m, most choices)."""
        pairs = np.einsum("ik,ikjl,jl->", chances, self._pairs, chances, optimize=True)
        return float(self._constant + (self._single * chances).sum() + pairs)

    def gradient(self, chances: np.ndarray) -> np.ndarray:
        """By each chance, shape (m, most choices)."""
        left = np.einsum("ikjl,jl->ik", self._pairs, chances, optimize=True)
        return self._single + left + np.einsum("ikjl,ik->jl", self._pairs, chances, optimize=True)


def potential_errors(space: Space, lowest: Sequence[tuple[Code, float]]) -> np.ndarray:
    """The mean loss of the codes that have each choice (Equation 13).

    Args:
        space: The codes' space.
        lowest: Codes and their losses in training.

    Returns:
        Of shape (m, most choices); the highest loss for choices that no code has. A width that is no choice, as that of
        the channels which another leaves out can be, counts as the nearest one.
    """
    rows, losses = _nearest(space, [code for code, _ in lowest]), np.array([loss for _, loss in lowest])
    sums, counts = np.zeros((2, space.ndim, int(space.lengths.max())))
    for row, loss in zip(rows, losses, strict=True):
        sums[np.arange(space.ndim), row] += loss
        counts[np.arange(space.ndim), row] += 1
    return np.where(counts > 0, sums / np.maximum(counts, 1), losses.max())


def _nearest(space: Space, codes: Sequence[Code]) -> np.ndarray:
    """The positions of the choices that are nearest to codes, of shape (n, m)."""
    values = np.array([code.values for code in codes], float)
    columns = []
    for column, d in zip(values.T, space.dimensions, strict=True):
        own = column / values[:, space.layout.names.index(d.of)] if d.of else column
        columns.append(np.abs(own[:, None] - np.array(d.choices, float)).argmin(axis=1))
    return np.stack(columns, axis=1)


def chances(space: Space, errors: np.ndarray) -> np.ndarray:
    """The distributions of the least expected error whose expected MACs are within the budget (Equations 14 and 15).

    It is a quadratic program that is not convex; a projected gradient from the uniform distributions solves it, with a
    multiplier of the budget that rises while the expected MACs are over it. The mean of its second half is returned.

    Args:
        space: The codes under a budget of MACs.
        errors: As of `potential_errors`.

    Returns:
        Of each element's choices, shape (m, most choices).
    """
    expected, budget = ExpectedCost(space), space.constraints[0].upper
    allowed = np.arange(errors.shape[1]) < space.lengths[:, None]
    found, multiplier = allowed / space.lengths[:, None], 0.0
    scale, total = np.ptp(errors[allowed]) or 1.0, np.zeros_like(errors)
    for step in range(_STEPS):
        multiplier = max(0.0, multiplier + _BUDGETS_RATE * (expected(found) / budget - 1))
        slope = errors / scale + multiplier * expected.gradient(found) / budget
        found = _projected(found - _RATE * slope, allowed)
        total += found if step >= _STEPS // 2 else 0.0
    return total / total.sum(axis=1, keepdims=True)


def _projected(values: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The nearest distributions, a row each (Duchi et al., 2008)."""
    out = np.zeros_like(values)
    for row, own, result in zip(values, allowed, out, strict=True):
        ordered = np.sort(row[own])[::-1]
        shifts = (np.cumsum(ordered) - 1) / np.arange(1, len(ordered) + 1)
        shift = shifts[np.flatnonzero(ordered > shifts)[-1]]
        result[own] = np.maximum(row[own] - shift, 0)
    return out


def prior_population(
    space: Space, lowest: Sequence[tuple[Code, float]], n: int, rng: np.random.Generator, tries: int = 200
) -> list[Code]:
    """Codes of the space drawn from these distributions; different ones, and fewer than `n` where few are to be had."""
    drawn = chances(space, potential_errors(space, lowest))
    codes: dict[Code, None] = {}
    for _ in range(tries):
        columns = [rng.choice(len(own), n, p=own / own.sum()) for own in drawn]
        rows = np.stack(columns, axis=1)
        codes.update(dict.fromkeys(space.decode(rows[space.feasible(rows)])))
        if len(codes) >= n:
            break
    return list(codes)[:n]
