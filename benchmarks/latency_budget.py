"""Are answers of searches under a latency as quick as their budget says? Measured; target: a median miss of at most 2%.

A table of this machine's latencies is built for Channel-Bench-Macro's MobileNet; each search scores codes by the
benchmark's accuracies, under a share of the widest network's latency in ONNX Runtime on one CPU thread. All answers are
then measured twice, in turns with others and the widest network, at whose pace they are compared.

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
from autobss_zoo.latency.building import agreed, measure_twice

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
    table = Table(given.table)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "device.json"
        if code := autobss(["latency", "build", "--space", SPACE, "-o", str(file), "--num-classes", "10"]):
            return code
        found = [search(file, share, table, seed) for share in given.shares for seed in range(given.searches)]
        device = load_table(file)
    answers = np.array([answer.values for answer, _ in found])
    shape = len(given.shares), given.searches
    budgets = np.reshape([budget for _, budget in found], shape)
    predicted = 1e3 * device.predict(answers).reshape(shape) / budgets
    missed = np.maximum(1e3 * agreed(*measure_twice(device, answers)).reshape(shape) / budgets - 1, 0)
    rows = []
    for share, budget, used, own in zip(given.shares, budgets[:, 0], predicted, missed, strict=True):
        low, middle, high = (f"{value:.1%}" for value in np.quantile(own, (0.25, 0.5, 0.75)))
        ours = f"{np.median(used):.1%}", middle, f"{low} to {high}", f"{own.max():.1%}"
        rows.append([f"{share}x, {budget:.3f} ms", str(given.searches), *ours])
    header = ["budget", "searches", "of it predicted (median)", "missed by (median)", "quartiles", "at most"]
    overall = float(np.median(missed))
    title = (
        "Answers of searches under a latency, measured; ONNX Runtime on one CPU thread. "
        f"The median of all {missed.size} misses is {overall:.1%}."
    )
    return report(__file__, title, header, rows, overall <= TARGET, given)


if __name__ == "__main__":
    sys.exit(main())
