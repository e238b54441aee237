"""The search for better codes, and the command `autobss`.

Names are imported when they are used, so that `autobss --help` need not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .searchers import (
        AutoBSS,
        LocalSearch,
        Observation,
        RandomSearch,
        RegularizedEvolution,
        Searcher,
        Session,
    )
    from .spaces import Constraint, Dimension, Space, each, get_space, list_spaces, load_space, register_cost

__all__ = [
    "AutoBSS",
    "Constraint",
    "Dimension",
    "LocalSearch",
    "Observation",
    "RandomSearch",
    "RegularizedEvolution",
    "Searcher",
    "Session",
    "Space",
    "each",
    "get_space",
    "list_spaces",
    "load_space",
    "register_cost",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in (".searchers", ".spaces"):
            if name in (module := import_module(home, __name__)).__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
