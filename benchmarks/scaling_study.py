"""ScaleNet's search on two cores, on Fashion-MNIST: what hierarchical sampling and a joint search are worth.

With each of several seeds super-supernets are trained by hierarchical sampling, by uniform sampling, and with weights
that operations share. Their scores are compared with MACs, as in ScaleNet's Table 4, and with trainings from scratch of
networks of equal MACs. On the hierarchical ones a base and its strategies are searched jointly (MCEA); the base that is
best alone is scaled by compound scaling, and random bases by random strategies. The networks of each scaling stage, and
one more that each one's law extrapolates to, are trained from scratch. Interrupted, it goes on.

    python benchmarks/scaling_study.py --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import machine, parser
from trainings import accuracies, mean

from autobss_search.evaluators.supernet import SupernetScore
from autobss_search.reports.benches import Correlation
from autobss_search.searchers import MCEA, NSGA2, Searcher
from autobss_search.spaces import Space, load_space
from autobss_search.spaces.scaling import Scaling, find_scaling, scaled
from autobss_search.studies.study import Study
from autobss_zoo import Code
from autobss_zoo.families import get_family
from autobss_zoo.files import replacing, write_atomically
from autobss_zoo.scaling import Strategy, at_budget, fit

SUPERNETS: dict[str, dict[str, Any]] = {
    "hierarchical": {},
    "uniform": {"hierarchical": False},
    "hierarchical, operations share": {"share_operations": True},
}
STAGES = 2  # that are searched; one more is extrapolated
COMPOUND = Strategy(1.2, 1.1, 1.15)  # EfficientNet's, of twice the MACs
CLOSE: dict[str, Any] = {"tolerance": 0.08}  # of what a stage costs, so that methods are compared at nearly equal MACs
BAND = 0.025  # how far MACs may be from each other to be called equal


class Scale(NamedTuple):
    """How much is done.

    Attributes:
        supernet, training: What the recipes of super-supernets and of trainings from scratch differ in.
        scored: Networks that each super-supernet scores, for Table 4.
        images: That scores are taken of.
        equal: Networks of equal MACs that are trained from scratch.
        search: MCEA's sizes.
        seeds: Of super-supernets and searches.
        trainings: From scratch of each answer.
    """

    supernet: dict[str, Any]
    training: dict[str, Any]
    scored: int
    images: int
    equal: int
    search: dict[str, Any]
    seeds: int
    trainings: int


FULL = Scale(
    {"train_images": 20000, "epochs": 6, "batch_size": 64, "learning_rate": 0.2, "holdout": 0.05},
    {"train_images": 12000, "epochs": 2},
    400, 1000, 16, {**CLOSE, "bases": 5, "iterations": 2, "population": 10, "generations": 4}, 3, 2,
)  # fmt: skip
SMOKE = Scale(
    {"train_images": 600, "epochs": 1, "batch_size": 64, "learning_rate": 0.2, "holdout": 0.01},
    {"train_images": 300, "epochs": 1},
    12, 60, 3, {**CLOSE, "bases": 2, "iterations": 1, "population": 3, "generations": 2}, 1, 1,
)  # fmt: skip

TRAINING = "small/fashion_mnist.resnet_quick"
BASE = "scalenet_tiny"


def scaling() -> Scaling:
    """What bases are scaled by."""
    return find_scaling(BASE).up_to(STAGES)


def rules() -> dict[str, Any]:
    """The space of scaled codes, counted with these images."""
    stages = scaling().stages
    widths, sides = ({value for stage in stages for value in getattr(stage, name)} for name in ("width", "side"))
    return {
        "base": f"{BASE}_scaled",
        "W": {"choices": sorted(round(1000 * width) for width in widths)},
        "R": {"choices": sorted(sides)},
        "in_chans": 1,
        "num_classes": 10,
        "budget": {"macs": "0.97x..1.03x"},
    }


def space() -> Space:
    """Of scaled codes."""
    return load_space(rules())


def macs(code: Code) -> int:
    """Multiply-accumulates for one image."""
    counted = space().constraints[0].function
    return int(np.asarray(counted(np.array([code.values])))[0])


def evaluator(kind: str, seed: int, scale: Scale, folder: Path) -> SupernetScore:
    """The scores of a super-supernet."""
    recipe = {
        "base": f"supernets/{BASE}", "space": rules(), "scaling": scaling().describe(), "seed": seed,
        **SUPERNETS[kind], **scale.supernet,
    }  # fmt: skip
    return SupernetScore(recipe, str(folder / f"{kind}-{seed}"), images=scale.images)


def sample(n: int) -> list[Code]:
    """Networks of all stages, equally many of each on the mean, the same for all super-supernets."""
    rng, bases = np.random.default_rng(0), scaling().bases(space().under())
    rows = rng.integers(0, bases.lengths, (n, bases.ndim))
    return list(dict.fromkeys(scaled(space(), bases.decode(rows), scaling().drawn(n, rng))))


def alike(n: int) -> list[Code]:
    """Networks of the first stage of equal MACs."""
    rng, searcher = np.random.default_rng(1), MCEA(space(), scaling=scaling().describe(), **CLOSE)
    middle = 2 * macs(space().code(get_family(f"{BASE}_r").original))
    out: dict[Code, None] = {}
    while len(out) < n:
        base = random_base(searcher, rng)
        near = [code for code in searcher.admitted(base, 1) if abs(macs(code) / middle - 1) <= BAND]
        if near:
            out[near[rng.integers(len(near))]] = None
    return list(out)


def random_base(searcher: MCEA, rng: np.random.Generator) -> Code:
    """A base under the budget that each stage has a strategy for."""
    bases = searcher.bases
    while True:
        rows = rng.integers(0, bases.lengths, (64, bases.ndim))
        for base in bases.decode(rows[bases.feasible(rows)]):
            if all(searcher.admitted(base, stage) for stage in range(1, STAGES + 1)):
                return base


def scores(kind: str, seed: int, scale: Scale, folder: Path) -> dict[str, np.ndarray]:
    """What a super-supernet, which is trained where there is none, says of the sample and of networks of equal MACs."""
    from autobss_search.supernets.scoring import Scoring

    own = evaluator(kind, seed, scale, folder)
    kept = folder / f"{kind}-{seed}" / "scores.npz"
    if not kept.exists():
        own.prepare()
        scoring = Scoring(own.load(), own.folder / "last", scale.images)
        found = {name: [scoring.score(code) for code in codes] for name, codes in both(scale).items()}
        with replacing(kept) as path, path.open("wb") as file:
            np.savez(file, sample=np.array(found["sample"]), alike=np.array(found["alike"]))
    return dict(np.load(kept))


def both(scale: Scale) -> dict[str, list[Code]]:
    """The networks that super-supernets are judged by."""
    return {"sample": sample(scale.scored), "alike": alike(scale.equal)}


def searched(name: str, searcher: Searcher, own: SupernetScore, folder: Path, rounds: int, batch: int) -> list[Code]:
    """The answers of a search on a super-supernet."""
    with Study(folder / name, searcher, own, rounds=rounds, batch=batch) as study:
        study.run()
        return study.recommendations()


class Answer(NamedTuple):
    """A base, its versions of each stage and of one more, and their mean score in the search."""

    codes: list[str]
    score: float
    scored: int


def compound(stage: float) -> Strategy:
    """EfficientNet's compound scaling to 2^stage times the MACs."""
    return Strategy(*(value**stage for value in vars(COMPOUND).values()))


