"""The command's verb bench."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from ..console import add_verb, print_rich


def add_commands(commands: Any) -> None:
    """Add the verb to argparse's subparsers."""
    verb = add_verb(commands, "bench", _bench, "show what a benchmark of trainings can tell of search methods")
    verb.add_argument(
        "table", metavar="BENCHMARK", help="a .json or .json.xz such as Channel-Bench-Macro's, or a shipped one's name"
    )
    verb.add_argument("--plot", metavar="OUT.png", help="also draw its distributions (png, svg or pdf)")
    verb.add_argument("--json", action="store_true", help="print JSON")


def _bench(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import check_output

    from ..reports.benches import BAND, Bench, open_benchmark, plot_bench

    if arguments.plot:
        check_output(arguments.plot)
    bench = Bench.of(open_benchmark(arguments.table))
    if arguments.plot:
        plot_bench(bench, arguments.plot)
    correlations = {**bench.of_figures, **({"the true accuracy": bench.ceiling} if bench.ceiling else {})}
    if arguments.json:
        print(json.dumps(_facts(bench, correlations), indent=2))
        return 0
    lengths, least, most = bench.benchmark.lengths, bench.trainings.min(), bench.trainings.max()
    whole = f"{math.prod(lengths):,} codes of {len(lengths)} positions"
    each = f"{most}" if least == most else f"{least} to {most}"
    print(f"{arguments.table}: {len(bench.rows):,} of {whole}, {each} trainings each")
    for name, values in bench.distributions.items():
        low, middle, high = np.quantile(values, [0, 0.5, 1])
        print(f"{name}: {low:,.6g} to {high:,.6g}, median {middle:,.6g}, standard deviation {values.std():,.4g}")
    if bench.ceiling:
        share = bench.noise_of_means**2 / bench.accuracy.var()
        print(
            f"one training's standard deviation: {bench.noise:.3f}; that of a mean of {each}: "
            f"{bench.noise_of_means:.3f}, {share:.1%} of the variance of the codes' means"
        )
    else:
        print("codes have one training each: the noise, and the ceiling that it sets, are unknown")
    from rich.table import Table as Rows

    rows = Rows("correlation with the mean accuracy", box=None)
    for column in ("Pearson", "Spearman", "Kendall", "Pearson", "Spearman", "Kendall", "from", "to"):
        rows.add_column(column, justify="right")
    for name, own in correlations.items():
        cells = [*vars(own.overall).values(), *vars(own.equal).values(), own.least, own.most]
        rows.add_row(name, *(f"{value:.3f}" for value in cells))
    print_rich(rows)
    sizes = [len(band) for band in bench.bands]
    print(
        f"First among all; then among those of equal MACs: the mean of {len(sizes)} bands of {1 - BAND:.1%} to "
        f"{1 + BAND:.1%}, {min(sizes, default=0):,} to {max(sizes, default=0):,} codes each."
    )
    if bench.ceiling:
        print("The true accuracy's is the ceiling of any predictor: what the noise of the table's trainings leaves.")
    for room in bench.headrooms:
        print(
            f"uniform rescaling to {room.share:.0%} of the largest MACs: {room.uniform}, {room.macs:,.6g} MACs, "
            f"{room.accuracy:.3f}; the best of as many is {room.points:.3f} better, without luck"
        )
    return 0


def _facts(bench: Any, correlations: dict[str, Any]) -> dict[str, Any]:
    quantiles = (0, 0.25, 0.5, 0.75, 1)
    return {
        "codes": len(bench.rows),
        "lengths": bench.benchmark.lengths,
        "trainings": int(bench.trainings.max()),
        "distributions": {
            name: dict(zip(map(str, quantiles), np.quantile(values, quantiles).tolist(), strict=True))
            for name, values in bench.distributions.items()
        },
        "noise": bench.noise if bench.ceiling else None,
        "correlations": {name: asdict(each) for name, each in correlations.items()},
        "headrooms": [
            {"share": h.share, "uniform": str(h.uniform), "macs": h.macs, "accuracy": h.accuracy, "best": h.best}
            for h in bench.headrooms
        ],
    }
