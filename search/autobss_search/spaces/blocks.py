"""Codes that together have every block that a space's networks can have."""

from __future__ import annotations

import itertools
import math

import numpy as np

from autobss_zoo.families import get_family
from autobss_zoo.families.plan import Block
from autobss_zoo.latency.blocks import Signature, distinct, shapes

from .budgets import Counted
from .space import Space

_BASES = 32  # random codes around which it is seen what a block depends on
_COMBINATIONS = 16  # of elements, for each block that is wanted at most


def sampled_codes(codes: np.ndarray, counted: Counted, most: int) -> np.ndarray:
    """The first of some codes, as many as have together up to `most` different blocks.

    Args:
        codes: Codes, integers of shape (n, m).
        counted: What they are networks of.
        most: Blocks.
    """
    found = distinct(get_family(counted.family).plan(codes, counted.setting), len(codes))
    firsts = sorted(found.values())  # of each block the first code that has it
    return codes if len(firsts) <= most else codes[: firsts[most]]


def covering_codes(space: Space, counted: Counted, most: int = 1 << 14) -> np.ndarray | None:
    """Codes whose networks have every block of the space's networks, whatever its budgets.

    Which elements a block depends on is seen from what changes it around random codes; all their values are combined.

    Args:
        space: The space.
        counted: What its codes are networks of.
        most: Blocks.

    Returns:
        Codes, integers of shape (n, m); None if there are more blocks.
    """
    family, setting = get_family(counted.family), counted.setting
    rng = np.random.default_rng(0)

    def plan(positions: np.ndarray) -> tuple[Block, ...]:
        return family.plan(space.values(positions), setting).blocks

    bases = rng.integers(0, space.lengths, (_BASES, space.ndim))
    depends = np.zeros((len(plan(bases)), space.ndim), bool)
    for dimension, k in enumerate(space.lengths.tolist()):
        rows = np.repeat(bases, k, axis=0)
        rows[:, dimension] = np.tile(np.arange(k), _BASES)
        for place, block in enumerate(plan(rows)):
            found = shapes(block, len(rows)).reshape(_BASES, k, -1)
            depends[place, dimension] = (found != found[:, :1]).any()
    repeats = np.minimum(1, space.lengths - 1)[~depends.any(axis=0)]
    codes: dict[Signature, tuple[int, ...]] = {}
    for own in np.unique(depends, axis=0):
        lengths = space.lengths[own]
        if (size := math.prod(lengths.tolist())) > _COMBINATIONS * most:
            return None
        rows = rng.integers(0, (space.lengths + 1) // 2, (size, space.ndim))  # small networks of other blocks
        rows[:, ~depends.any(axis=0)] = repeats  # more than one block a stage
        rows[:, own] = np.array(list(itertools.product(*map(range, lengths))))
        values = space.values(rows)
        for signature, place in distinct(family.plan(values, setting), size).items():
            codes.setdefault(signature, tuple(values[place].tolist()))
        if len(codes) > most:
            return None
    return np.array(sorted(set(codes.values())), np.int64)