def nearest(searcher: MCEA, base: Code, stage: int) -> Strategy:
    """The admitted strategy that is nearest to compound scaling's, by the logarithms of its multipliers."""
    wanted = np.log([*vars(compound(stage)).values()])
    admitted = searcher.admitted(base, stage).values()
    return min(admitted, key=lambda s: float(np.square(np.log([*vars(s).values()]) - wanted).sum()))


def extrapolated(base: Code, law: Callable[[float], Strategy]) -> Code:
    """The network of one more stage, of what that should cost."""
    return at_budget(base, 2.0 ** (STAGES + 1) * macs(base), law, own_setting()).code


def own_setting() -> Any:
    """What networks are counted with."""
    return space().constraints[0].function.counted.setting  # type: ignore[attr-defined]


def answers(seed: int, scale: Scale, folder: Path) -> dict[str, Answer]:
    """What each method finds on a super-supernet that was trained hierarchically."""
    kept = folder / f"answers-{seed}.json"
    if kept.exists():
        return {name: Answer(**each) for name, each in json.loads(kept.read_text()).items()}
    own, studies = evaluator("hierarchical", seed, scale, folder), folder / f"hierarchical-{seed}"
    stages, rng = range(1, STAGES + 1), np.random.default_rng([7, seed])

    def judged(base: Code, strategies: Sequence[Strategy], law: Callable[[float], Strategy] | None, n: int) -> Answer:
        networks = scaled(space(), [base] * STAGES, strategies)
        law = law or fit(strategies)
        every = [base, *networks, extrapolated(base, law)]
        return Answer([*map(str, every)], float(np.mean([own.score(code, 0) for code in networks])), n)

    out = {}
    for search in ("nsga2", "autobss"):
        searcher = MCEA(space(), seed=seed, scaling=scaling().describe(), search=search, **scale.search)
        with Study(studies / search, searcher, own, rounds=1000, batch=50) as study:
            study.run()
            best = max(searcher.history(r.observation for r in study.records), key=lambda each: each.value)
            out[search] = judged(best.base, best.strategies, None, len(study.records))
    size = scale.search["population"]
    rounds = scale.search["generations"] * scale.search["iterations"]
    alone = NSGA2(searcher.bases, seed=seed, population=size, tournament=min(10, size))
    (base,) = searched("alone", alone, own, studies, rounds, size)
    if not all(searcher.admitted(base, stage) for stage in stages):
        raise RuntimeError(f"{base} admits no strategies")
    out["compound"] = judged(base, [nearest(searcher, base, stage) for stage in stages], compound, rounds * size)
    base = random_base(searcher, rng)
    each = [[*searcher.admitted(base, stage).values()] for stage in stages]
    out["random"] = judged(base, [own[rng.integers(len(own))] for own in each], None, 0)
    write_atomically(kept, json.dumps({name: answer._asdict() for name, answer in out.items()}).encode())
    return out


