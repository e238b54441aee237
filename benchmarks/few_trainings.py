"""What AutoBSS gains over uniform rescaling with 16, 32 and 64 trainings, with and without confirmation.

On tables and surrogates of trainings, at the MACs of uniformly rescaled codes. With confirmation a quarter of the
trainings are of the best codes again, with other seeds.

    python benchmarks/few_trainings.py --tables widths_plain,stacking_resnet50 --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import warnings
from pathlib import Path

import numpy as np
from machine import parser, report
from search_grounds import budgets, load
from search_peers import Job, cell, identity, measure, values

from autobss_search import AutoBSS, Session

TRAININGS, BATCH, CONFIRMED = (16, 32, 64), 16, 4
METHODS = {f"{n}": (n, 0) for n in TRAININGS} | {f"{n}, confirmed": (n, n // CONFIRMED) for n in TRAININGS}
"""How many trainings, and how many of them are of the best codes again."""


def run(source: str, fraction: float, method: str, repetition: int) -> dict[str, list[float]]:
    """One search: what its answer gains, without luck."""
    warnings.simplefilter("ignore")
    trainings, again = METHODS[method]
    ground, rng = load(source, fraction), np.random.default_rng([repetition, int(1000 * fraction)])
    session = Session(AutoBSS(ground.space, seed=repetition))
    for start in range(0, trainings - again, BATCH):
        for code in session.ask(min(BATCH, trainings - again - start)):
            session.tell(code, ground.draw(code, rng))
    for code in session.searcher.confirm(session.observations, again):
        session.tell(code, ground.draw(code, rng))
    return {"gain": [ground.headroom - ground.smooth(session.recommend())], "headroom": [ground.headroom]}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--tables", required=True, help="tables and surrogates, as `autobss bench` takes them")
    arguments.add_argument("--repetitions", type=int, default=50)
    arguments.add_argument("--workers", type=int)
    options = arguments.parse_args()
    rows = []
    for source in options.tables.split(","):
        name, _, version = identity(source)
        rescaled, kept = budgets(source), Path(f"outputs/few_trainings/{name}{version}.jsonl")
        jobs: list[Job] = [(r, f, m) for r in range(options.repetitions) for f in rescaled for m in METHODS]
        figures = measure(source, jobs, kept, options.workers, run)
        for fraction, code in rescaled.items():
            headroom = values(figures, next(iter(METHODS)), [fraction], "headroom")[0, 0]
            gains = [cell(values(figures, method, [fraction], "gain")) for method in METHODS]
            rows.append([name, f"`{code}`", f"{headroom:.3f}", *gains])
    title = (
        f"# AutoBSS with few trainings: {options.repetitions} searches each, means ± standard errors\n\nPoints of "
        "accuracy over the uniformly rescaled code, without luck, at its MACs; the headroom is what the best code has. "
        f"Confirmed: every {CONFIRMED}th training is of one of the best codes again."
    )
    return report(__file__, title, ["benchmark", "uniformly rescaled", "headroom", *METHODS], rows, True, options)


if __name__ == "__main__":
    sys.exit(main())
