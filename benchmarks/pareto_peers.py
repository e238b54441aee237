"""AutoBSS of a score and a cost against other searchers of fronts, on benchmarks of trainings.

Regret is the hypervolume that a method's front of 64 scores lacks, in percent of the exact front's; both without the
luck of trainings. The reference point is the bound on the cost and the score of the cheapest code of the exact front.
Target: the lowest mean regret of all, on every benchmark and for both costs.

    python benchmarks/pareto_peers.py --table widths_plain --write
    python benchmarks/pareto_peers.py --table Results_MobileNet.json --costs macs,latency --write

Latencies are predicted from a table of this machine's, which is measured first. A run that is interrupted continues
where it was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from search_grounds import Truth, load
from search_methods import Problem, optuna_sampler
from search_peers import Job, cell, identity, lines, mean_and_error, measure

from autobss_search import Constraint, Pareto, RandomSearch, Searcher, Session, Space
from autobss_search.command.cli import main as autobss
from autobss_search.evaluators.tabular import Table
from autobss_search.reports.benches import open_benchmark
from autobss_search.searchers import NSGA2
from autobss_search.searchers.front import hypervolume, layers, pareto_front
from autobss_zoo import Code, get_family
from autobss_zoo.families.widths import Widths
from autobss_zoo.latency import load_table
from autobss_zoo.plots import COLOURS, save

FOLDER = Path("outputs/pareto_peers")
SPACES = {
    "results_mobilenet": "channel_bench_mobilenet",
    "widths_mobilenet": "width_bench_mobilenet",
    "widths_plain": "width_bench_plain",
}
"""The spaces of the networks of tables, whose digits are fourths of their widths."""
ENUMERABLE = 1 << 19  # codes of spaces all of which are looked at for the exact front
CLIMBERS = 200


@dataclass(frozen=True)
class Ground:
    """A space whose budget bounds a cost, and what its codes score.

    Attributes:
        space: The codes.
        cost: The cost's name.
        draw: A score of a code, with luck.
        truth: What codes score without it.
    """

    space: Space
    cost: str
    draw: Callable[[Code, np.random.Generator], float]
    truth: Truth

    def points(self, codes: list[Code]) -> tuple[np.ndarray, np.ndarray]:
        """The costs and the scores without luck, each of shape (n,)."""
        return self.space.costs(self.space.encode(codes))[self.cost], self.truth.means(codes)

    @cached_property
    def exact(self) -> tuple[np.ndarray, np.ndarray]:
        """The points of the exact front, the cheapest first; where a space is too large, of the best that was found."""
        if self.space.reach.prod(dtype=float) <= ENUMERABLE:
            return self._front(np.concatenate(list(self.space.enumerate())))[1]
        rows, best = Pareto(self.space, self.cost).candidates, -np.inf
        while True:
            rows, points = self._front(rows, CLIMBERS)
            found = hypervolume(*points, (self._bound, -1e3))
            if found <= best:
                return points
            near = self.space.steps(np.unique(np.concatenate([rows, self.space.steps(rows)]), axis=0))
            best, rows = found, np.unique(np.concatenate([rows, near[self.space.feasible(near)]]), axis=0)

    def _front(self, rows: np.ndarray, least: int = 1) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Of some codes those of the best layers, and the points of the front."""
        cost, score = self.points(self.space.decode(rows))
        layer = layers(cost, score, least)
        front = np.flatnonzero(layer == 0)
        front = front[np.argsort(cost[front], kind="stable")]
        return rows[np.argsort(layer, kind="stable")[:least]], (cost[front], score[front])

    @property
    def _bound(self) -> float:
        return next(c.upper for c in self.space.constraints if c.name == self.cost)

    @property
    def reference(self) -> tuple[float, float]:
        """The reference point."""
        return self._bound, float(self.exact[1][0])

    def regret(self, codes: list[Code]) -> float:
        """What a front lacks of the exact one's hypervolume, in percent of it."""
        return 100 * (1 - hypervolume(*self.points(codes), self.reference) / hypervolume(*self.exact, self.reference))


@lru_cache
def ground(source: str, cost: str) -> Ground:
    """The ground of a table or surrogate, as `autobss bench` takes it, and of the cost, macs or latency."""
    base, benchmark = load(source, 1.0), open_benchmark(source)
    if base.truth is None:
        raise ValueError(f"{source}: there is no telling what its codes score without luck: {base.said}")
    if cost == "macs":
        return Ground(base.space, cost, base.draw, base.truth)
    name, device = identity(source)[0], str(device_file(source))
    if not isinstance(benchmark, Table):
        bounds = {"macs": base.space.constraints[0].upper, "latency": "1x", "device": device}
        return Ground(benchmark.make_space(None, bounds), cost, base.draw, base.truth)
    family = get_family(SPACES[name])
    assert isinstance(family, Widths)
    known = 1e3 * load_table(device).predict(family.of_groups(benchmark.codes, 4), family=family.name)
    constraint = Constraint(cost, float(known.max()), lambda codes: known[benchmark.indices(codes)])
    return Ground(base.space.under(constraint), cost, base.draw, base.truth)


