"""Candidate set construction (AutoBSS, section 3.1): sample the constrained space, then grow every sample.

Two samplers, both over rows of choice positions:

- `uniform`: exactly uniform over the codes that meet the constraints.
- `approximate`: the paper's. Element by element, x_i takes the value c_j with the probability

      P_j = |S(x_[:i] + c_j)| / sum_k |S(x_[:i] + c_k)|,   S(x_[:r]) = {codes of the space that begin with x_[:r]}   (1)

  where |S| is replaced by |S^(D=0)|, a recursion that is summed three elements deep and then follows the medians:

      |S^(D=d)(x_[:r])| = sum_j |S^(D=d+1)(x_[:r] + c_j)|              if d <= 2
                        = |S^(D=d+1)(x_[:r] + c_mid)| * |C^r|          if d > 2                                     (2)

  and is 1 for a whole code that meets the constraints, 0 for one that does not.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from autobss_zoo.errors import AutoBSSWarning

from ..errors import SpaceError
from ..spaces.space import Space

SIZE = 10_000
_DEPTH = 3
_TRIES = 64  # draws of a prefix before it is enumerated
_BLOCK = 1 << 18  # codes at a time
_TRIAL, _PATIENCE = 1 << 20, 1 << 24  # draws that show the acceptance rate; the most that rejection may need
_SMALL = 1 << 22  # spaces of so many codes are enumerated, in a second

Sampler = Callable[[Space, int, np.random.Generator], np.ndarray]


def uniform(space: Space, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw codes uniformly from the space, by rejection; independent, so that codes can repeat.

    Where so few codes meet the constraints that rejection would not end, a Gibbs walk continues: its stationary
    distribution is the same uniform one, over the codes that single changes connect with the smallest.

    Args:
        space: The space.
        n: How many.
        rng: Source of randomness.

    Returns:
        Positions, an integer array of shape (n, m).
    """
    found = [np.empty((0, space.ndim), np.int64)]
    missing, drawn, block = n, 0, max(4 * n, 1 << 12)
    while missing > 0:
        rows = rng.integers(0, space.reach, (block, space.ndim))
        rows = rows[space.feasible(rows)][:missing]
        found.append(rows)
        missing, drawn = missing - len(rows), drawn + block
        rate = (n - missing) / drawn
        if drawn >= _TRIAL and rate * _PATIENCE < n:
            found.append(_gibbs(space, missing, rng))
            break
        block = int(min(_BLOCK, 1.1 * missing / max(rate, 1e-9) + 100))
    return np.concatenate(found)


def _gibbs(space: Space, n: int, rng: np.random.Generator, sweeps: int = 30) -> np.ndarray:
    """`n` chains from the smallest code; each step redraws an element from those of its choices that are feasible."""
    rows = np.repeat(space.smallest(), n, axis=0)
    for _ in range(sweeps):
        for i in rng.permutation(space.ndim):
            k = int(space.reach[i])
            options = np.repeat(rows, k, axis=0)
            options[:, i] = np.tile(np.arange(k), n)
            keys = np.where(space.feasible(options), rng.random(n * k), -1.0).reshape(n, k)
            rows[:, i] = keys.argmax(axis=1)
    return rows


