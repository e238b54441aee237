"""What a supernet is worth in a search, beside real trainings: regret and cost of answers on a benchmark of widths.

Supernets are those of supernet_ranks.py, of which all networks are scored once; what searches are told is read from
these scores and from the table's trainings. Interrupted, it goes on.

    python benchmarks/supernet_search.py --network plain --write

Target: with the supernet beside them, 32 trainings find as good a network as 64 do without.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import parser, report
from search_grounds import Ground, budgets, load
from search_methods import Problem, ours
from search_peers import Found, identity, measure
from supernet_ranks import CODES, IMAGES, NETWORKS, best_rate, codes, place, run, settings, single

from autobss_search import AutoBSS, Observation, Space
from autobss_search.searchers import NSGA2, Greedy
from autobss_search.spaces.uniform import uniform_code
from autobss_search.supernets.prior import prior_population
from autobss_zoo.codes import Code
from autobss_zoo.files import replacing

METHOD, SEEDS = "bilateral_v2, complement", 4  # of supernets
FOLDER = Path("outputs/supernet_ranks")
GENERATIONS, POPULATION = 10, 20
AFTER = {16: 0, 32: 1, 64: 3}  # trainings, and after which round


class Scored(NamedTuple):
    """A supernet of the benchmark.

    Attributes:
        scores: By it, of all networks of the table, shape (4096,).
        lowest: Rows of those that it learned best, and their losses.
        trained: The processor's seconds of its training.
        each: Those of a score.
    """

    scores: np.ndarray
    lowest: list[tuple[int, float]]
    trained: float
    each: float


@lru_cache
def supernet(network: str, seed: int) -> Scored:
    """A supernet that scores all networks; it is trained where there is none."""
    from autobss_search.supernets.scoring import Scoring
    from autobss_zoo.training import TrainingRecipe

    rate = best_rate(network, METHOD, FOLDER / network)
    trained = float(run(network, METHOD, rate, seed, FOLDER / network)["seconds"][0])
    folder = place(FOLDER / network, METHOD, rate, seed)
    kept, every = folder / "all.npz", codes(network, np.arange(CODES))
    if not kept.exists():
        recipe: Any = TrainingRecipe.load(NETWORKS[network], settings(METHOD, rate, seed))[0]
        start, scoring = time.process_time(), Scoring(recipe, folder / "last", IMAGES)
        losses = np.array([scoring.score(code).loss for code in every])
        with replacing(kept) as path, path.open("wb") as file:
            np.savez(file, loss=losses, seconds=time.process_time() - start)
    found = np.load(kept)
    rows = {str(code): row for row, code in enumerate(every)}
    lowest = json.loads((folder / "last" / "supernet.json").read_text(encoding="utf-8"))["lowest"]
    return Scored(
        -found["loss"], [(rows[code], loss) for code, loss in lowest], trained, float(found["seconds"]) / CODES
    )


def supernets(network: str) -> list[Scored]:
    """Those of all seeds, side by side."""
    best_rate(network, METHOD, FOLDER / network)  # which all need
    with ProcessPoolExecutor() as pool:
        return list(pool.map(supernet, [network] * SEEDS, range(SEEDS)))


def evolved(space: Space, seed: int, score: Callable[[Code], float], first: list[Code]) -> list[Observation]:
    """What NSGA-II scores, with a first generation if it is given."""
    searcher, known = NSGA2(space, seed=seed, population=POPULATION), list[Observation]()
    for generation in range(GENERATIONS):
        chosen = [] if generation else first
        if missing := POPULATION - len(chosen):
            chosen = chosen + searcher.propose(known, generation, missing, chosen)
        known += [Observation(code, score(code), generation) for code in chosen]
    return known


def learned(ground: Ground, own: Scored) -> list[tuple[Code, float]]:
    """What a supernet learned best, as codes of the table."""
    assert ground.table
    return [(ground.space.code(ground.table.codes[row].tolist()), loss) for row, loss in own.lowest]


def slimmed(space: Space, score: Callable[[Code], float]) -> Code:
    """The end of greedy slimming."""
    searcher, known = Greedy(space), list[Observation]()
    while True:
        end, near = searcher.way(known)
        if not near:
            return end
        known += [Observation(code, score(code), 0) for code in near if code not in {o.code for o in known}]


def answers(source: str, fraction: float, method: str, repetition: int) -> dict[str, list[float]]:
    """A repetition's answers: their regret without luck, and the seconds of the supernet, if it was asked."""
    warnings.simplefilter("ignore")  # of few candidates
    ground, own = load(source, fraction), supernet(source.partition("_")[2], repetition % SEEDS)
    space, table, rng = ground.space, ground.table, np.random.default_rng([repetition, int(1000 * fraction)])
    scored: dict[Code, float] = {}
    assert table

    def score(code: Code) -> float:
        return scored.setdefault(code, float(own.scores[table.index(code)]))

    if method == "uniform":
        found = [uniform_code(space)]
    elif method == "all":
        found = [max(space.decode(np.concatenate(list(space.enumerate()))), key=score)]
    elif method == "greedy":
        found = [slimmed(space, score)]
    elif method in ("nsga2", "prior"):
        first = prior_population(space, learned(ground, own), POPULATION, rng) if method == "prior" else []
        found = [max(evolved(space, repetition, score, first), key=lambda o: o.value or 0.0).code]
    else:
        make = partial(AutoBSS, hint=lambda codes: [*map(score, codes)]) if method == "hinted" else AutoBSS
        found = ours(make)(Problem(space, lambda code: ground.draw(code, rng), rng), repetition)
    seconds = own.trained + len(scored) * own.each if scored else 0.0
    return {"smooth": [ground.smooth(code) for code in found], "seconds": [seconds]}


