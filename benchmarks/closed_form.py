"""How many codes a second the closed form counts, on one core. Target: a million, of every family."""

import statistics
import sys
import time

import numpy as np
from machine import parser, report

from autobss_zoo.families import FAMILIES

TARGET, CODES, ROUNDS = 1e6, 1_000_000, 5
LARGEST = {"blocks": 16, "bottleneck": 512, "expansion": 6}  # of other elements 1024


def main() -> int:
    options = parser(__doc__).parse_args()
    generator = np.random.default_rng(0)
    rows, met = [], True
    for name, family in FAMILIES.items():
        upper = np.array([LARGEST.get(field.title, 1024) for field in family.fields for _ in field.names])
        codes = generator.integers(4, upper + 1, (CODES, len(upper)))
        speeds = []
        for count in (lambda: family.cost(codes), lambda: family.figure("macs", codes)):  # noqa: B023  # called here
            times = []
            for _ in range(ROUNDS):
                start = time.process_time()  # of all threads: with more than one core at work this would show
                count()
                times.append(time.process_time() - start)
            speeds.append(CODES / statistics.median(times))
        met &= speeds[0] >= TARGET
        rows.append([name, *(f"{speed / 1e6:.1f} million" for speed in speeds)])
    title = f"The cost in closed form, medians of {ROUNDS} runs"
    header = ["family", "codes a second: MACs, parameters and activations", "MACs alone"]
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
