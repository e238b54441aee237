"""Blocks as the keys of a table: the kind of block and the figures that make it this one. No torch is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..families.plan import Block, Plan

Others = Callable[[str, np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]

_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)


class Signature(NamedTuple):
    """Which block it is.

    Attributes:
        kind: The block's kind.
        shape: The figures that its class names in `shape`.
    """

    kind: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        figures = zip(kinds()[self.kind].shape, self.shape, strict=True)
        return f"{self.kind}({', '.join(f'{name}={figure}' for name, figure in figures if figure)})"


def kinds() -> dict[str, type[Block]]:
    """Every kind of block that families are made of."""
    found, classes = {}, [Block]
    while classes:
        classes += (cls := classes.pop()).__subclasses__()
        if hasattr(cls, "kind"):
            found[cls.kind] = cls
    return found


def figure_of(name: str, signature: Signature) -> int:
    """A block's MACs, parameters or activations, by the figure's name."""
    cls = kinds()[signature.kind]
    return int(cls(**dict(zip(cls.shape, signature.shape, strict=True))).figures((name,))[0])


def inputs_of(signature: Signature) -> int:
    """How many numbers a block's input has."""
    inputs, _, side, *_ = signature.shape
    return inputs * side**2


def shapes(block: Block, n: int) -> np.ndarray:
    """The shapes of a block of many codes' plan, int64 of shape (n, figures)."""
    out = np.empty((n, len(block.shape)), np.int64)
    for column, name in enumerate(block.shape):
        out[:, column] = getattr(block, name)
    return out


def signatures(plan: Plan) -> Iterator[Signature]:
    """The blocks of one code's plan in order, each as often as it stands there."""
    for block in plan.blocks:
        shape = tuple(int(getattr(block, name)) for name in block.shape)
        yield from [Signature(block.kind, shape)] * int(block.times)


def distinct(plan: Plan, n: int) -> dict[Signature, int]:
    """The different blocks of the plan of `n` codes, each with the number of a code that has it."""
    found: dict[Signature, int] = {}
    for block in plan.blocks:
        there = np.flatnonzero(np.broadcast_to(block.times, n))
        rows, first = np.unique(shapes(block, n)[there], axis=0, return_index=True)
        for row, place in zip(rows.tolist(), first.tolist(), strict=True):
            found.setdefault(Signature(block.kind, tuple(row)), int(there[place]))
    return found


class BlockTimes:
    """The times of known blocks, looked up for many codes at once.

    Args:
        times: Seconds by block.
        others: Makes of a kind's blocks, (n, figures), and their seconds, (n,), a function that gives the seconds of
            other blocks of that kind, NaN where it cannot; None where others are not known.
    """

    def __init__(self, times: Mapping[Signature, float], others: Others | None = None) -> None:
        self._known, self._others = {}, {}
        for kind in {signature.kind for signature in times}:
            own = [(s.shape, seconds) for s, seconds in times.items() if s.kind == kind]
            rows = np.array([shape for shape, _ in own], np.int64)
            order = np.argsort(keys := _keys(rows))
            seconds = np.array([seconds for _, seconds in own])
            self._known[kind] = (keys[order], rows[order], seconds[order])
            if others:
                self._others[kind] = others(kind, rows, seconds)

    def of(self, block: Block, n: int) -> np.ndarray:
        """The seconds of one block of the plan of `n` codes, shape (n,); NaN where it is not known."""
        if block.kind not in self._known:
            return np.full(n, np.nan)
        keys, rows, seconds = self._known[block.kind]
        wanted = shapes(block, n)
        places = np.searchsorted(keys, _keys(wanted)).clip(max=len(keys) - 1)
        found = np.where((rows[places] == wanted).all(axis=1), seconds[places], np.nan)
        if block.kind in self._others and (missing := np.isnan(found)).any():
            found[missing] = self._others[block.kind](wanted[missing])
        return found


def _keys(rows: np.ndarray) -> np.ndarray:
    """A number for each row; different rows have, but for one in billions of billions, different ones."""
    key = np.zeros(len(rows), np.uint64)
    for place, column in enumerate(rows.T):
        key = (key ^ column.astype(np.uint64)) * _ODD[place % len(_ODD)]
        key ^= key >> np.uint64(29)
    return key


def named(blocks: Iterable[Signature], most: int = 3) -> str:
    """A few blocks as an error names them."""
    listed = list(blocks)
    return ", ".join(map(str, listed[:most])) + (f" and {len(listed) - most:,} more" if listed[most:] else "")
