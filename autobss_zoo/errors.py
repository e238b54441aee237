"""The errors that a user's own input can cause. The command prints them as one line."""

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr
from typing import Any


class AutoBSSError(Exception):
    """Base of every error below."""


class AutoBSSWarning(UserWarning):
    """What a user should know though it goes on. The command prints it as one line."""


class CodeError(AutoBSSError, ValueError):
    """A block-stacking code that is no network of its family."""


class UnknownNameError(AutoBSSError, ValueError):
    """A name of a network or family that does not exist."""


class WeightsError(AutoBSSError, RuntimeError):
    """Weights that are not published, or that are not the ones that were published."""


class RecipeError(AutoBSSError, ValueError):
    """A recipe that does not exist or cannot be followed."""


class TrainingError(AutoBSSError, RuntimeError):
    """A training that cannot go on."""


class DataError(AutoBSSError, RuntimeError):
    """Data that is missing or broken."""


class LatencyError(AutoBSSError, RuntimeError):
    """A latency that cannot be told: a broken table, or one that lacks a block."""


class ExportError(AutoBSSError, RuntimeError):
    """An exported graph that does not equal its network."""


def did_you_mean(name: str, known: Iterable[str], others: str = "") -> str:
    """The nearest known names, as the end of an error message; else all, or where many are listed: `others`."""
    known = sorted(known)
    if near := get_close_matches(name, known, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(near)}?"
    return others if others and len(known) > 20 else f"known: {', '.join(known)}"


class _Short(Repr):
    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 128 else f"an integer of {x.bit_length():,} bits"


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 80, 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 4


def shown(value: Any) -> str:
    """Any value in a line of bounded length, as an error message shows what it got."""
    return " ".join(_SHORT.repr(value).split())
