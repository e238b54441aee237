"""Synchronous rounds beside the asynchronous mode: how long they take, and what their answers are worth.

Study, ledger and searcher are the real ones. Trainings are looked up in a table, such as Channel-Bench-Macro, and take
the time of one of the real trainings in benchmarks/results/fashion_mnist on workers with a simulated clock; code and
repetition decide both, so that a training is the same in both modes. Target: less time with any number of workers.

    python benchmarks/asynchronous.py --table Results_MobileNet.json --write

A run that is interrupted continues where it was.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
import itertools
import json
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # repetitions run in parallel

import numpy as np
from machine import parser, report
from rich.progress import Progress
from scipy.stats import t as student
from search_grounds import load

from autobss_search import AutoBSS
from autobss_search.evaluators.evaluator import Evaluator
from autobss_search.executors import Executor, Job, Outcome, Scorer, Started, Workers
from autobss_search.studies.study import Study
from autobss_zoo import Code
from autobss_zoo.files import write_atomically

WORKERS = (4, 8, 16)
ROUNDS, BATCH = 4, 16
FRACTION = 0.5  # the budget, as a share of the largest MACs
PROCESSES = 2
MEASURED = Path(__file__).parent / "results" / "fashion_mnist"
MODES = {"rounds": "rounds", "then": "rounds, stopped when asynchronous has ended", "asynchronous": "asynchronous"}


class Simulated(Executor, Workers):
    """Workers with a clock of their own, which jumps to the end of the next training.

    Args:
        workers: How many.
        length: How long the training of a code takes.

    Attributes:
        now: The time.
        ends: When trials ended, by number.
    """

    def __init__(self, workers: int, length: Callable[[Code], float]) -> None:
        self._workers, self._length = workers, length
        self.now, self.ends = 0.0, dict[int, float]()
        self._waiting = deque[Job]()
        self._running: list[tuple[float, Job]] = []
        self._begun: list[Started] = []

    @contextmanager
    def start(self, evaluator: Evaluator) -> Iterator[Workers]:
        self._score = Scorer(evaluator)
        yield self

    @property
    def slots(self) -> int:
        return self._workers

    def submit(self, job: Job) -> None:
        self._waiting.append(job)
        self._begin()

    def wait(self) -> list[Started | Outcome]:
        if self._begun:
            begun, self._begun = self._begun, []
            return [*begun]
        self.now, job = heapq.heappop(self._running)
        self.ends[job.id] = self.now
        self._begin()
        return [self._score(job)._replace(seconds=self._length(job.code))]

    def _begin(self) -> None:
        """Give waiting jobs to free workers."""
        while self._waiting and len(self._running) < self._workers:
            job = self._waiting.popleft()
            heapq.heappush(self._running, (self.now + self._length(job.code), job))
            self._begun.append(Started(job.id, "simulated"))


@lru_cache
def lengths() -> np.ndarray:
    """Of real trainings of codes of equal MACs; each search has a median of 1, since its machine was another's, too."""
    out = []
    for path in sorted(MEASURED.glob("*_autobss.csv")) + sorted(MEASURED.glob("*_random.csv")):
        with path.open(encoding="utf-8") as file:
            seconds = np.array([float(row["seconds"]) for row in csv.DictReader(file)])
        out.append(seconds / np.median(seconds))
    return np.concatenate(out)


