"""The errors that a user's own input can cause. The command prints them as one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class AutoBSSError(Exception):
    """Base of every error below."""


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


class ExportError(AutoBSSError, RuntimeError):
    """An exported graph that does not equal its network."""


def did_you_mean(name: str, known: Iterable[str], others: str = "`autobss list` shows all") -> str:
    """The nearest known names, as the end of an error message; `others` says where many are listed."""
    known = sorted(known)
    if near := get_close_matches(name, known, n=3, cutoff=0.5):
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if len(known) <= 20 else others
