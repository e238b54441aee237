"""Latency: measured on this machine, and predicted from a device's table of blocks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .building import build_table
    from .conditions import Conditions, Runtime
    from .measuring import Measured, measure
    from .table import Table, load_table

__all__ = ["Conditions", "Measured", "Runtime", "Table", "build_table", "load_table", "measure"]

_HOMES = {
    "build_table": "building",
    "measure": "measuring",
    "Measured": "measuring",
    "Table": "table",
    "load_table": "table",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f".{_HOMES.get(name, 'conditions')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
