"""How well supernets rank the networks of the benchmarks of widths, by principle, beside what costs less.

Each supernet is trained with several seeds and scores the same networks; truth are the table's means. A principle's
learning rate is that of three whose supernet of one more seed has networks of the highest mean accuracy, on held-out
images. Interrupted, it goes on.

    python benchmarks/supernet_ranks.py --network plain --write
"""

from __future__ import annotations

import itertools
import os
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import parser, report
from sklearn.linear_model import Ridge
from width_bench import NETWORKS as TRAININGS

from autobss_search.evaluators.tabular import Table
from autobss_search.evaluators.training import Training
from autobss_search.reports.benches import Bench, Correlations, correlate
from autobss_zoo.codes import Code
from autobss_zoo.families import get_family
from autobss_zoo.families.widths import Widths
from autobss_zoo.files import replacing

NETWORKS = {"plain": "supernets/widths", "mobilenet": "supernets/widths.mobilenet"}
METHODS: dict[str, dict[str, Any]] = {
    "unilateral": {"principle": "unilateral"},
    "bilateral": {"principle": "bilateral", "complement": False},
    "bilateral, complement": {"principle": "bilateral"},
    "bilateral, complement, iterative": {"principle": "bilateral", "iterative": True},
    "bilateral_v2, complement": {"principle": "bilateral_v2"},
    "sandwich": {"principle": "sandwich"},
}
CODES, SCORED, IMAGES = 4096, 1024, 4000
RATES, RATE_SEED, RATED = (0.03, 0.1, 0.3), 100, 64  # learning rates, and how many networks they are chosen by
FEW, DRAWS = (16, 64), 50  # single trainings that a ridge learns from, and how often they are drawn


def sample() -> np.ndarray:
    """Rows of the table that are scored."""
    return np.sort(np.random.default_rng(0).permutation(CODES)[:SCORED])


def settings(method: str, rate: float, seed: int) -> dict[str, Any]:
    """What a supernet's recipe differs in."""
    return {**METHODS[method], "learning_rate": rate, "seed": seed}


def place(folder: Path, method: str, rate: float, seed: int) -> Path:
    """Where a supernet is kept."""
    return folder / f"{method}-{rate:g}-{seed}"


