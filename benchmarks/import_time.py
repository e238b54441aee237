"""Time of `import autobss_zoo` beside that of `import timm`, in fresh interpreters. Target: under 1.3x."""

import statistics
import subprocess
import sys
import time

from machine import parser, report

TARGET, ROUNDS = 1.3, 9


def seconds(module: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - start


def main() -> int:
    options = parser(__doc__).parse_args()
    modules = ("timm", "autobss_zoo")
    for module in modules:
        seconds(module)  # warms the file cache
    timm, ours = zip(*[[seconds(module) for module in modules] for _ in range(ROUNDS)], strict=True)
    ratio = statistics.median(b / a for a, b in zip(timm, ours, strict=True))
    rows = [[f"{statistics.median(timm):.2f} s", f"{statistics.median(ours):.2f} s", f"{ratio:.2f}"]]
    header = ["import timm", "import autobss_zoo", "ratio"]
    return report(__file__, f"Import time, medians of {ROUNDS} alternated runs", header, rows, ratio < TARGET, options)


if __name__ == "__main__":
    sys.exit(main())
