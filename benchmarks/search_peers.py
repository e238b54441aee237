"""AutoBSS against other searchers on a benchmark of trainings, such as Channel-Bench-Macro's, or on made-up scores.

Target: the default has the lowest mean regret at every budget, and over all budgets at most 0.8x of the best peer's
regret on a table and 0.6x on its smooth fit; on a surrogate and on made-up scores 0.8x. Where no smooth fit holds, the
table alone counts, and the result says so.

    python benchmarks/search_peers.py --table Results_MobileNet.json --write
    python benchmarks/search_peers.py --table made:mnv2_widths --write

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
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # repetitions run in parallel

import numpy as np
from machine import machine
from rich.progress import Progress
from search_grounds import MADE, budgets, load

from autobss_search.evaluators.tabular import Table
from autobss_search.reports.benches import open_benchmark
from autobss_zoo.plots import COLOURS, save

FIGURES = {"regret": 0.8, "smooth": 0.6}  # and the targets, of the best peer's
SHARES = {"table": (0.3, 0.5, 0.7), "made": (1.0,)}
Job = tuple[int, float, str]
"""A repetition, a budget and a method."""
Found = dict[Job, dict[str, list[float]]]
"""The figures of a run's answers: ours have one after each round."""


def run(source: str, fraction: float, method: str, repetition: int) -> dict[str, list[float]]:
    """One repetition: the figures of the method's answers, and its seconds."""
    import warnings

    from search_methods import METHODS, Problem

    warnings.simplefilter("ignore")
    ground = load(source, fraction, repetition if source.startswith(MADE) else 0)
    rng = np.random.default_rng([repetition, int(1000 * fraction)])
    problem = Problem(ground.space, lambda code: ground.draw(code, rng), rng)
    start = time.perf_counter()
    answers = METHODS[method][1](problem, repetition)
    seconds = time.perf_counter() - start
    if len(problem.drawn) > problem.budget or any(answer not in problem.space for answer in answers):
        raise AssertionError(f"{method}: {len(problem.drawn)} scores, answers {answers}")
    return {
        "regret": [ground.regret(answer) for answer in answers],
        "smooth": [ground.smooth(answer) for answer in answers],
        "headroom": [ground.headroom],
        "seconds": [seconds],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--table",
        required=True,
        help="a table or surrogate, as `autobss bench` takes it, or made:SPACE for a made-up one",
    )
    parser.add_argument(
        "--fractions", help="budgets as shares of a table's largest MACs, of a surrogate's or a space's own budget"
    )
    parser.add_argument(
        "--methods", default="", help="comma-separated; all when left out; gp:10 has ten repetitions of its own"
    )
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--workers", type=int)
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
    from search_methods import ENUMERABLE, METHODS

    name, kind, version = identity(options.table)
    shares = SHARES.get(kind) or budgets(options.table)  # of surrogates the MACs of uniformly rescaled codes
    fractions = [float(f) for f in options.fractions.split(",")] if options.fractions else [*shares]
    ground, repetitions = load(options.table, fractions[0]), {}
    known = [method for method in METHODS if method != "qlognei" or ground.space.size <= ENUMERABLE]
    for given in options.methods.split(",") if options.methods else known:
        method, _, own = given.partition(":")
        if method not in known or (not own.isdecimal() and own):
            parser.error(f"--methods: expected one of {', '.join(known)}, or one:repetitions, got {given!r}")
        repetitions[method] = int(own or options.repetitions)
    if "uniform" in repetitions and not options.table.startswith(MADE):
        repetitions["uniform"] = 1  # there is no luck in it
    kept = Path(options.runs or f"outputs/search_peers/{name}{version}.jsonl")
    jobs = [(r, f, method) for r in range(max(repetitions.values())) for f in fractions for method in repetitions]
    jobs = [job for job in jobs if job[0] < repetitions[job[2]]]
    figures = measure(options.table, jobs, kept, options.workers)
    table, met = summary(figures, repetitions, fractions, name, ground.said)
    print(table)
    outs = [kept.with_suffix("")]
    if options.write:
        outs.append(Path(__file__).parent / "results" / f"search_peers_{name}")
    for out in outs:
        out.with_suffix(".md").write_text(table, encoding="utf-8")
        plot(figures, repetitions, fractions, out.with_suffix(".png"))
    return 0 if met or not options.check else 1


def identity(source: str) -> tuple[str, str, str]:
    """The name of a ground, its kind, and what its file's content adds to the name of the runs."""
    if source.startswith(MADE):
        return f"made_{source.removeprefix(MADE)}", "made", ""
    benchmark = open_benchmark(source)
    digest = hashlib.sha256(benchmark.path.read_bytes()).hexdigest()[:8]
    kind = "table" if isinstance(benchmark, Table) else "surrogate"
    return benchmark.path.name.partition(".")[0].lower(), kind, f"-{digest}"


