"""Which codes may be searched, under which budgets. No torch is needed."""

from . import latency  # noqa: F401  # it registers the cost
from .amounts import parse_amount
from .budgets import COSTS, Constraint, Counted, each, parse_budget, register_cost
from .declared import get_space, list_spaces, load_space
from .space import Dimension, Space

__all__ = [
    "COSTS",
    "Constraint",
    "Counted",
    "Dimension",
    "Space",
    "each",
    "get_space",
    "list_spaces",
    "load_space",
    "parse_amount",
    "parse_budget",
    "register_cost",
]
