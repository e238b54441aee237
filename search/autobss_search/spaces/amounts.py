"""Amounts and bounds as people write them: 300M, 9ms, 270M..300M, 0.75x, 1x of mnv1_uniform_w050."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from autobss_zoo.errors import shown

from ..errors import SpaceError

_SUFFIXES = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
_AMOUNT = re.compile(r"\s*((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)\s*([KMBG]?)\s*", re.IGNORECASE | re.ASCII)
_MULTIPLE_OF = re.compile(
    r"\s*([0-9]{1,6}(?:\.[0-9]{1,6})?|\.[0-9]{1,6})\s*x(?:\s+of\s+(\S.{0,2000}))?\s*", re.IGNORECASE | re.ASCII
)
_LARGEST = 1e24
_LARGEST_MULTIPLE = 1e6


def parse_amount(value: Any) -> float:
    """A number, or one with the suffix K, M, B or G: "1.81B" -> 1.81e9.

    Raises:
        SpaceError: If it is neither, or not positive.
    """
    known = isinstance(value, (str, int, float, np.number)) and not isinstance(value, bool)
    if known and isinstance(value, int) and value.bit_length() > 64:
        known = False
    match = _AMOUNT.fullmatch(str(value)) if known else None
    amount = float(match[1]) * _SUFFIXES[match[2].upper()] if match else 0.0
    if not 0 < amount <= _LARGEST:
        raise SpaceError(f"expected a positive amount such as 300M or 1.81B, got {shown(value)}")
    return int(amount) if amount == int(amount) else amount


def parse_milliseconds(value: Any) -> float:
    """Milliseconds from a number of them, or from a text: "9", "9ms", "0.009s".

    Raises:
        SpaceError: If it is neither, or not positive.
    """
    text = value.strip().lower() if isinstance(value, str) else value
    factor = 1.0
    if isinstance(text, str) and text.endswith("s"):
        factor, text = (1.0, text[:-2]) if text.endswith("ms") else (1e3, text[:-1])
    try:
        return factor * parse_amount(text)
    except SpaceError:
        raise SpaceError(f"expected a positive time such as 9ms or 0.009s, got {shown(value)}") from None


class Multiple(NamedTuple):
    """A bound relative to a network's cost.

    Attributes:
        factor: The multiple.
        network: The network's name or code; the hand-made one's when empty.
    """

    factor: float
    network: str = ""

    def __str__(self) -> str:
        return f"{self.factor:g}x" + (f" of {self.network}" if self.network else "")


Bound = float | Multiple


def parse_bounds(value: Any, parse: Callable[[Any], float] = parse_amount) -> tuple[Bound, Bound]:
    """The lower and the upper bound that a budget's value means: "10M", "9M..10M", "9M..", [9M, 10M] or "0.75x".

    Args:
        value: The value.
        parse: Reads an amount.

    Raises:
        SpaceError: If it is none of these.
    """
    if isinstance(value, (list, tuple)) and len(value) == 2:
        low, high = value
    elif isinstance(value, str) and ".." in value:
        low, _, high = value.partition("..")
    else:
        low, high = None, value
    no_low, no_high = _is_open(low, 0), _is_open(high, math.inf)
    if no_low and no_high:
        raise SpaceError(f"expected an amount such as 300M, or a range such as 270M..300M, got {shown(value)}")
    return 0 if no_low else _bound(low, parse), math.inf if no_high else _bound(high, parse)


def _bound(value: Any, parse: Callable[[Any], float]) -> Bound:
    multiple = _MULTIPLE_OF.fullmatch(value) if isinstance(value, str) else None
    if multiple and 0 < float(multiple[1]) <= _LARGEST_MULTIPLE:
        return Multiple(float(multiple[1]), (multiple[2] or "").strip())
    return parse(value)


def _is_open(bound: Any, number: float) -> bool:
    """Whether a bound is left out: nothing, or the number that bounds nothing."""
    text = isinstance(bound, str) and not bound.strip()
    return bound is None or text or (type(bound) in (int, float) and bound == number)