def measure(
    source: str, jobs: list[Job], kept: Path, workers: int | None = None, one: Callable[..., Any] = run
) -> Found:
    """Run what was not run before by `one`, as `run` is; each finished run is a line of `kept`."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    done: Found = {}
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
        futures = {pool.submit(one, source, job[1], job[2], job[0]): job for job in missing}
        for future in as_completed(futures):
            done[futures[future]] = future.result()
            file.write(f"\n{json.dumps([futures[future], future.result()])}\n")
            file.flush()
            progress.advance(task)
    return {job: done[job] for job in jobs}


def values(figures: Found, method: str, fractions: list[float], figure: str, answer: int = -1) -> np.ndarray:
    """Of the repetitions that a method has at each of these budgets, shape (budgets, repetitions).

    Where a space has fewer codes than scores, later answers are the last one.
    """
    each = [[found[figure] for job, found in figures.items() if job[1:] == (f, method)] for f in fractions]
    return np.array([[own[: answer + 1 or None][-1] for own in runs] for runs in each])


def mean_and_error(found: np.ndarray) -> tuple[float, float]:
    """Over budgets and repetitions."""
    spread = found.std(ddof=1, axis=1).mean() if found.shape[1] > 1 else float("nan")
    return float(found.mean()), float(spread / np.sqrt(found.size))


def cell(found: np.ndarray) -> str:
    """The mean with its standard error, if there is one."""
    return "{:.3f} ± {:.3f}".format(*mean_and_error(found)) if found.shape[1] > 1 else f"{found.mean():.3f}"


def summary(
    figures: Found, repetitions: dict[str, int], fractions: list[float], name: str, said: str
) -> tuple[str, bool]:
    """The Markdown tables, and whether the targets are met."""
    from search_methods import METHODS, PEERS

    shown = [figure for figure in FIGURES if not all(np.isnan(found[figure]).all() for found in figures.values())]
    each = [*itertools.product(shown, fractions)] if len(fractions) > 1 else []
    header = ["method", *(f"{figure} at {f:g}" for figure, f in each), *(f"{figure}, pooled" for figure in shown)]
    header += ["seconds a run", "repetitions"]
    rows = []
    for method, own in repetitions.items():
        cells = [cell(values(figures, method, [f], figure)) for figure, f in each]
        cells += [cell(values(figures, method, fractions, figure)) for figure in shown]
        seconds = values(figures, method, fractions, "seconds").mean()
        rows.append([METHODS[method][0], *cells, f"{seconds:.1f}", str(own)])
    text = [
        f"# {name}: 64 scores in rounds of 16, means ± standard errors",
        "",
        "In points of accuracy; of made-up scores in their spreads among grown codes. A score is one of a table's "
        "trainings of a code, at random, or what a surrogate or a made-up function gives, with noise. Regret: the best "
        "feasible mean accuracy of a table less the answer's. Smooth: the same without luck, by a smooth fit of the "
        "table, by the surrogate, or by the function.",
        "",
        said,
        "",
        *lines(header, rows),
    ]
    peers, met = [p for p in PEERS if p in repetitions], True
    if "autobss" in repetitions and peers:
        means = {m: {f: mean_and_error(values(figures, m, fractions, f))[0] for f in shown} for m in repetitions}
        for figure in shown:
            target = FIGURES[figure] if "regret" in shown else FIGURES["regret"]  # there is no luck to leave out
            best = min(peers, key=lambda p: means[p][figure])
            ratio = means["autobss"][figure] / means[best][figure]
            ours, *theirs = ([values(figures, m, [f], figure).mean() for f in fractions] for m in ("autobss", *peers))
            lowest = bool(np.all(ours <= np.min(theirs, axis=0)))
            met &= ratio <= target and lowest
            text.append(
                f"Pooled {figure}: {ratio:.2f}x of the best peer's ({METHODS[best][0]}), target {target}x; the lowest "
                f"at {'every budget' if lowest else 'not every budget'}.\n"
            )
        rows, figure = [], shown[-1]
        for answer in range(4):
            found = [values(figures, "autobss", fractions, each, answer) for each in shown]
            beaten = sum(found[-1].mean() <= means[p][figure] for p in peers)
            rows.append([str(16 * (answer + 1)), *map(cell, found), f"{beaten} of {len(peers)}"])
        header = ["scores", *shown, f"peers whose {figure} after 64 scores is not lower"]
        text += ["The default's answers after fewer scores, pooled:\n", *lines(header, rows)]
    return "\n".join([*text, machine(), ""]), met


def lines(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table's."""
    return [*(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)), ""]


def plot(figures: Found, methods: Iterable[str], fractions: list[float], path: Path) -> None:
    from matplotlib.figure import Figure
    from search_methods import METHODS

    shown = {"regret": "regret", "smooth": "regret without luck"}
    shown = {
        name: title for name, title in shown.items() if not np.isnan([f[name][-1] for f in figures.values()]).all()
    }
    order = sorted(methods, key=lambda m: -values(figures, m, fractions, [*shown][-1]).mean())
    figure = Figure(figsize=(3.5 + 3.75 * len(shown), 0.5 * len(order) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(panels, shown.items(), strict=True):
        offsets = np.linspace(0.2, -0.2, len(fractions)) if len(fractions) > 1 else [0.0]
        for colour, offset, fraction in zip(itertools.cycle(COLOURS), offsets, fractions, strict=False):
            points = [mean_and_error(values(figures, m, [fraction], name)) for m in order]
            axes.errorbar(
                [p[0] for p in points], np.arange(len(order)) + offset, xerr=[p[1] for p in points], fmt="o",
                color=colour, label=f"budget: {fraction:g} of the largest", capsize=2, markersize=4,
            )  # fmt: skip
        axes.set_yticks(range(len(order)), [METHODS[m][0].replace("**", "") for m in order])
        axes.set(xlabel="mean and standard error", title=title, xlim=(0, None))
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].legend(frameon=False, fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    sys.exit(main())
