"""The search for better block stacking codes, and the command `autobss`.

Names are imported when they are used, so that `autobss --help` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .autobss import AutoBSS
    from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
    from .searcher import Observation, Searcher
    from .space import Constraint, Dimension, Space
    from .spaces import get_space, list_spaces, load_space

_MODULES = ("autobss", "baselines", "searcher", "space", "spaces")

__all__ = [
    "AutoBSS",
    "Constraint",
    "Dimension",
    "LocalSearch",
    "Observation",
    "RandomSearch",
    "RegularizedEvolution",
    "Searcher",
    "Space",
    "get_space",
    "list_spaces",
    "load_space",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            if hasattr(home := import_module(f".{module}", __name__), name):
                return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
