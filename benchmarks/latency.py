"""Latency: how well do tables of blocks predict whole networks at equal MACs, and what do they cost?

For each space a table is built as `autobss latency build` does, fitted again and tested on a hundred held-out codes of
93 to 100% of the hand-made network's MACs. A space meets the target where 99% are within 10%, 95% within 5% and the
RMSPE is at most 3%, or where it is at most 1.2 times that of measuring the same networks again.

    python benchmarks/latency.py --runtime onnxruntime --spaces resnet18 mnv2 --write
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import parser, report

from autobss_search import get_space
from autobss_search.command.cli import main as autobss
from autobss_zoo.latency import load_table

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


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--spaces", nargs="+", default=SPACES, choices=SPACES)
    options.add_argument("--runtime", default="onnxruntime", choices=("onnxruntime", "pytorch"))
    options.add_argument("--held-out", type=int, default=100, help="networks")
    given = options.parse_args()
    rows, met = [], True
    with tempfile.TemporaryDirectory() as folder:
        for name in given.spaces:
            path, start = Path(folder) / f"{name}.json", time.perf_counter()
            command = ["latency", "build", "--space", name, "-o", str(path), "--runtime", given.runtime]
            if code := autobss(command):
                return code
            minutes = (time.perf_counter() - start) / 60
            load_table(path).changed(fit=None, validation=None).save(path)
            if code := autobss([*command, "--held-out", str(given.held_out)]):
                return code
            table = load_table(path)
            assert table.validation is not None
            ours, again = table.validation.predicted, table.validation.repeated
            close = ours.within_10 >= 0.99 and ours.within_5 >= 0.95 and ours.rmspe <= 0.03
            met &= close or ours.rmspe <= 1.2 * again.rmspe
            errors = [
                f"{ours.rmspe:.1%}",
                f"{ours.within_5:.0%}",
                f"{ours.within_10:.0%}",
                f"{ours.rank_correlation:.2f}",
            ]
            others = [f"{e.rmspe:.1%}" for e in (again, table.validation.macs, table.validation.macs_and_activations)]
            speed = f"{codes_a_second(name, path):,.0f}"
            rows.append([name, str(len(table.blocks)), f"{minutes:.1f}", *errors, *others, speed])
    header = [
        "space",
        "blocks",
        "minutes",
        "RMSPE",
        "within 5%",
        "within 10%",
        "Kendall's tau",
        "measured again",
        "MACs alone",
    ]
    title = f"Predicted latencies of held-out networks at equal MACs, {given.runtime} on one CPU thread."
    script = (
        __file__ if given.runtime == "onnxruntime" else __file__.replace("latency.py", f"latency_{given.runtime}.py")
    )
    return report(script, title, [*header, "MACs and activations", "codes a second"], rows, met, given)


if __name__ == "__main__":
    sys.exit(main())
