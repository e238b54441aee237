"""The search for better block stacking codes, and the command `autobss`."""

from .autobss import AutoBSS
from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
from .searcher import Observation, Searcher
from .space import Constraint, Dimension, Space
from .spaces import get_space, list_spaces, load_space

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
