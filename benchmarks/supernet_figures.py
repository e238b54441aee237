"""Small versions of BCNetV2's Figures 4, 6, 8 and 10, on a benchmark of widths.

Figure 4: accuracies of the networks that NSGA-II scores from a random and from the prior population. Figure 10: the
answer's accuracy by how many networks are scored, also of the prior population alone. Both are read from the supernets
of supernet_search.py and from the table. Figures 6 and 8: the answer's accuracy by the number of groups, and by the
base width of BCNet and of BCNetV2; these supernets are trained, searched and their answers trained here. Interrupted,
it goes on.

    python benchmarks/supernet_figures.py --network plain --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
import json
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import parser, report
from search_grounds import budgets, load
from search_peers import cell
from supernet_ranks import IMAGES, NETWORKS, training
from supernet_search import POPULATION, SEEDS, evolved, learned, supernet, supernets

from autobss_search.evaluators.supernet import SupernetScore
from autobss_search.supernets.prior import prior_population
from autobss_zoo.codes import Code
from autobss_zoo.files import write_atomically
from autobss_zoo.plots import COLOURS, save

REPETITIONS = 12
NUMBERS = (20, 40, 80, 120, 160, 200)
GROUPS, BASES, OF = (4, 6, 8), (1, 2, 3, 4), 8  # the last ones of Figure 8
TRAININGS = 8  # of an answer
Panel = tuple[str, str, tuple[int, ...], dict[str, np.ndarray]]
"""A figure's number, what its places are, these, and curves: values of shape (places, repetitions)."""


def searched(network: str, fraction: float, first: str, repetition: int) -> list[float]:
    """The true accuracies of the answers after so many scores, of each of NUMBERS, and then of all that is scored."""
    warnings.simplefilter("ignore")  # of few candidates
    source = f"widths_{network}"
    ground, own = load(source, fraction), supernet(network, repetition % SEEDS)
    table, truth, rng = ground.table, ground.truth, np.random.default_rng(repetition)
    assert table
    assert truth

    def score(code: Code) -> float:
        return float(own.scores[table.index(code)])

    population = [] if first == "random" else prior_population(ground.space, learned(ground, own), NUMBERS[-1], rng)
    if first == "prior only":
        codes = population
    else:
        codes = [o.code for o in evolved(ground.space, repetition, score, population[:POPULATION])]
    answers = [max(codes[:n], key=score) for n in NUMBERS]
    return truth.means([*answers, *codes]).tolist()


def trained(network: str, groups: int, base: int, principle: str, seed: int, macs: float, folder: Path) -> list[float]:
    """Train a supernet of some groups, search it, and train its answer several times: accuracies."""
    kept = folder / f"{groups}-{base}-{principle}-{seed}"
    if not (kept / "answer.json").exists():
        import torch

        torch.set_num_threads(1)
        space = {"family": f"width_bench_{network}", "W": {"groups": groups, "low": base}, "budget": {"macs": macs}}
        settings: dict[str, Any] = {"base": NETWORKS[network], "space": space, "principle": principle, "seed": seed}
        evaluator = SupernetScore(settings, str(kept), images=IMAGES)
        evaluator.prepare()
        own = evaluator.make_space(None, {})
        first = evaluator.prior(own, POPULATION, seed)
        known = evolved(own, seed, lambda code: evaluator.score(code, 0), first)
        answer = max(known, key=lambda o: o.value or 0.0).code
        scores = [training(network).score(answer, each) for each in range(TRAININGS)]
        write_atomically(kept / "answer.json", json.dumps({"code": str(answer), "scores": scores}).encode())
    return json.loads((kept / "answer.json").read_text(encoding="utf-8"))["scores"]