def device_file(source: str) -> Path:
    """Where this machine's latencies of a benchmark's networks are kept."""
    return FOLDER / f"{identity(source)[0]}.device.json"


def build_device(source: str) -> None:
    """Measure this machine's latencies of a benchmark's networks, unless they are there."""
    name, path = identity(source)[0], device_file(source)
    if path.exists():
        return
    options = ["--num-classes", "10"]
    if name != "results_mobilenet":  # whose images have three channels; those of 7 pixels take no time but in batches
        options += ["--in-chans", "1", "--input-size", "7", "--batch", "64"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if autobss(["latency", "build", "--space", SPACES.get(name, name), "-o", f"{path}.part", *options]):
        raise SystemExit(1)
    Path(f"{path}.part").rename(path)


Method = Callable[[Problem, int], list[Code]]
"""Spends the problem's scores and returns the codes of its front."""


def ours(make: Callable[..., Searcher]) -> Method:
    """Our searchers, made of a space, a cost and a seed."""

    def method(problem: Problem, seed: int) -> list[Code]:
        session = Session(make(problem.space, cost=problem.cost, seed=seed))
        for n in problem.batches:
            for code in session.ask(n):
                session.tell(code, problem.score(code))
        return session.searcher.front(session.observations)

    return method


def botorch(problem: Problem, seed: int, reference: tuple[float, float]) -> list[Code]:
    """qLogNEHVI of BoTorch over our candidates: its default model of the score, the cost as an exact function.

    It is told the reference point that it is judged by. Its front is that of posterior means.
    """
    import torch
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.acquisition.multi_objective.objective import MCMultiOutputObjective
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf_discrete
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    logging.getLogger("botorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    space, cost = problem.space, str(problem.cost)
    rows = Pareto(space, cost, seed=seed).candidates
    lengths = torch.tensor(np.maximum(space.lengths - 1, 1))
    choices, codes = torch.tensor(rows) / lengths.double(), space.decode(rows)
    chosen = np.random.default_rng(seed).choice(len(rows), min(problem.batch, len(rows)), replace=False).tolist()
    y = [problem.score(codes[i]) for i in chosen]

    class ScoreAndCost(MCMultiOutputObjective):
        def forward(self, samples: Any, X: Any = None) -> Any:  # noqa: N803  # BoTorch's name
            rows = (X * lengths).round().long().reshape(-1, space.ndim).numpy()
            costs = torch.tensor(space.costs(rows)[cost] / reference[0]).reshape(X.shape[:-1])
            return torch.stack([samples[..., 0], -costs.expand(samples.shape[:-1])], dim=-1)

    def fitted() -> SingleTaskGP:
        scores = torch.tensor(y, dtype=torch.float64)[:, None]
        model = SingleTaskGP(choices[chosen], scores, outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    for n in problem.batches[1:]:
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            fitted(),
            ref_point=[reference[1], -1.0],
            X_baseline=choices[chosen],
            objective=ScoreAndCost(),
            sampler=SobolQMCNormalSampler(torch.Size([64]), seed=seed),
            prune_baseline=True,
        )
        left = np.setdiff1d(np.arange(len(rows)), chosen)
        with torch.no_grad():
            picked, _ = optimize_acqf_discrete(acquisition, q=n, choices=choices[left], max_batch_size=1024)
        where = {tuple(row): i for i, row in enumerate(choices.tolist())}
        new = [where[tuple(row)] for row in picked.tolist()]
        chosen += new
        y += [problem.score(codes[i]) for i in new]
    final = fitted()
    with torch.no_grad():
        means = final.posterior(choices[chosen]).mean[:, 0].tolist()
    return problem.answer({codes[i]: mean for i, mean in zip(chosen, means, strict=True)})


METHODS: dict[str, tuple[str, Method]] = {
    "autobss": ("**AutoBSS**, `Pareto`", ours(Pareto)),
    "random": ("random search", ours(RandomSearch)),
    "nsga2": ("NSGA-II, ours", ours(NSGA2)),
    "optuna-nsga2": ("Optuna NSGA-II", optuna_sampler("nsga2", 20)),
    "gp": ("Optuna GP", optuna_sampler("gp", 5)),
}
BOTORCH = {"qlognehvi": "BoTorch qLogNEHVI, our candidates"}  # which is told the reference point
NAMES = {**{name: what for name, (what, _) in METHODS.items()}, **BOTORCH}


def run(source: str, fraction: float, method: str, repetition: int, cost: str) -> dict[str, Any]:
    """One repetition: the codes of the method's front, their regret, and its seconds."""
    warnings.simplefilter("ignore")
    found, rng = ground(source, cost), np.random.default_rng([repetition, 1000])
    problem = Problem(found.space, lambda code: found.draw(code, rng), rng, cost=cost)
    spend = partial(botorch, reference=found.reference) if method in BOTORCH else METHODS[method][1]
    start = time.perf_counter()
    front = spend(problem, repetition)
    seconds = time.perf_counter() - start
    if len(problem.drawn) > problem.budget or any(code not in problem.drawn for code in front):
        raise AssertionError(f"{method}: {len(problem.drawn)} scores, a front of {len(front)} codes")
    return {"regret": [found.regret(front)], "seconds": [seconds], "front": [str(code) for code in front]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="a table or surrogate, as `autobss bench` takes it")
    parser.add_argument("--costs", default="macs,latency", help="(macs,latency)")
    parser.add_argument(
        "--methods", default=",".join(NAMES), help="comma-separated; all when left out; gp:10 has ten repetitions"
    )
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--workers", type=int)
    parser.add_argument(
        "--write", action="store_true", help="also write benchmarks/results/pareto_peers_<table>.md, .png"
    )
    parser.add_argument("--check", action="store_true", help="fail if AutoBSS's regret is not the lowest")
    options = parser.parse_args()
    name, _, version = identity(options.table)
    repetitions: dict[str, int] = {}
    for given in options.methods.split(","):
        method, _, own = given.partition(":")
        if method not in NAMES or (not own.isdecimal() and own):
            parser.error(f"--methods: expected one of {', '.join(NAMES)}, or one:repetitions, got {given!r}")
        repetitions[method] = int(own or options.repetitions)
    costs = options.costs.split(",")
    if odd := [cost for cost in costs if cost not in ("macs", "latency")]:
        parser.error(f"--costs: expected macs or latency, got {odd[0]!r}")
    if "latency" in costs:
        build_device(options.table)
    jobs: list[Job] = [(r, 1.0, m) for r in range(max(repetitions.values())) for m in repetitions]
    jobs = [job for job in jobs if job[0] < repetitions[job[2]]]
    found: dict[str, Any] = {}
    for cost in costs:
        kept = FOLDER / f"{name}{version}-{cost}.jsonl"
        found[cost] = measure(options.table, jobs, kept, options.workers, partial(run, cost=cost))
    text, met = summary(name, found, repetitions)
    print(text)
    for folder in [FOLDER, *([Path(__file__).parent / "results"] if options.write else [])]:
        (folder / f"pareto_peers_{name}.md").write_text(text, encoding="utf-8")
        plot(options.table, found, folder / f"pareto_peers_{name}.png")
    return 0 if met or not options.check else 1


def summary(name: str, found: dict[str, Any], repetitions: dict[str, int]) -> tuple[str, bool]:
    """The Markdown table, and whether AutoBSS's regret is the lowest."""
    regrets = {
        method: [
            np.array([[own["regret"][0] for job, own in runs.items() if job[2] == method]]) for runs in found.values()
        ]
        for method in repetitions
    }
    rows = []
    for method, own in repetitions.items():
        seconds = np.mean(
            [run["seconds"][0] for runs in found.values() for job, run in runs.items() if job[2] == method]
        )
        rows.append([NAMES[method], *map(cell, regrets[method]), f"{seconds:.1f}", str(own)])
    rows.sort(key=lambda row: float(row[1].split()[0]))
    header = ["method", *(f"regret, score and {cost}" for cost in found), "seconds a run", "repetitions"]
    text = [
        f"# {name}: fronts of 64 scores in rounds of 16, means ± standard errors",
        "",
        "Regret: what a front lacks of the exact front's hypervolume, in percent of it, without the luck of trainings. "
        "The reference point is the bound on the cost and the score of the cheapest code of the exact front.",
        "",
        *lines(header, rows),
    ]
    met = "autobss" in regrets and all(
        mean_and_error(ours)[0] <= mean_and_error(theirs)[0]
        for method in repetitions
        for ours, theirs in zip(regrets["autobss"], regrets[method], strict=True)
    )
    return "\n".join([*text, machine(), ""]), met


def plot(source: str, found: dict[str, Any], path: Path) -> None:
    """The first repetition's fronts as they score without luck, and the exact front."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(found), 4.5), layout="constrained")
    for axes, (cost, runs) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        there = ground(source, cost)
        drawn = {"the exact front": ("0.6", there.exact)}
        for colour, ((repetition, _, method), own) in zip(COLOURS, runs.items(), strict=False):
            if repetition == 0:
                cost_of, score = there.points([there.space.parse(text) for text in own["front"]])
                on = np.flatnonzero(pareto_front(cost_of, score))
                on = on[np.argsort(cost_of[on])]
                drawn[NAMES[method].replace("**", "").replace("`", "")] = colour, (cost_of[on], score[on])
        for label, (colour, (x, y)) in drawn.items():
            axes.step(x, y, where="post", color=colour, label=label, marker=".", linewidth=1)
        axes.set(xlabel="milliseconds, predicted" if cost == "latency" else "MACs", ylabel="score without luck")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].legend(frameon=False, fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
