"""A user's own functions by their names, so that another process can find them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ..errors import StudyError


def reference(function: Any) -> str | None:
    """Where a function is, "module:name"; None if it is not found there."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    try:
        return f"{module}:{name}" if _find(module, name) is function else None
    except (ImportError, AttributeError):
        return None


def find(place: str) -> Callable[..., Any]:
    """The function at a place, "module:name".

    Raises:
        StudyError: If there is none.
    """
    module, _, name = place.partition(":")
    try:
        function = _find(module, name)
    except Exception as error:  # a user's module can raise anything
        raise StudyError(f"{place}: cannot be imported: {error!r}") from None
    if not callable(function):
        raise StudyError(f"{place}: expected a function, got {function!r}")
    return function


def _find(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