METHODS = {
    "nsga2": "base and strategies jointly (MCEA)",
    "autobss": "the same, bases by AutoBSS",
    "compound": "the base best alone, compound scaling",
    "random": "random base and strategies",
}
TRAINED = ("nsga2", "compound", "random")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def correlations(found: dict[tuple[str, int], dict[str, np.ndarray]], truth: list[float], scale: Scale) -> list[str]:
    """Of super-supernets' scores with MACs, and at equal MACs with trainings."""
    cost, rows = np.array([macs(code) for code in sample(scale.scored)]), []
    equal: dict[str, list[float]] = {}
    for kind in SUPERNETS:
        own = [found[kind, seed] for seed in range(scale.seeds)]
        with_macs = [Correlation.of(each["sample"][:, 1], cost) for each in own]
        equal[kind] = [Correlation.of(-each["alike"][:, 0], np.array(truth)).kendall for each in own]
        by = {name: [getattr(each, name) for each in with_macs] for name in ("pearson", "spearman", "kendall")}
        level = mean([float(each["sample"][:, 1].mean()) for each in own])
        rows.append([kind, *(mean(values, 3) for values in by.values()), level, mean(equal[kind], 3)])
    header = ["trained", "Pearson", "Spearman", "Kendall", "mean accuracy, %", "Kendall at equal MACs, with trainings"]
    first, *others = SUPERNETS
    gains = [f"{other} {mean([a - b for a, b in zip(equal[first], equal[other], strict=True)], 3)}" for other in others]
    return [
        f"Validation accuracies of {len(cost)} networks by super-supernets of {scale.seeds} seeds, with their MACs (as "
        f"ScaleNet's Table 4), and their losses with the accuracies of {len(truth)} networks of equal MACs "
        f"(within {BAND:.1%}) that were trained from scratch; means with 95% intervals. By how much tau at "
        f"equal MACs of the first is above that of the others: {', '.join(gains)}.",
        "",
        *table(header, rows),
    ]