def run(path: str, workers: int, repetition: int) -> dict[str, dict[str, float]]:
    """One repetition: the figures of each mode; times in mean trainings."""
    warnings.simplefilter("ignore")
    ground = load(path, FRACTION)
    assert ground.table
    table, space = ground.table, ground.space

    def evaluate(code: Code, seed: int) -> float:
        return table.score(code, repetition)

    def length(code: Code) -> float:
        rng = np.random.default_rng([repetition, *code.values, 1])  # another stream than the score's
        return float(rng.choice(lengths()) / lengths().mean())

    def figures(answer: Code, time: float) -> dict[str, float]:
        return {"time": time, "regret": ground.regret(answer), "smooth": ground.smooth(answer)}

    out, end = {}, 0.0
    for mode in ("asynchronous", "rounds"):
        executor, searcher = Simulated(workers, length), AutoBSS(space, seed=repetition)
        with (
            tempfile.TemporaryDirectory() as folder,
            Study(folder, searcher, evaluate, executor, ROUNDS, BATCH, asynchronous=mode == "asynchronous") as study,
        ):
            answer, records = study.run(), study.records
        if len(executor.ends) != ROUNDS * BATCH or answer not in space:
            raise AssertionError(f"{mode}: {len(executor.ends)} scores, answer {answer}")
        out[mode] = figures(answer, executor.now)
        out[mode]["idle"] = 1 - sum(length(r.code) for r in records) / (workers * executor.now)
        end = end or executor.now
    early = searcher.recommend(r.observation for r in records if executor.ends[r.number] <= end)
    return {**out, "then": figures(early, end)}


def measure(path: str, jobs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, dict[str, float]]]:
    """Run what was not run before; each finished run is a file."""
    folder = Path("outputs/asynchronous") / hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    files = {job: folder / "{}_{}.json".format(*job) for job in jobs}
    missing = [job for job in jobs if not files[job].exists()]
    with ProcessPoolExecutor(PROCESSES) as pool, Progress() as progress:
        task = progress.add_task("runs", total=len(missing))
        futures = {pool.submit(run, path, *job): job for job in missing}
        try:
            for future in as_completed(futures):
                write_atomically(files[futures[future]], json.dumps(future.result()).encode())
                progress.advance(task)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {job: json.loads(file.read_text(encoding="utf-8")) for job, file in files.items()}


def interval(values: np.ndarray, form: str) -> str:
    """The mean with its 95% interval."""
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():{form}} ± {half:{form.lstrip('+')}}"


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--table", required=True, help="JSON (or .xz) with acc or test_acc, and flops, by digits")
    arguments.add_argument("--repetitions", type=int, default=30)
    options = arguments.parse_args()
    found = measure(options.table, list(itertools.product(WORKERS, range(options.repetitions))))
    rows, met = [], True
    for workers in WORKERS:

        def values(mode: str, figure: str, workers: int = workers) -> np.ndarray:
            return np.array([found[workers, r][mode][figure] for r in range(options.repetitions)])

        met &= values("asynchronous", "time").mean() < values("rounds", "time").mean()
        for mode, name in MODES.items():
            row = [str(workers), name, interval(values(mode, "time"), ".2f")]
            row.append("" if mode == "rounds" else interval(values(mode, "time") / values("rounds", "time"), ".3f"))
            row.append("" if mode == "then" else interval(100 * values(mode, "idle"), ".1f"))
            row += [interval(values(mode, figure), ".3f") for figure in ("regret", "smooth")]
            for figure in ("regret", "smooth"):
                more = values(mode, figure) - values("rounds", figure)
                row.append("" if mode == "rounds" else interval(more, "+.3f"))
            rows.append(row)
    low, high = np.quantile(lengths(), [0.1, 0.9])
    title = (
        f"# {ROUNDS * BATCH} scores on {Path(options.table).name}, at most {FRACTION:g} of the largest MACs: rounds of "
        f"{BATCH} and asynchronous, {options.repetitions} repetitions, means with 95% intervals\n\n"
        "Times are in mean trainings, of trainings alone: proposing codes takes none. Regret and smooth are accuracy "
        "points as in search_peers; their differences are those of the same repetition. Lengths of trainings are drawn "
        f"from those of {len(lengths())} real ones of codes of equal MACs, each divided by the median of its search "
        f"(80% are between {low:.2f} and {high:.2f}, the longest is {lengths().max():.2f}); they were measured on a "
        "machine that was busy with other work, which may have spread them more."
    )
    header = ["workers", "mode", "time", "of the rounds' time", "% idle", "regret", "smooth"]
    header += ["regret, more than the rounds'", "smooth, more than the rounds'"]
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
