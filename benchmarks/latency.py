"""Latency: how well do tables of blocks predict whole networks at equal MACs, and what do they cost?

For each space a table is built as `autobss latency build` does, and fitted again with a test on a hundred held-out
codes of 93 to 100% of the hand-made network's MACs. A space meets the target where 99% are within 10%, 95% within 5%
and the RMSPE is at most 3%, or where it is at most 1.2 times that of measuring the same networks again.

    python benchmarks/latency.py --runtime onnxruntime --spaces resnet18 mnv2 --write
"""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from machine import parser, report

from autobss_search import get_space
from autobss_search.command.cli import main as autobss
from autobss_zoo.latency import load_table
from autobss_zoo.latency.runners import processor

FULL = ("resnet18", "resnet50", "mnv2", "efficientnet_b0")
SPACES = (*FULL, *(f"{name}_small" for name in FULL))
CODES = 100_000


def codes_a_second(space_name: str, table_file: Path) -> float:
    """How many random codes of a space a table predicts in a second; the best of five."""
    space, table = get_space(space_name), load_table(table_file)
    codes = space.values(np.random.default_rng(0).integers(0, space.lengths, (CODES, space.ndim)))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        table.predict(codes, family=space.family)
        seconds.append(time.perf_counter() - start)
    return CODES / min(seconds)


def measure(space: str, runtime: str, held_out: int, path: Path) -> dict[str, str | bool]:
    """Build a space's table at `path`; the row that it gives, and whether the target is met."""
    start, command = time.perf_counter(), ["latency", "build", "--space", space, "-o", str(path), "--runtime", runtime]
    if code := autobss(command):
        raise SystemExit(code)
    minutes = (time.perf_counter() - start) / 60
    load_table(path).changed(fit=None, validation=None).save(path)
    if code := autobss([*command, "--held-out", str(held_out)]):
        raise SystemExit(code)
    table = load_table(path)
    assert table.validation is not None
    ours, again = table.validation.predicted, table.validation.repeated
    close = ours.within_10 >= 0.99 and ours.within_5 >= 0.95 and ours.rmspe <= 0.03
    return {
        "space": space,
        "blocks": str(len(table.blocks)),
        "minutes": f"{minutes:.1f}",
        "RMSPE": f"{ours.rmspe:.1%}",
        "within 5%": f"{ours.within_5:.0%}",
        "within 10%": f"{ours.within_10:.0%}",
        "Kendall's tau": f"{ours.rank_correlation:.2f}",
        "RMSPE of measuring again": f"{again.rmspe:.1%}",
        "of MACs alone": f"{table.validation.macs.rmspe:.1%}",
        "of MACs and activations": f"{table.validation.macs_and_activations.rmspe:.1%}",
        "codes a second": f"{codes_a_second(space, path):,.0f}",
        "measured on": f"{processor()}, {date.today()}",
        "met": close or ours.rmspe <= 1.2 * again.rmspe,
    }


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--spaces", nargs="+", default=SPACES, choices=SPACES)
    options.add_argument("--runtime", default="onnxruntime", choices=("onnxruntime", "pytorch"))
    options.add_argument("--held-out", type=int, default=100, help="networks")
    options.add_argument("--folder", type=Path, default=Path("outputs/latency"), help="tables, gone on with")
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for space in given.spaces:
        path = given.folder / f"{given.runtime}-{space}.json"
        done = path.with_suffix(".row.json")
        if not done.exists():
            path.unlink(missing_ok=True)  # its minutes are measured
            done.write_text(json.dumps(measure(space, given.runtime, given.held_out, path)))
        rows.append(json.loads(done.read_text()))
        print(rows[-1], flush=True)
    met = sum(row.pop("met") for row in rows) == len(rows)
    title = f"Predicted latencies of held-out networks at equal MACs, {given.runtime} on one CPU thread."
    name = "latency.py" if given.runtime == "onnxruntime" else f"latency_{given.runtime}.py"
    return report(
        str(Path(__file__).with_name(name)), title, list(rows[0]), [[*row.values()] for row in rows], met, given
    )


if __name__ == "__main__":
    sys.exit(main())
