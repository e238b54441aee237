"""The numbers that options take, for `type=` of argparse, which names the option in front of the error."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress

from ..errors import SpaceError

LARGEST = 2**31 - 1


def integer(least: int = 1, most: int = LARGEST) -> Callable[[str], int]:
    """A reader of integers from `least` to `most`."""

    def read(text: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,20}", text) and least <= int(text) <= most:
            return int(text)
        kind = "a positive integer" if least == 1 else f"an integer from {least}"
        raise ArgumentTypeError(f"expected {kind} up to {most}, got {text!r}")

    return read


def sides(most: int) -> Callable[[str], int | tuple[int, int]]:
    """A reader of an image's side, as an integer, or of its height and width, HxW."""
    side = integer(most=most)

    def read(text: str) -> int | tuple[int, int]:
        height, by, width = text.partition("x")
        return (side(height), side(width)) if by else side(text)

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """A reader of numbers from `least` to `most`; never NaN or infinity."""

    def read(text: str) -> float:
        with suppress(ValueError):
            if least <= (value := float(text)) <= most:
                return value
        raise ArgumentTypeError(f"expected a number from {least:g} to {most:g}, got {text!r}")

    return read


def amount(text: str) -> float:
    """An amount such as 300M, as budgets have it."""
    from ..spaces.amounts import parse_amount

    return _parsed(parse_amount, text)


def milliseconds(text: str) -> float:
    """Milliseconds of a time such as 9ms, as budgets have it."""
    from ..spaces.amounts import parse_milliseconds

    return _parsed(parse_milliseconds, text)


def _parsed(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except SpaceError as error:
        raise ArgumentTypeError(str(error)) from None
