"""Every network of two spaces of six widths, trained from scratch with three seeds: tables of ground truth.

`--pilot` trains some codes of equal MACs and tells whether they differ by more than the noise of the mean of the seeds;
`--again` trains a tenth of the codes with another seed and tells whether the table agrees. Interrupted, it goes on.

    python benchmarks/width_bench.py --network plain --pilot 60
    python benchmarks/width_bench.py --network plain --publish
    python benchmarks/width_bench.py --network plain --again
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path

import numpy as np
from ground_truth import card, train_all, write_compressed
from machine import machine

from autobss_search.evaluators.factorial import noise_variance
from autobss_search.evaluators.tabular import TABLES, Table
from autobss_search.evaluators.training import Training
from autobss_search.reports.benches import Bench, Correlation
from autobss_zoo.codes import Code
from autobss_zoo.families import get_family
from autobss_zoo.families.widths import Widths

NETWORKS = {"plain": "bench/widths", "mobilenet": "bench/widths.mobilenet"}
CHOICES, SEEDS = 4, (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--pilot", type=int, metavar="N", help="train N codes of equal MACs alone")
    parser.add_argument("--set", nargs="*", default=(), metavar="KEY=VALUE", help="of the recipe, in a pilot")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings side by side")
    parser.add_argument("--folder", type=Path, default=Path("outputs/width_bench"), help="where trainings are kept")
    parser.add_argument("--publish", action="store_true", help="write the table and its card into the package")
    parser.add_argument("--again", action="store_true", help="compare the published table with further trainings")
    options = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    training = Training({"base": NETWORKS[options.network], **changes})
    family = get_family(training.load().code.family)
    digits = np.array([*itertools.product(range(1, CHOICES + 1), repeat=len(family.original))])
    assert isinstance(family, Widths)
    codes = family.of_groups(digits, CHOICES)
    cost = family.cost(codes, training.setting)

    def trained(name: str, rows: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray:
        """The accuracies of codes, shape (n, seeds)."""
        texts = [Code(family.name, tuple(code)) for code in codes[rows].tolist()]
        wanted = [(code, seed) for seed in seeds for code in texts]
        found = train_all(training, wanted, options.folder / f"{name}.jsonl", options.workers)
        return np.array([[found[str(code), seed] for seed in seeds] for code in texts])

    if options.again:
        rows = np.sort(np.random.default_rng(1).permutation(len(codes))[: len(codes) // 10])
        compare(
            Table(TABLES.file(f"widths_{options.network}")).scores[rows],
            trained(f"{options.network}-again", rows, (3,)),
        )
        return
    rows = equal(cost.macs, options.pilot) if options.pilot else np.arange(len(codes))
    scores = trained("-".join([options.network, *(["pilot", *options.set] if options.pilot else [])]), rows, SEEDS)
    noise = noise_variance(scores) / len(SEEDS)
    true = max(0.0, scores.mean(axis=1).var(ddof=1) - noise)
    print(f"spread of codes {true**0.5:.3f}, noise of a mean of {len(SEEDS)} trainings {noise**0.5:.3f}")
    print(f"Kendall's tau of two seeds {Correlation.of(scores[:, 0], scores[:, 1]).kendall:.2f}; {machine()}")
    if options.publish:
        entries = {
            "".join(map(str, key)): {"acc": own, "flops": int(macs), "params": int(params)}
            for key, own, macs, params in zip(digits.tolist(), scores.tolist(), cost.macs, cost.params, strict=True)
        }
        path = TABLES.file(f"widths_{options.network}")
        write_compressed(path, entries)
        path.with_name(f"widths_{options.network}.md").write_text(
            described(options.network, family, Table(path)), encoding="utf-8"
        )


def compare(table: np.ndarray, again: np.ndarray) -> None:
    """Whether further trainings of shape (n, 1) scatter around a table's means as its own trainings do."""
    noise = noise_variance(table) ** 0.5
    gaps = (again[:, 0] - table.mean(axis=1)) / (noise * (1 + 1 / table.shape[1]) ** 0.5)
    error = len(gaps) ** -0.5
    print(
        f"{len(gaps)} codes trained again with another seed differ from the table's means by {gaps.mean():+.2f} +- "
        f"{error:.2f} of the noise of that difference, with a standard deviation of {gaps.std():.2f} of it; {machine()}"
    )


def described(network: str, family: Widths, table: Table) -> str:
    """The table's card, in Markdown."""
    bench, n, seeds = Bench.of(table), len(table.scores), len(SEEDS)
    macs, ceiling, means = bench.of_figures["MACs"], bench.ceiling, bench.accuracy
    assert ceiling is not None
    what = (
        f"All {n:,} networks of six widths with four choices each. A digit d of a key keeps ceil(d/4) of a layer's "
        f"channels in\n`{Code(family.name, family.original)}`. `acc`: accuracies in percent of trainings from scratch\n"
        f"with the seeds 0 to {seeds - 1}; `flops`: MACs; `params`: parameters."
    )
    facts = [
        f"Mean accuracies: {means.min():.2f} to {means.max():.2f}, standard deviation {means.std():.2f}. Noise of a "
        f"training: {bench.noise:.2f}; of a mean of {seeds}: {bench.noise / seeds**0.5:.2f}, "
        f"{bench.noise**2 / seeds / means.var():.1%} of the variance of the means.",
        "Kendall's tau with the means, among all codes and among codes of equal MACs: of MACs "
        f"{macs.overall.kendall:.2f} and {macs.equal.kendall:.2f}; the ceiling of any predictor, which the noise sets, "
        f"{ceiling.overall.kendall:.2f} and {ceiling.equal.kendall:.2f}.",
        "By how many points the best code is better than uniform rescaling at its MACs, without luck: "
        + ", ".join(f"{room.points:.2f} at {room.share:.0%}" for room in bench.headrooms)
        + " of the largest MACs.",
        "Trained again: `--again` trains a tenth of the codes with another seed and compares.",
    ]
    again = f"python benchmarks/width_bench.py --network {network} --publish"
    return card(f"widths_{network}", what, NETWORKS[network], facts, again)


def equal(macs: np.ndarray, n: int) -> np.ndarray:
    """Rows of some codes, at random among those of 0.97 to 1 times half of the largest MACs."""
    half = macs.max() / 2
    return np.random.default_rng(0).permutation(np.flatnonzero((macs >= 0.97 * half) & (macs <= half)))[:n]


if __name__ == "__main__":
    main()