def networks(found: list[dict[str, Answer]], trained: dict[Code, list[float]], scale: Scale) -> tuple[list[str], bool]:
    """The trained networks by method and stage; and whether the joint search's are the best on the mean."""
    rows, means = [], {}
    parse = space().parse
    for method in TRAINED:
        cells = []
        for stage in range(STAGES + 2):
            codes = [parse(each[method].codes[stage]) for each in found]
            values = [float(np.mean(trained[code])) for code in codes]
            means[method, stage] = values
            cells.append(f"{mean(values)} ({np.mean([macs(code) for code in codes]) / 1e6:.2f}M)")
        rows.append([METHODS[method], *cells])
    for other in TRAINED[1:]:
        gains = [
            [a - b for a, b in zip(means["nsga2", stage], means[other, stage], strict=True)]
            for stage in range(STAGES + 2)
        ]
        rows.append([f"joint over {other}", *map(mean, gains)])
    header = ["found by", *(f"stage {stage}" for stage in range(STAGES + 1)), f"stage {STAGES + 1}, extrapolated"]
    searched_rows = [
        [
            what,
            mean([each[method].score for each in found], 4),
            f"{np.mean([each[method].scored for each in found]):.0f}",
        ]
        for method, what in METHODS.items()
    ]
    top = {method: np.mean([means[method, stage] for stage in range(1, STAGES + 1)]) for method in TRAINED}
    lines = [
        "Mean scores (negative losses) of the stages' networks on the super-supernets, and how many were asked for:",
        "",
        *table(["found by", "mean score", "scores"], searched_rows),
        f"Test accuracies of trainings from scratch, {scale.trainings} of each answer of {scale.seeds} searches, in "
        "percent, with mean MACs; 95% intervals are over the searches:",
        "",
        *table(header, rows),
    ]
    return lines, bool(top["nsga2"] >= max(top.values()))


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--smoke", action="store_true", help="the smallest run, to see that it runs")
    arguments.add_argument("--folder", type=Path, default=Path("outputs/scaling_study"))
    arguments.add_argument("--workers", type=int, default=2, help="side by side (2)")
    options = arguments.parse_args()
    scale = SMOKE if options.smoke else FULL
    folder, seeds = options.folder / ("smoke" if options.smoke else "full"), range(scale.seeds)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(kind, seed) for seed in seeds for kind in SUPERNETS]
    with ProcessPoolExecutor(options.workers) as pool:
        runs = [pool.submit(scores, *job, scale, folder) for job in jobs]
        found = {job: run.result() for job, run in zip(jobs, runs, strict=True)}
        asked = [pool.submit(answers, seed, scale, folder) for seed in seeds]
        each = [run.result() for run in asked]
    recipe = {"base": TRAINING, **scale.training}
    equal = accuracies(recipe, folder / "trainings", alike(scale.equal), range(1), options.workers)
    codes = [space().parse(text) for answer in each for method in TRAINED for text in answer[method].codes]
    trained = accuracies(recipe, folder / "trainings", codes, range(1, 1 + scale.trainings), options.workers)
    lines, met = networks(each, trained, scale)
    text = "\n".join(
        [
            f"# ScaleNet's search on Fashion-MNIST{' (smoke)' if options.smoke else ''}",
            "",
            f"Bases of `{BASE}` of {space().constraints[0].range.replace(' to ', '..')} MACs, {STAGES} scaling stages. "
            "Target: the networks of the joint search are the best on the mean of the stages.",
            "",
            *correlations(found, [values[0] for values in equal.values()], scale),
            *lines,
            machine(),
            "",
        ]
    )
    print(text)
    if options.write:
        path = Path(__file__).parent / "results" / "scaling_study.md"
        write_atomically(path, text.encode())
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
