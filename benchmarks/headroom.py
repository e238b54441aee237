"""What AutoBSS takes of the headroom over uniform rescaling, at its MACs, on tables and surrogates of trainings.

Target: its answers are worse than uniform rescaling in at most one of ten runs after 16, 32 and 64 scores, and it takes
no less of the headroom than without the uniformly rescaled code, but for the standard errors.

    python benchmarks/headroom.py --tables Results_MobileNet.json,widths_plain --write
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from machine import parser, report
from search_grounds import budgets
from search_peers import Job, cell, identity, mean_and_error, measure, values

METHODS = {"autobss": "default", "no-guess": "without the rescaled code"}
SCORES = {0: 16, 1: 32, 3: 64}  # after each of these rounds


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--tables", required=True, help="tables and surrogates, as `autobss bench` takes them")
    arguments.add_argument("--repetitions", type=int, default=50)
    options = arguments.parse_args()
    rows, met = [], True
    for source in options.tables.split(","):
        name, _, version = identity(source)
        rescaled, kept = budgets(source), Path(f"outputs/headroom/{name}{version}.jsonl")
        jobs: list[Job] = [(r, f, m) for r in range(options.repetitions) for f in rescaled for m in METHODS]
        figures = measure(source, jobs, kept)
        for fraction, code in rescaled.items():
            taken = {}
            for method, what in METHODS.items():
                headroom = values(figures, method, [fraction], "headroom")
                gains = {n: headroom - values(figures, method, [fraction], "smooth", i) for i, n in SCORES.items()}
                worse = {n: float(np.mean(gain < -1e-9)) for n, gain in gains.items()}
                taken[method] = [mean_and_error(gain) for gain in gains.values()]
                met &= method != "autobss" or max(worse.values()) <= 0.1
                row = [name, f"`{code}`", f"{headroom[0, 0]:.3f}", what]
                rows.append([*row, *map(cell, gains.values()), *(f"{share:.0%}" for share in worse.values())])
            for ours, other in zip(*taken.values(), strict=True):
                met &= ours[0] >= other[0] - 2 * float(np.hypot(ours[1], other[1]))
    title = (
        f"# What AutoBSS takes of the headroom over uniform rescaling: {options.repetitions} runs, means ± standard "
        "errors\n\nPoints of accuracy, without luck. Budgets are the MACs of the uniformly rescaled codes; the "
        "headroom is the best code's accuracy less the rescaled one's. Gained: the answer's less the rescaled one's, "
        "after so many scores; worse: how many answers are worse than it."
    )
    header = ["benchmark", "uniformly rescaled", "headroom", "AutoBSS"]
    header += [*(f"gained: {n}" for n in SCORES.values()), *(f"worse: {n}" for n in SCORES.values())]
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
