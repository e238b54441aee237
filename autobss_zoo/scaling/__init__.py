"""A base network scaled by depth, width and resolution: strategies, and laws that extrapolate them; without torch."""

from .laws import AtBudget, Exponential, Law, Laws, Linear, Squared, at_budget, fit, published
from .strategies import TABLE_7, TABLE_8, Interval, Strategy, scale, scale_codes

__all__ = [
    "TABLE_7",
    "TABLE_8",
    "AtBudget",
    "Exponential",
    "Interval",
    "Law",
    "Laws",
    "Linear",
    "Squared",
    "Strategy",
    "at_budget",
    "fit",
    "published",
    "scale",
    "scale_codes",
]