def run(network: str, method: str, rate: float, seed: int, folder: Path, scored: int = SCORED) -> dict[str, Any]:
    """Train a supernet and score some of the sample: losses and accuracies, and the processor's seconds."""
    import torch

    from autobss_search.supernets.scoring import Scoring
    from autobss_zoo.training import TrainingRecipe, train

    folder = place(folder, method, rate, seed)
    kept = folder / "scores.npz"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of one that was interrupted not all seconds are known
        torch.set_num_threads(1)
        recipe: Any = TrainingRecipe.load(NETWORKS[network], settings(method, rate, seed))[0]
        start = time.process_time()
        train(recipe, folder)
        trained, scoring = time.process_time(), Scoring(recipe, folder / "last", IMAGES)
        found = np.array([scoring.score(code) for code in codes(network, sample()[:: SCORED // scored])])
        seconds = trained - start, time.process_time() - trained
        with replacing(kept) as path, path.open("wb") as file:
            np.savez(file, loss=found[:, 0], accuracy=found[:, 1], seconds=seconds)
    return dict(np.load(kept))


def best_rate(network: str, method: str, folder: Path) -> float:
    """The learning rate whose networks are the most accurate on held-out images."""
    accuracies = [run(network, method, rate, RATE_SEED, folder, RATED)["accuracy"].mean() for rate in RATES]
    return RATES[int(np.argmax(accuracies))]


def codes(network: str, rows: np.ndarray) -> list[Code]:
    """The networks of some rows of the table."""
    family, table = get_family(f"width_bench_{network}"), Table(f"widths_{network}")
    assert isinstance(family, Widths)
    return [Code(family.name, tuple(row)) for row in family.of_groups(table.codes[rows], 4).tolist()]


def training(network: str) -> Training:
    """What trains a network of the table."""
    return Training(TRAININGS[network])


def single(network: str) -> float:
    """The processor's seconds of one training of the widest network's half, the least of three."""
    recipe = training(network)
    family = get_family(f"width_bench_{network}")
    assert isinstance(family, Widths)
    code = Code(family.name, tuple(family.of_groups(np.full((1, len(family.original)), 2), 4)[0].tolist()))
    seconds = []
    for seed in range(3):
        start = time.process_time()
        recipe.score(code, seed)
        seconds.append(time.process_time() - start)
    return min(seconds)


def ridges(table: Table, n: int, truth: np.ndarray, rows: np.ndarray, bands: list[np.ndarray]) -> list[Correlations]:
    """What a ridge regression on log widths predicts that has learned from so many single trainings, several times."""
    out = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        learned = rng.permutation(len(table.scores))[:n]
        model = Ridge(1.0).fit(np.log(table.codes[learned]), rng.permuted(table.scores[learned], axis=1)[:, 0])
        out.append(correlate(model.predict(np.log(table.codes[rows])), truth, bands))
    return out


def means(each: list[Correlations]) -> list[str]:
    """The means of correlations, with their standard errors where there are several."""
    cells = []
    for kind, name in itertools.product(("overall", "equal"), ("kendall", "spearman", "pearson")):
        values = np.array([getattr(getattr(one, kind), name) for one in each])
        error = f" ± {values.std(ddof=1) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.3f}{error}")
    return cells


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--network", choices=NETWORKS, required=True)
    arguments.add_argument("--seeds", type=int, default=4)
    arguments.add_argument("--folder", type=Path, default=Path("outputs/supernet_ranks"))
    arguments.add_argument("--workers", type=int, default=os.cpu_count())
    options = arguments.parse_args()
    network, seeds = options.network, range(options.seeds)
    table, rows = Table(f"widths_{network}"), sample()
    trainings = table.scores[rows]
    bench, truth = Bench.of(table), trainings.mean(axis=1)
    bands = [np.flatnonzero(np.isin(rows, band)) for band in bench.bands]
    folder, every = options.folder / network, [(method, seed) for seed in seeds for method in METHODS]
    with ProcessPoolExecutor(options.workers) as pool:
        chosen = pool.map(best_rate, *zip(*[(network, method, folder) for method in METHODS], strict=True))
        rates = dict(zip(METHODS, chosen, strict=True))
        jobs = [(network, method, rates[method], seed, folder) for method, seed in every]
        found = dict(zip(every, pool.map(run, *zip(*jobs, strict=True)), strict=True))
    one, lines = single(network), []
    by_loss = {m: [correlate(-found[m, seed]["loss"], truth, bands) for seed in seeds] for m in METHODS}
    for method, own in by_loss.items():
        cost = f"{np.mean([found[method, seed]['seconds'][0] for seed in seeds]) / one:.0f}"
        lines.append([f"{method} (rate {rates[method]:g})", "loss", *means(own), cost])
        by_accuracy = [correlate(found[method, seed]["accuracy"], truth, bands) for seed in seeds]
        lines.append([method, "accuracy", *means(by_accuracy), cost])
    macs, logs = table.macs[rows], np.log(table.codes[rows])
    lines.append(["", "MACs", *means([correlate(macs, truth, bands)]), "0"])
    lines.append(["", "sum of log widths", *means([correlate(logs.sum(axis=1), truth, bands)]), "0"])
    others = [correlate(own, np.delete(trainings, i, axis=1).mean(axis=1), bands) for i, own in enumerate(trainings.T)]
    lines.append(["", "one training, with the mean of the others", *means(others), f"{len(table.scores):,}"])
    for n in FEW:
        lines.append(
            ["", f"ridge on log widths of {n} trainings", *means(ridges(table, n, truth, rows, bands)), str(n)]
        )
    if bench.ceiling:
        lines.append(["", "the ceiling that noise sets", *means([bench.ceiling]), ""])
    gains = [
        ours.overall.kendall - theirs.overall.kendall
        for ours, theirs in zip(by_loss["bilateral_v2, complement"], by_loss["unilateral"], strict=True)
    ]
    error = np.std(gains, ddof=1) / len(gains) ** 0.5
    title = (
        f"# Supernets of {table.path.name.partition('.')[0]}: {options.seeds} seeds, means ± standard errors\n\n"
        f"Correlations of scores with the means of three trainings, of {SCORED:,} networks at random: among all, and "
        "the mean among those of equal MACs (2.5% to both sides of nine quantiles). Costs are in trainings from "
        f"scratch of the network of half of all widths ({one:.2f} CPU seconds). Kendall's tau of bilateral_v2 is above "
        f"unilateral's by {np.mean(gains):+.3f} ± {error:.3f}, paired by seed; target: above it."
    )
    names = [f"{name}{where}" for where in ("", ", equal MACs") for name in ("Kendall", "Spearman", "Pearson")]
    script = str(Path(__file__).with_stem(f"supernet_ranks_{network}"))
    return report(script, title, ["principle", "by", *names, "cost"], lines, bool(np.mean(gains) > 0), options)


if __name__ == "__main__":
    sys.exit(main())
