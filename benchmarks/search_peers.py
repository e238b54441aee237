"""AutoBSS against other searchers on a benchmark of trainings, such as Channel-Bench-Macro's table.

Target: the default has the lowest mean regret at every budget, and over all budgets at most 0.8x of the best peer's
regret on the table and 0.6x on its smooth fit; on a surrogate 0.8x. Where no smooth fit holds, the table alone counts,
and the result says so.

    python benchmarks/search_peers.py --table Results_MobileNet.json --write

A run that is interrupted continues where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # repetitions run in parallel

import numpy as np
from machine import machine
from rich.progress import Progress

from autobss_search import Space
from autobss_search.evaluators.factorial import FactorialFit, smooth_fit
from autobss_search.evaluators.surrogates import Surrogate
from autobss_search.evaluators.tabular import Table
from autobss_search.reports.benches import open_benchmark
from autobss_zoo.codes import Code
from autobss_zoo.plots import COLOURS, save

FIGURES = ("regret", "smooth", "percentile", "undrawn")
TARGETS = {"regret": 0.8, "smooth": 0.6}  # of the best peer's


@dataclass(frozen=True)
class Ground:
    """A benchmark under a budget.

    Attributes:
        benchmark: The benchmark.
        space: The codes under the budget.
        truth: What codes score without luck; None where no smooth fit of a table holds.
        said: What there is to say of that.
        best: The best mean of trainings of a table's code, and the best score without luck; NaN where there is none.
    """

    benchmark: Table | Surrogate
    space: Space
    truth: FactorialFit | Surrogate | None
    said: str
    best: tuple[float, float]

    def draw(self, code: Code, rng: np.random.Generator) -> float:
        """One of a table's trainings of a code, at random, or a surrogate's score of it."""
        if isinstance(self.benchmark, Table):
            return float(rng.choice(self.benchmark.scores[self.benchmark.index(code)]))
        return self.benchmark.score(code, int(rng.integers(2**32)))

    def figures(self, answer: Code, drawn: dict[Code, float]) -> dict[str, float]:
        """What an answer is worth."""
        found = {"smooth": self.best[1] - float(self.truth.means([answer])[0])} if self.truth else {}
        if isinstance(self.benchmark, Table):
            scores = self.benchmark.scores
            means, own = scores.mean(axis=1), scores[self.benchmark.index(answer)]
            feasible = self.benchmark.macs <= self.space.constraints[0].upper
            unseen = np.delete(own, np.flatnonzero(own == drawn.get(answer))[:1])
            found["regret"] = self.best[0] - float(own.mean())
            found["percentile"] = float(100 * (means[feasible] <= own.mean()).mean())
            found["undrawn"] = float(unseen.mean()) if len(unseen) else float("nan")
        return {figure: found.get(figure, float("nan")) for figure in FIGURES}


@lru_cache
def load(source: str, fraction: float) -> Ground:
    """A benchmark under a share of its largest MACs."""
    benchmark = open_benchmark(source)
    largest = benchmark.macs[np.isfinite(benchmark.macs)].max()
    space = benchmark.make_space(None, {"macs": fraction * largest})
    truth: FactorialFit | Surrogate | None = None
    of_means = float("nan")
    if isinstance(benchmark, Surrogate):
        truth, said = benchmark, f"A score's noise is a training's, {benchmark.noise:.3f} points."
    else:
        of_means = float(benchmark.scores[benchmark.macs <= space.constraints[0].upper].mean(axis=1).max())
        try:
            truth = smooth_fit(benchmark)
            said = (
                f"A training's noise is {truth.noise:.3f} points; without one training the fit errs by "
                f"{truth.error:.3f}, and the mean of the others by {truth.error_of_means:.3f}."
            )
        except ValueError as error:
            said = str(error)
    without_luck = float(truth.means([truth.best(space)])[0]) if truth else float("nan")
    return Ground(benchmark, space, truth, said, (of_means, without_luck))


def run(source: str, fraction: float, method: str, repetition: int) -> dict[str, float]:
    """One repetition: the figures of the method's answer."""
    import warnings

    from search_methods import METHODS, Problem

    warnings.simplefilter("ignore")
    ground = load(source, fraction)
    rng = np.random.default_rng([repetition, int(1000 * fraction)])
    problem = Problem(ground.space, lambda code: ground.draw(code, rng), rng)
    start = time.perf_counter()
    answer = METHODS[method][1](problem, repetition)
    seconds = time.perf_counter() - start
    if len(problem.drawn) > problem.budget or answer not in problem.space:
        raise AssertionError(f"{method}: {len(problem.drawn)} scores, answer {answer}")
    return {**ground.figures(answer, problem.drawn), "seconds": seconds, "scores": len(problem.drawn)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True, help="a table or surrogate, as `autobss bench` takes it")
    parser.add_argument("--fractions", default="0.3,0.5,0.7", help="budgets, as shares of the largest MACs")
    parser.add_argument(
        "--methods", default="", help="comma-separated; all when left out; gp:10 has ten repetitions of its own"
    )
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--runs", help="where finished runs are kept, beside the Markdown table and the plot (outputs/search_peers/)"
    )
    parser.add_argument(
        "--write", action="store_true", help="also write benchmarks/results/search_peers_<table>.md, .png"
    )
    parser.add_argument("--check", action="store_true", help="fail if a target is missed")
    options = parser.parse_args()
    if any(importlib.util.find_spec(package) is None for package in ("botorch", "pymoo", "optuna", "matplotlib")):
        root = Path(__file__).parents[1]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", f"{root}[peers]"], check=True)
        importlib.invalidate_caches()
    from search_methods import METHODS

    repetitions = {}
    for given in options.methods.split(",") if options.methods else METHODS:
        method, _, own = given.partition(":")
        if method not in METHODS or (not own.isdecimal() and own):
            parser.error(f"--methods: expected one of {', '.join(METHODS)}, or one:repetitions, got {given!r}")
        repetitions[method] = int(own or options.repetitions)
    fractions = [float(f) for f in options.fractions.split(",")]
    first = load(options.table, fractions[0])
    name = first.benchmark.path.name.partition(".")[0].lower()
    digest = hashlib.sha256(first.benchmark.path.read_bytes()).hexdigest()[:8]
    kept = Path(options.runs or f"outputs/search_peers/{name}-{digest}.jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    jobs = [(r, f, method) for r in range(max(repetitions.values())) for f in fractions for method in repetitions]
    jobs = [job for job in jobs if job[0] < repetitions[job[2]]]
    figures = measure(options.table, jobs, kept, options.workers)
    table, met = summary(figures, repetitions, fractions, name, first.said)
    print(table)
    outs = [kept.with_suffix("")]
    if options.write:
        outs.append(Path(__file__).parent / "results" / f"search_peers_{name}")
    for out in outs:
        out.with_suffix(".md").write_text(table, encoding="utf-8")
        plot(figures, repetitions, fractions, out.with_suffix(".png"))
    return 0 if met or not options.check else 1


def measure(path: str, jobs: list[tuple[int, float, str]], kept: Path, workers: int) -> dict[tuple, dict[str, float]]:
    """Run what was not run before; each finished run is a line of `kept`."""
    done = {}
    if kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            try:
                key, value = json.loads(line)
                done[tuple(key)] = value
            except ValueError:  # a line that a kill cut short
                continue
    missing = [job for job in jobs if job not in done]
    with ProcessPoolExecutor(workers) as pool, kept.open("a", encoding="utf-8") as file, Progress() as progress:
        task = progress.add_task("runs", total=len(missing))
        futures = {pool.submit(run, path, job[1], job[2], job[0]): job for job in missing}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            file.write(f"\n{json.dumps([futures[future], future.result()])}\n")
            file.flush()
            progress.advance(task)
    return {job: done[job] for job in jobs}


def mean_and_error(figures: dict, method: str, fractions: list[float], figure: str) -> tuple[float, float]:
    """Over the repetitions that the method has at each of these budgets; NaN where there is nothing."""
    each = [
        [kept[figure] for (_, f, m), kept in figures.items() if (f, m) == (fraction, method)] for fraction in fractions
    ]
    values = np.array(each)
    if np.isnan(values).all():
        return float("nan"), float("nan")
    spread = np.nanstd(values, ddof=1, axis=1).mean() if values.shape[1] > 1 else float("nan")
    return float(np.nanmean(values)), float(spread / np.sqrt(values.size))


def summary(
    figures: dict, repetitions: dict[str, int], fractions: list[float], name: str, smooth: str
) -> tuple[str, bool]:
    """The Markdown table, and whether the targets are met."""
    from search_methods import METHODS, PEERS

    shown = [figure for figure in TARGETS if not all(np.isnan(kept[figure]) for kept in figures.values())]
    header = ["method", *(f"{figure} at {f:g}" for figure in shown for f in fractions)]
    header += [
        *(f"{figure}, pooled" for figure in shown),
        "percentile",
        "undrawn seeds",
        "seconds a run",
        "repetitions",
    ]
    rows, pooled = [], {}
    for method, own in repetitions.items():
        cells = [METHODS[method][0]]
        for figure, f in itertools.product(shown, fractions):
            cells.append("{:.3f} ± {:.3f}".format(*mean_and_error(figures, method, [f], figure)))
        pooled[method] = {figure: mean_and_error(figures, method, fractions, figure) for figure in FIGURES}
        cells += ["{:.3f} ± {:.3f}".format(*pooled[method][figure]) for figure in shown]
        cells += ["{:.1f} ± {:.1f}".format(*pooled[method]["percentile"])]
        cells += ["{:.3f} ± {:.3f}".format(*pooled[method]["undrawn"])]
        cells += [f"{mean_and_error(figures, method, fractions, 'seconds')[0]:.1f}", str(own)]
        rows.append(cells)
    lines = [header, ["---"] * len(header), *rows]
    text = [
        f"# {name}: 64 scores in rounds of 16, means ± standard errors",
        "",
        "Accuracy points. A score is one of a table's trainings of a code, at random, or a surrogate's, with noise. "
        "Regret: the best feasible mean accuracy less the answer's. Smooth: the same without the trainings' luck, by a "
        "smooth fit of the table or by the surrogate. Undrawn seeds: the answer's accuracy by the trainings that were "
        "not drawn.",
        "",
        smooth,
        "",
        *(f"| {' | '.join(line)} |" for line in lines),
        "",
    ]
    peers, met = [p for p in PEERS if p in repetitions], True
    if "autobss" in repetitions and peers:
        for figure in shown:
            target = TARGETS[figure] if "regret" in shown else TARGETS["regret"]  # a surrogate has no luck to leave out
            best = min(peers, key=lambda p: pooled[p][figure][0])
            ratio = pooled["autobss"][figure][0] / pooled[best][figure][0]
            lowest = all(
                mean_and_error(figures, "autobss", [f], figure)[0]
                <= min(mean_and_error(figures, p, [f], figure)[0] for p in peers)
                for f in fractions
            )
            met &= ratio <= target and lowest
            text.append(
                f"Pooled {figure}: {ratio:.2f}x of the best peer's ({METHODS[best][0]}), target {target}x; the lowest "
                f"at {'every budget' if lowest else 'not every budget'}.\n"
            )
    return "\n".join([*text, machine(), ""]), met


def plot(figures: dict, methods: Iterable[str], fractions: list[float], path: Path) -> None:
    from matplotlib.figure import Figure
    from search_methods import METHODS

    order = sorted(methods, key=lambda m: -mean_and_error(figures, m, fractions, "regret")[0])
    figure = Figure(figsize=(11, 0.5 * len(order) + 1.2), layout="constrained")
    for axes, name, title in zip(
        figure.subplots(1, 2, sharey=True), TARGETS, ("regret", "regret on the smooth fit"), strict=True
    ):
        offsets = np.linspace(0.2, -0.2, len(fractions))
        for colour, offset, fraction in zip(itertools.cycle(COLOURS), offsets, fractions, strict=False):
            points = [mean_and_error(figures, m, [fraction], name) for m in order]
            axes.errorbar(
                [p[0] for p in points], np.arange(len(order)) + offset, xerr=[p[1] for p in points], fmt="o",
                color=colour, label=f"at most {fraction:g} of the largest MACs", capsize=2, markersize=4,
            )  # fmt: skip
        axes.set_yticks(range(len(order)), [METHODS[m][0].replace("**", "") for m in order])
        axes.set(xlabel="accuracy points, mean and standard error", title=title, xlim=(0, None))
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[1].legend(frameon=False, fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