def curves(run: Callable[..., list[float]], settings: list[tuple[Any, ...]], network: str) -> list[list[float]]:
    """What runs of all settings give."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(run, *zip(*((network, *setting) for setting in settings), strict=True)))


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--network", choices=NETWORKS, required=True)
    arguments.add_argument("--seeds", type=int, default=3, help="supernets of each place of Figures 6 and 8")
    arguments.add_argument("--folder", type=Path, default=Path("outputs/supernet_figures"))
    options = arguments.parse_args()
    network, source = options.network, f"widths_{options.network}"
    fraction = [*budgets(source)][-1]
    macs, folder = load(source, fraction).space.constraints[0].upper, options.folder / network
    supernets(network)

    firsts = ("random", "prior", "prior only")
    found = curves(searched, [(fraction, *job) for job in itertools.product(firsts, range(REPETITIONS))], network)
    runs = {first: found[i * REPETITIONS : (i + 1) * REPETITIONS] for i, first in enumerate(firsts)}
    scored = {first: [np.array(run[len(NUMBERS) :]) for run in runs[first]] for first in firsts[:2]}
    by_number = {first: np.array([run[: len(NUMBERS)] for run in own]).T for first, own in runs.items()}

    seeds = range(options.seeds)
    of_groups = [(k, k // 4, "bilateral_v2") for k in GROUPS]
    of_bases = [(OF, base, p) for p in ("bilateral", "bilateral_v2") for base in BASES]
    found = curves(trained, [(*place, seed, macs, folder) for place in of_groups + of_bases for seed in seeds], network)
    answers = np.array(found).mean(axis=1).reshape(-1, options.seeds)
    by_group = {"BCNetV2": answers[: len(GROUPS)]}
    by_base = dict(zip(("BCNet", "BCNetV2"), np.split(answers[len(GROUPS) :], 2), strict=True))

    rows = [
        ["4", f"what is scored, {first}", "", cell(np.array([[*map(np.mean, own)]]))] for first, own in scored.items()
    ]
    panels: list[Panel] = [
        ("10", "scored", NUMBERS, by_number),
        ("6", "groups", GROUPS, by_group),
        ("8", f"base width, of {OF}", BASES, by_base),
    ]
    for figure, name, places, curve in panels:
        for what, own in curve.items():
            rows += [
                [figure, what, f"{name}: {place}", cell(each[None])] for place, each in zip(places, own, strict=True)
            ]
    if options.write:
        path = Path(__file__).parent / "results" / f"supernet_figures_{network}.png"
        plot(scored, panels, path)
    title = (
        f"# BCNetV2's Figures 4, 6, 8 and 10 on width_bench_{network}\n\nAccuracies within {macs:,.0f} MACs, means ± "
        f"standard errors. Figures 4 and 10: without luck, by the table's smooth fit, {REPETITIONS} searches on "
        f"{SEEDS} supernets. Figures 6 and 8: means of {TRAININGS} trainings of answers, {options.seeds} supernets; "
        f"the base width of Figure 6 is a quarter, rounded down."
    )
    script = str(Path(__file__).with_stem(f"supernet_figures_{network}"))
    return report(script, title, ["figure", "what", "where", "accuracy"], rows, True, options)


def plot(scored: dict[str, list[np.ndarray]], panels: list[Panel], path: Path) -> None:
    """The four figures side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.6), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(panels))
    every = {name: np.concatenate(own) for name, own in scored.items()}
    ends = [edge(own) for edge, own in itertools.product((np.min, np.max), every.values())]
    bins = np.linspace(min(ends), max(ends), 40).tolist()
    for (name, own), colour in zip(every.items(), COLOURS, strict=False):
        first.hist(own, bins, color=colour, alpha=0.6, label=f"{name} population")
    first.set(title="Figure 4", xlabel="accuracy of what is scored", ylabel="networks")
    for axes, (number, name, places, curve) in zip(others, panels, strict=True):
        for (what, values), colour in zip(curve.items(), COLOURS, strict=False):
            error = values.std(axis=1, ddof=1) / values.shape[1] ** 0.5
            axes.errorbar(places, values.mean(axis=1), error, color=colour, label=what, capsize=2, marker="o")
        axes.set(title=f"Figure {number}", xlabel=name, ylabel="the answer's accuracy")
    for axes in (first, *others):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
