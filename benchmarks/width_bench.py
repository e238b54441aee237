"""Every network of two spaces of six widths, trained from scratch with three seeds: tables of ground truth.

`--pilot` trains some codes of equal MACs and tells whether they differ by more than the noise of the mean of the seeds.
Interrupted, it goes on.

    python benchmarks/width_bench.py --network plain --pilot 60
    python benchmarks/width_bench.py --network plain --publish
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import os
from pathlib import Path

import numpy as np
from ground_truth import train_all
from machine import machine

from autobss_search.evaluators.factorial import noise_variance
from autobss_search.evaluators.training import Training
from autobss_search.reports.benches import Correlation
from autobss_zoo.codes import Code
from autobss_zoo.families import get_family
from autobss_zoo.families.widths import Widths

NETWORKS = {"plain": "bench/widths", "mobilenet": "bench/widths.mobilenet"}
CHOICES, SEEDS = 4, (0, 1, 2)
TABLES = Path(__file__).parents[1] / "search" / "autobss_search" / "tables"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--pilot", type=int, metavar="N", help="train N codes of equal MACs alone")
    parser.add_argument("--set", nargs="*", default=(), metavar="KEY=VALUE", help="of the recipe, in a pilot")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings side by side")
    parser.add_argument("--folder", type=Path, default=Path("outputs/width_bench"), help="where trainings are kept")
    parser.add_argument("--publish", action="store_true", help="write the table into the package")
    options = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    training = Training({"base": NETWORKS[options.network], **changes})
    family = get_family(training.load().code.family)
    digits = np.array([*itertools.product(range(1, CHOICES + 1), repeat=len(family.original))])
    assert isinstance(family, Widths)
    codes = family.of_groups(digits, CHOICES)
    cost = family.cost(codes, training.setting)
    name = options.network
    if options.pilot:
        rows = equal(cost.macs, options.pilot)
        digits, codes = digits[rows], codes[rows]
        name = "-".join([name, "pilot", *options.set])
    texts = [Code(family.name, tuple(code)) for code in codes.tolist()]
    wanted = [(code, seed) for seed in SEEDS for code in texts]
    found = train_all(training, wanted, options.folder / f"{name}.jsonl", options.workers)
    scores = np.array([[found[str(code), seed] for seed in SEEDS] for code in texts])
    noise = noise_variance(scores) / len(SEEDS)
    true = max(0.0, scores.mean(axis=1).var(ddof=1) - noise)
    print(f"spread of codes {true**0.5:.3f}, noise of a mean of {len(SEEDS)} trainings {noise**0.5:.3f}")
    print(f"Kendall's tau of two seeds {Correlation.of(scores[:, 0], scores[:, 1]).kendall:.2f}; {machine()}")
    if options.publish:
        entries = {
            "".join(map(str, key)): {"acc": own, "flops": int(macs), "params": int(params)}
            for key, own, macs, params in zip(digits.tolist(), scores.tolist(), cost.macs, cost.params, strict=True)
        }
        TABLES.mkdir(exist_ok=True)
        with lzma.open(TABLES / f"widths_{options.network}.json.xz", "wt", preset=9) as file:
            json.dump(entries, file)


def equal(macs: np.ndarray, n: int) -> np.ndarray:
    """Rows of some codes, at random among those of 0.97 to 1 times half of the largest MACs."""
    half = macs.max() / 2
    return np.random.default_rng(0).permutation(np.flatnonzero((macs >= 0.97 * half) & (macs <= half)))[:n]


if __name__ == "__main__":
    main()
