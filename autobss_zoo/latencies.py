"""Latencies of the registry's classifiers, measured once: results/*.csv, with the columns of timm's benchmark files.

A file is a runtime's, on one CPU thread; results/conditions.json says where and with which versions it was measured.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from .files import write_atomically

FOLDER = Path(__file__).parent / "results"
RUNTIMES = ("onnxruntime", "pytorch")
COLUMNS = (
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "param_count",
    "infer_gmacs", "infer_macts",
)  # fmt: skip
_CONDITIONS = "conditions.json"


@cache
def latencies() -> dict[str, dict[str, float]]:
    """Milliseconds for one image, by the networks' names and by runtime."""
    found: dict[str, dict[str, float]] = {}
    for runtime in RUNTIMES:
        for row in _rows(FOLDER / f"{runtime}-cpu-1thread.csv"):
            found.setdefault(row["model"], {})[runtime] = float(row["infer_step_time"])
    return found


@cache
def measured_on() -> dict[str, Any]:
    """By the files' names without suffix, where and how each was measured."""
    path = FOLDER / _CONDITIONS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_results(name: str, rows: Iterable[dict[str, Any]], conditions: Any) -> None:
    """Write a file of results, the fastest network first, and where it was measured.

    Args:
        name: Of the file, without suffix.
        rows: By `COLUMNS`.
        conditions: Plain values that state device, runtime and versions.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row["infer_step_time"]))
    write_atomically(FOLDER / f"{name}.csv", table.getvalue().encode())
    text = json.dumps(dict(sorted({**measured_on(), name: conditions}.items())), indent=2)
    write_atomically(FOLDER / _CONDITIONS, (text + "\n").encode())
    latencies.cache_clear()
    measured_on.cache_clear()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
