"""What modules of a user's own add to what is here: families, tasks, evaluators."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from .errors import UnknownNameError, did_you_mean, shown

MODULES = "AUTOBSS_MODULES"
"""The environment variable that names such modules, separated by commas."""

T = TypeVar("T")
C = TypeVar("C", bound="type[Any]")


def import_users_modules() -> None:
    """Import the modules that the environment variable names."""
    for module in filter(None, os.environ.get(MODULES, "").split(",")):
        import_module(module.strip())


class Kinds(dict[str, "type[T]"]):
    """Classes by the names that recipes give them.

    Args:
        what: What they are, for errors.
        built_in: By their names the modules that register our own, which are imported when they are asked for.
    """

    def __init__(self, what: str, built_in: Mapping[str, str]) -> None:
        super().__init__()
        self._what, self._built_in = what, built_in

    def register(self, name: str) -> Callable[[C], C]:
        """Make a class known by a name; a decorator."""

        def enter(kind: C) -> C:
            self[name] = kind
            return kind

        return enter

    def find(self, name: Any) -> type[T]:
        """The class of a name.

        Raises:
            UnknownNameError: If there is none.
        """
        known = isinstance(name, str)  # YAML may hold anything
        if known and name not in self:
            if name in self._built_in:
                import_module(self._built_in[name])
            else:
                import_users_modules()
        if not known or name not in self:
            raise UnknownNameError(
                f"{self._what}: {shown(name)}: {did_you_mean(str(name)[:100], {*self, *self._built_in})}"
            )
        return self[name]
