"""What the engine takes beside the trainings: driver, ledger and executor; and what AutoBSS's thinking adds.

Trainings sleep. Rounds are synchronous, of three trainings for each worker, so that none is idle at the end of a round
but for the engine. Overhead is what workers are idle, beside what they train: between two rounds, while the driver
proposes codes and writes them down, and within rounds. It is measured from the end of the first round on, in which the
workers start; Ray itself runs before that. Target: an overhead of 5% with codes that are drawn at random. What AutoBSS
adds to it are its asks, which take no longer when trainings do.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from machine import alone, answer, parser, report
from rich.progress import track

from autobss_search import AutoBSS, RandomSearch, get_space
from autobss_search.executors import Executor
from autobss_search.executors.cluster import RayCluster
from autobss_search.executors.processes import LocalProcesses
from autobss_search.searchers.searcher import Searcher
from autobss_search.studies.study import Study
from autobss_zoo import Code

TARGET = 0.05
SPACE = "mnv2_small"
WORKERS = (1, 4, 16)
EACH = 3  # trainings of a worker in a round


def train(seconds: float, code: Code, seed: int) -> float:
    """The score is when the training has begun, which nobody knows better."""
    begun = time.time()
    time.sleep(seconds)
    return begun


def on_ray(workers: int) -> Executor:
    import ray

    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    return RayCluster()


EXECUTORS: dict[str, Callable[[int], Executor]] = {"LocalProcesses": LocalProcesses, "RayCluster": on_ray}


SEARCHERS: dict[str, Callable[..., Searcher]] = {"random": RandomSearch, "AutoBSS": AutoBSS}
CASES = [
    *((executor, "random", workers) for executor in EXECUTORS for workers in WORKERS),
    *(("LocalProcesses", "AutoBSS", workers) for workers in WORKERS),
]


def measure(name: str, codes: str, workers: int, seconds: float, rounds: int) -> dict[str, float]:
    """Run a study of trainings of so many seconds.

    Returns:
        In seconds: until the first training of a worker began, in the mean of the workers; from the end of the first
        round to the end of the last, of these between rounds, and of these in trainings, in the mean of the workers.
    """
    warnings.simplefilter("ignore")
    searcher, executor = SEARCHERS[codes](get_space(SPACE)), EXECUTORS[name](workers)
    with (
        tempfile.TemporaryDirectory() as folder,
        Study(folder, searcher, partial(train, seconds), executor, rounds, EACH * workers) as study,
    ):
        start = time.time()
        study.run()
        begun = np.array([r.value for r in study.records], float).reshape(rounds, -1)
        lengths = np.array([r.seconds for r in study.records], float).reshape(rounds, -1)
    ends = (begun + lengths).max(axis=1)
    return {
        "start_up": float(np.sort(begun[0])[:workers].mean() - start),
        "seconds": float(ends[-1] - ends[0]),
        "between": float((begun[1:].min(axis=1) - ends[:-1]).sum()),
        "trained": float(lengths[1:].sum() / workers),
    }


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=5.0, help="of a training (5)")
    arguments.add_argument("--rounds", type=int, default=2, help="more than one (2)")
    options = arguments.parse_args()
    rows, met = [], True
    for name, codes, workers in track(CASES, "studies"):
        m = alone(__file__, name, codes, workers, options.seconds, options.rounds)
        idle = m["seconds"] - m["trained"]
        met &= idle <= TARGET * m["trained"] or codes != "random"
        rows.append([name, codes, str(workers), f"{m['start_up']:.1f}", f"{m['between'] / (options.rounds - 1):.2f}"])
        rows[-1] += [f"{100 * s / m['trained']:.1f}" for s in (idle, m["between"], idle - m["between"])]
    header = ["executor", "codes", "workers", "s of start-up", "s between two rounds", "% overhead"]
    header += ["% between rounds", "% within rounds"]
    title = (
        f"Overhead of a study ({SPACE}, {options.rounds} rounds of {EACH} x workers codes) beside trainings "
        f"that sleep for {options.seconds:g} s"
    )
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    answer(measure)
    sys.exit(main())
