"""Latency as a cost that budgets bound: predicted from a device's table, in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autobss_zoo.errors import LatencyError

from ..errors import SpaceError
from .amounts import parse_milliseconds
from .budgets import Counted, register_cost

if TYPE_CHECKING:
    from autobss_zoo.latency.table import Table


@dataclass(frozen=True)
class Latency:
    """The predicted latency of a family's codes on a device.

    Args:
        table: The device's.
        counted: Of what.

    Raises:
        SpaceError: If the table is of another family, or not finished.
    """

    table: Table
    counted: Counted

    def __post_init__(self) -> None:
        if self.counted.detector:
            raise SpaceError("budget: latency: is of classifiers; bound a detector's macs")
        if self.table.fit is None:
            raise SpaceError("budget: device: the table is not finished: run the command that began it again")
        self.table.check_family(self.counted.family)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Milliseconds of codes of shape (n, m), shape (n,)."""
        return 1e3 * self.table.predict(codes, self.counted.setting, family=self.counted.family)

    def least(self, codes: np.ndarray) -> np.ndarray:
        """As of `Constraint`; latency is not monotone, as vector units round up."""
        return 1e3 * self.table.least(codes, self.counted.setting, family=self.counted.family)

    def describe(self) -> dict[str, Any]:
        """What is counted, on what setting and device; a study's identity keeps it."""
        device = {"device": str(self.table.conditions), "table": self.table.identity}
        return {"cost": "latency", "unit": "ms", **device, **self.counted.describe()}


@cache
def _read(path: str, changed: int) -> Table:
    from autobss_zoo.latency.table import load_table  # pydantic takes long to import

    return load_table(path)


def _latency(counted: Counted) -> Latency:
    if counted.device is None:
        raise SpaceError("budget: latency: of which device? Give device (--device) a file of `autobss latency build`")
    try:
        path = Path(counted.device)
        return Latency(_read(counted.device, path.stat().st_mtime_ns if path.exists() else 0), counted)
    except LatencyError as error:
        raise SpaceError(f"budget: device: {error}") from None


register_cost("latency", _latency, parse=parse_milliseconds)