METHODS = {
    "uniform": "uniform rescaling",
    "greedy": "greedy slimming on the supernet",
    "nsga2": "NSGA-II on the supernet, random population",
    "prior": "NSGA-II on the supernet, prior population",
    "all": "best of all networks by the supernet",
    "autobss": "AutoBSS",
    "hinted": "AutoBSS with the supernet",
}


def of_supernets(found: Found, method: str, fraction: float, answer: int) -> np.ndarray:
    """Regrets after a round, the means over the repetitions of each supernet, shape (supernets,)."""
    each = sorted((job[0], values["smooth"][answer]) for job, values in found.items() if job[1:] == (fraction, method))
    return np.array([value for _, value in each]).reshape(-1, SEEDS).mean(axis=0)


def cell(each: np.ndarray) -> str:
    """A mean with its standard error, of shape (budgets, supernets)."""
    error = each.mean(axis=0).std(ddof=1) / each.shape[1] ** 0.5
    return f"{each.mean():.3f} ± {error:.3f}" if error > 0 else f"{each.mean():.3f}"


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--network", choices=NETWORKS, required=True)
    arguments.add_argument("--repetitions", type=int, default=24, help="of each method at each budget; a multiple of 4")
    options = arguments.parse_args()
    source = f"widths_{options.network}"
    every = supernets(options.network)
    rescaled, name = budgets(source), identity(source)[0]
    jobs = [(r, share, method) for r in range(options.repetitions) for share in rescaled for method in METHODS]
    found = measure(source, jobs, Path(f"outputs/supernet_search/{name}.jsonl"), one=answers)
    one, rows, pooled, costs = single(options.network), [], {}, {}
    for method, what in METHODS.items():
        trainings = AFTER if method in ("autobss", "hinted") else {0: 0}
        costs[method] = (
            float(np.mean([values["seconds"][0] for job, values in found.items() if job[2] == method])) / one
        )
        for n, answer in trainings.items():
            each = np.array([of_supernets(found, method, share, answer) for share in rescaled])
            pooled[method, n] = float(each.mean())
            cost = f"{n + costs[method]:.0f}"
            rows.append([what, str(n), *(cell(own[None]) for own in each), cell(each), cost])
    trained = np.mean([own.trained for own in every]) / one
    title = (
        f"# What a supernet is worth on {name}: {SEEDS} supernets, {options.repetitions} repetitions\n\nRegret of the "
        "answer without luck, in points, at the MACs of the uniformly rescaled codes "
        f"({', '.join(f'`{code}`' for code in rescaled.values())}); standard errors are over the supernets. Costs "
        f"are in trainings from scratch ({one:.2f} CPU seconds): a supernet's training takes {trained:.0f}, with what "
        f"AutoBSS asks it {costs['hinted']:.0f}. {_pays(pooled, costs['hinted'])}"
    )
    header = ["search", "trainings", *(f"at {share:.2f} of the largest" for share in rescaled), "pooled", "cost"]
    script = str(Path(__file__).with_stem(f"supernet_search_{options.network}"))
    return report(script, title, header, rows, pooled["hinted", 32] <= pooled["autobss", 64], options)


def _pays(pooled: dict[tuple[str, int], float], cost: float) -> str:
    """From which length of a training on a supernet saves more than it costs."""
    whole = max(AFTER)
    enough = [n for n in AFTER if n < whole and pooled["hinted", n] <= pooled["autobss", whole]]
    if not enough:
        return f"With it, no fewer than {whole} trainings find as good a network as {whole} without."
    n = min(enough)
    return (
        f"With it, {n} trainings find as good a network as {whole} without, so that it pays where a training takes "
        f"more than {cost / (whole - n):.1f} times as long as these, and the supernet as long as here."
    )


if __name__ == "__main__":
    sys.exit(main())
