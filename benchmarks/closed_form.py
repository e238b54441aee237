"""How many codes a second the closed form counts, on one core. Target: a million."""

import statistics
import sys
import time

import numpy as np
from machine import parser, report

from autobss_zoo.codes import get_layout
from autobss_zoo.families import FAMILIES

TARGET, CODES, ROUNDS = 1e6, 1_000_000, 5


def main() -> int:
    options = parser(__doc__).parse_args()
    generator = np.random.default_rng(0)
    rows, met = [], True
    for name, family in FAMILIES.items():
        upper = np.array([{"C": 1024, "L": 16, "B": 512, "T": 6}[element[0]] for element in get_layout(name).names])
        codes = generator.integers(4, upper + 1, (CODES, len(upper)))
        times = []
        for _ in range(ROUNDS):
            start = time.process_time()  # of all threads: with more than one core at work this would show
            family.cost(codes)
            times.append(time.process_time() - start)
        speed = CODES / statistics.median(times)
        met &= speed >= TARGET
        rows.append([name, f"{speed / 1e6:.1f} million"])
    title = f"MACs and parameters in closed form, medians of {ROUNDS} runs"
    return report(__file__, title, ["family", "codes a second"], rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
