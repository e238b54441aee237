"""Are answers of searches under a latency as quick as their budget says? Measured; target: a median miss of at most 2%.

A table of this machine's latencies is built for Channel-Bench-Macro's MobileNet; each search scores codes by the
benchmark's accuracies, under a share of the widest network's latency in ONNX Runtime on one CPU thread. All answers are
then measured in turns with the widest network, at whose pace they are compared.

    python benchmarks/latency_budget.py --table Results_MobileNet.json --write
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import parser, report

from autobss_search import AutoBSS, Session, get_space
from autobss_search.command.cli import main as autobss
from autobss_search.evaluators.tabular import Table
from autobss_zoo import Code, get_family
from autobss_zoo.latency import load_table
from autobss_zoo.latency.building import measure_codes

SPACE = "channel_bench_mobilenet"
TARGET = 0.02


def search(device: Path, share: float, table: Table, seed: int) -> tuple[Code, float]:
    """The answer of a search of 64 scores, and the budget in milliseconds."""
    space = get_space(SPACE, macs=1e12, latency=f"{share}x", device=str(device))
    widest, rng = np.array(get_family(SPACE).original), np.random.default_rng(seed)
    session = Session(AutoBSS(space, seed=seed))
    for _ in range(4):
        for code in session.ask(16):
            digits = table.space().code((4 * np.array(code.values) // widest).tolist())
            session.tell(code, float(rng.choice(table.scores[table.index(digits)])))
    return session.recommend(), space.constraints[-1].upper


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--table", type=Path, required=True, help="Channel-Bench-Macro's Results_MobileNet.json")
    options.add_argument("--searches", type=int, default=8, help="of each budget")
    options.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.4, 0.5])
    given = options.parse_args()
    table, rows, misses = Table(given.table), [], []
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "device.json"
        if code := autobss(["latency", "build", "--space", SPACE, "-o", str(device), "--num-classes", "10"]):
            return code
        for share in given.shares:
            found = [search(device, share, table, seed) for seed in range(given.searches)]
            answers = np.array([answer.values for answer, _ in found])
            measured, budget = measure_codes(load_table(device), answers), found[0][1]
            missed = np.maximum(1e3 * measured.at_pace / budget - 1, 0)
            misses += missed.tolist()
            predicted = 1e3 * load_table(device).predict(answers)
            used = f"{np.median(predicted / budget):.1%}"
            spread = f"{np.quantile(missed, 0.25):.1%} to {np.quantile(missed, 0.75):.1%}"
            rows.append([f"{share}x, {budget:.3f} ms", str(given.searches), used, f"{np.median(missed):.1%}", spread])
            rows[-1] += [f"{missed.max():.1%}", f"{measured.pace:.3f}x"]
    header = ["budget", "searches", "of it predicted (median)", "missed by (median)", "quartiles", "at most"]
    middle = float(np.median(misses))
    title = (
        "Answers of searches under a latency, measured; ONNX Runtime on one CPU thread. "
        f"The median of all {len(misses)} misses is {middle:.1%}."
    )
    return report(
        __file__, title, [*header, "the machine's pace, which that leaves out"], rows, middle <= TARGET, given
    )


if __name__ == "__main__":
    sys.exit(main())