def approximate(space: Space, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw codes with the probabilities of Equations 1 and 2; arguments and result as of `uniform`.

    P_j is a share of whole codes that meet the constraints, so it is drawn from without being computed: x_i and the
    three elements after it uniformly, the medians after them, again until the code meets the constraints; then x_i is
    kept. Prefixes for which that does not succeed soon are enumerated; one without any such code is a dead end, and its
    draw is made again from the start.

    Raises:
        SpaceError: If nearly every draw ends in a dead end: the budget is too tight for the approximation.
    """
    found: list[np.ndarray] = []
    missing = n
    for _ in range(100):
        rows = np.tile(_medians(space), (missing, 1))
        alive = np.ones(missing, bool)
        for i in range(space.ndim):
            todo, drawn = np.flatnonzero(alive), slice(i, i + _DEPTH + 1)
            for _ in range(_TRIES):
                trial = rows[todo]
                trial[:, drawn] = rng.integers(0, space.lengths[drawn], trial[:, drawn].shape)
                ok = space.feasible(trial)
                rows[todo[ok], i] = trial[ok, i]
                todo = todo[~ok]
            if len(todo):
                rows[todo, i], alive[todo] = _enumerated_draw(space, rows[todo, :i], rng)
        found.append(rows[alive])
        missing -= len(found[-1])
        if not missing:
            return np.concatenate(found)
    raise SpaceError("the budget is too tight for the paper's approximate sampler; use the uniform one")


def _enumerated_draw(space: Space, prefixes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The next element of each prefix of shape (n, i), and whether there is one; both of shape (n,)."""
    unique, which = np.unique(prefixes, axis=0, return_inverse=True)
    k = int(space.lengths[prefixes.shape[1]])
    ends = approximate_sizes(space, _extend(unique, np.arange(k))).reshape(-1, k).cumsum(axis=1)[which.ravel()]
    total = ends[:, -1]
    return (rng.random(len(total)) * total >= ends.T).sum(axis=0) * (total > 0), total > 0


def approximate_sizes(space: Space, prefixes: np.ndarray) -> np.ndarray:
    """|S^(D=0)| of Equation 2.

    Args:
        space: The space.
        prefixes: Positions of the first r elements, an integer array of shape (n, r).

    Returns:
        Floats of shape (n,): exact where at most three elements follow.
    """
    r = prefixes.shape[1]
    summed = space.lengths[r : r + _DEPTH]
    median = _medians(space)[r + _DEPTH :]
    scale = float(np.prod(space.lengths[r + _DEPTH :], dtype=float))
    ends = np.array(list(itertools.product(*map(range, summed))), np.int64).reshape(int(summed.prod()), len(summed))
    ends = np.concatenate([ends, np.broadcast_to(median, (len(ends), len(median)))], axis=1)
    counts = [
        space.feasible(_extend(part, ends)).reshape(len(part), -1).sum(axis=1)
        for part in np.array_split(prefixes, len(prefixes) * len(ends) // _BLOCK + 1)
        if len(part)
    ]
    return np.concatenate(counts) * scale


def _medians(space: Space) -> np.ndarray:
    """The position of each dimension's median choice, shape (m,).

    It is the lower one of two, and without an order that of the one in the middle of the list.
    """
    return (space.lengths - 1) // 2


def _extend(prefixes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Every prefix with every end; `ends` of shape (k,) or (k, w)."""
    ends = ends.reshape(len(ends), -1)
    return np.concatenate([np.repeat(prefixes, len(ends), axis=0), np.tile(ends, (len(prefixes), 1))], axis=1)


def grow(space: Space, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Increase random dimensions of each code by a step until none can be increased within the constraints.

    "We first randomly select one dimension x_i, then increase it by a predefined step size if this doesn't result in
    larger FLOPs or latency than the threshold. This process is repeated until no dimension can be increased."

    Args:
        space: The space.
        positions: Integer array of shape (n, m) of codes that meet the constraints.
        rng: Source of randomness.

    Returns:
        The grown codes, of the same shape.
    """
    rows = positions.copy()
    ends = np.where(space.ordered, space.lengths - 1, 0)  # choices without an order do not grow
    open_ = rows < ends  # dimensions that may still grow, as far as is known
    active = np.flatnonzero(open_.any(axis=1))
    while len(active):
        chosen = np.where(open_[active], rng.random((len(active), space.ndim)), -1.0).argmax(axis=1)
        trial = rows[active]
        trial[np.arange(len(active)), chosen] += 1
        ok = space.feasible(trial)
        rows[active[ok]] = trial[ok]
        # A larger code may be cheaper in another dimension only where costs are not monotone: then all are open again.
        open_[active[ok]] = rows[active[ok]] < ends
        open_[active[~ok], chosen[~ok]] = False
        active = active[open_[active].any(axis=1)]
    return rows


def around(space: Space, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The codes one step away from any of `positions`, and what two growths of each make of them; distinct rows."""
    near = space.steps(positions)
    near = near[space.feasible(near)]
    return np.unique(np.concatenate([near, grow(space, near, rng), grow(space, near, rng)]), axis=0)


def maximal(space: Space) -> Iterator[np.ndarray]:
    """Every code that cannot grow, by enumeration of a small space; positions of shape (n, m), a part at a time."""
    for rows in space.enumerate():
        for i in np.flatnonzero(space.ordered):
            grown = rows.copy()
            grown[:, i] += 1
            inside = grown[:, i] < space.lengths[i]
            can = np.zeros(len(rows), bool)
            can[inside] = space.feasible(grown[inside])
            rows = rows[~can]
        yield rows


def candidate_set(
    space: Space, rng: np.random.Generator, n: int = SIZE, sampler: Sampler = uniform, growth: bool = True
) -> np.ndarray:
    """The candidate set Omega: `n` distinct codes, sampled and grown.

    Args:
        space: The space.
        rng: Source of randomness.
        n: How many.
        sampler: `uniform` or `approximate`.
        growth: Whether to grow the samples.

    Returns:
        Positions, an integer array of shape (n, m), in lexicographic order. Where fewer exist, all of them (of spaces
        too large to enumerate: all that many further samples found), with a warning.
    """
    if space.reach.prod(dtype=float) <= _SMALL:
        parts, total = [], 0
        for rows in maximal(space) if growth else space.enumerate():
            parts.append(rows)
            total += len(rows)
            if total > n:
                break
        else:
            if total < n:
                _warn_fewer(space, total, n)
            return np.concatenate(parts)
    found = np.empty((0, space.ndim), np.int64)
    stale = 0
    while len(found) < n and stale < 5:
        rows = sampler(space, n, rng)
        rows = grow(space, rows, rng) if growth else rows
        fresh = np.setdiff1d(_keys(rows), _keys(found))
        before, found = len(found), np.concatenate([found, _rows(fresh, space.ndim)])
        stale = stale + 1 if len(found) - before <= n // 1000 else 0
    if len(found) > n:
        found = found[rng.choice(len(found), n, replace=False)]
    elif len(found) < n:
        _warn_fewer(space, len(found), n)
    return found[np.lexsort(found.T[::-1])]


def _warn_fewer(space: Space, found: int, n: int) -> None:
    warnings.warn(f"{space.family}: only {found:,} distinct candidates instead of {n:,}", AutoBSSWarning, stacklevel=3)


def _keys(rows: np.ndarray) -> np.ndarray:
    """Rows as single values that sort and compare."""
    return np.ascontiguousarray(rows, np.int64).view([("", np.int64)] * rows.shape[1]).ravel()


def _rows(keys: np.ndarray, ndim: int) -> np.ndarray:
    return keys.view(np.int64).reshape(-1, ndim)
