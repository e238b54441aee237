"""How long a study of 10,000 trials takes to propose codes, to take a score and to report, and how large it is on disk.

The study is as a driver leaves it after 625 rounds of 16, but its codes are random and its scores made up. Two more
rounds are run on a copy of it; outputs/large_study keeps it for the next time. Targets: an ask, a tell and a report in
2 s each, a ledger of less than 50 MB.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from machine import parser, report
from rich.console import Console
from rich.progress import track

from autobss_search.command.cli import main as autobss
from autobss_search.command.search_verbs import RECIPE
from autobss_search.evaluators.evaluator import Evaluator
from autobss_search.executors import Executor, InProcess, Job, Outcome, Started, Workers
from autobss_search.reports.watch import Watcher
from autobss_search.searchers import candidates
from autobss_search.searchers.searcher import BATCH
from autobss_search.studies.journal import Journal, here
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study
from autobss_zoo import Code
from autobss_zoo.files import replacing

SPACE = "efficientnet_b0_small"
SECONDS, MEGABYTES = 2.0, 50.0
FILLED = Path(__file__).parents[1] / "outputs" / "large_study"
MORE = 2  # rounds that are run


class Timed(Executor, Workers):
    """`InProcess`, and a note of when its driver does what.

    Attributes:
        events: "submit", "wait" and "outcome" (of a `wait`), each with its time.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []

    @contextmanager
    def start(self, evaluator: Evaluator) -> Iterator[Workers]:
        with InProcess().start(evaluator) as self._workers:
            yield self

    @property
    def slots(self) -> int:
        return self._workers.slots

    def submit(self, job: Job) -> None:
        self._note("submit")
        self._workers.submit(job)

    def wait(self) -> list[Started | Outcome]:
        self._note("wait")
        updates = self._workers.wait()
        if any(isinstance(update, Outcome) for update in updates):
            self._note("outcome")
        return updates

    def _note(self, event: str) -> None:
        self.events.append((event, time.perf_counter()))

    def between(self, first: str, second: str) -> list[float]:
        """Seconds from events to the next ones, where these are such two."""
        pairs = itertools.pairwise(self.events)
        return [end - start for (event, start), (then, end) in pairs if (event, then) == (first, second)]


def score(code: Code, seed: int) -> float:
    return float(np.log(code.values).sum() + np.random.default_rng(seed).normal(0, 0.2))


def fill(folder: Path, trials: int) -> None:
    """Write a study as a driver leaves it that has run so many trials."""
    recipe = SearchRecipe.load({"space": SPACE, "training": "small/digits", "rounds": trials // BATCH + MORE})
    rng, journal = np.random.default_rng(0), Journal(folder)
    journal.write("driver", "started", where=here())
    (folder / RECIPE).write_text(recipe.dump(), encoding="utf-8")
    with Study(folder, recipe.make_searcher(), score, rounds=recipe.rounds) as study:
        rows = candidates.uniform(study.searcher.space, 2 * trials, rng)
        codes = list(dict.fromkeys(study.searcher.space.decode(rows)))[:trials]
        for number, code in enumerate(track(codes, "trials")):
            value, took = score(code, number), rng.uniform(20.0, 60.0)
            study.ledger.add(code, number // BATCH, "searcher", number)
            journal.write("start", "attempt 1", number, f"process {number % 4}")
            study.ledger.finish(number, value, took)
            journal.write("score", f"{code} {value:.6g} in {took:.1f} s; best 60.1234 of {number + 1}", number)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(folder: Path) -> dict[str, float]:
    """Seconds, and megabytes, of a study that `fill` has written."""
    warnings.simplefilter("ignore")
    recipe, executor = SearchRecipe.load(folder / RECIPE), Timed()
    with Study(folder, recipe.make_searcher(), score, executor, recipe.rounds) as study:
        start = time.perf_counter()
        study.run()
        out = {"resume": executor.events[0][1] - start, "recommend": seconds(study.recommend)}
    out["ask"] = max(executor.between("outcome", "submit"))
    out["tell"] = max(executor.between("outcome", "wait"))
    watcher, console = Watcher(folder), Console(file=io.StringIO())
    for name in ("watch", "tick"):
        out[name] = seconds(lambda: console.print(watcher.look(time.time())))
    out["ledger"] = (folder / "study.db").stat().st_size / 1e6
    out["folder"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    for _ in range(2):  # the first imports what it needs
        out["report"] = seconds(lambda: write_report(folder))
    return out


def write_report(folder: Path) -> None:
    files = ["--csv", str(folder / "report.csv"), "--html", str(folder / "report.html")]
    with contextlib.redirect_stdout(io.StringIO()):
        if autobss(["report", str(folder), *files]):
            raise RuntimeError("there is no report")


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=10_000)
    options = arguments.parse_args()
    filled = FILLED / str(options.trials)
    if not filled.is_dir():
        filled.parent.mkdir(parents=True, exist_ok=True)
        with replacing(filled) as folder:
            folder.mkdir()
            fill(folder, options.trials)
    with tempfile.TemporaryDirectory() as place:
        m = measure(Path(shutil.copytree(filled, Path(place) / "study")))
    rows = [
        ["ask: from the last score of a round to the first job of the next (16 codes)", f"{m['ask']:.2f} s", "2 s"],
        ["the same when a study is resumed, with the candidate set", f"{m['resume']:.2f} s", ""],
        ["tell: from a score until the driver waits again, the slowest", f"{m['tell']:.3f} s", "2 s"],
        ["the searcher's answer", f"{m['recommend']:.2f} s", ""],
        ["`autobss report` with its tables, CSV and HTML, without imports", f"{m['report']:.2f} s", "2 s"],
        ["`autobss watch`: the first view", f"{m['watch']:.2f} s", ""],
        ["`autobss watch`: each further view", f"{m['tick']:.2f} s", ""],
        ["the ledger, study.db", f"{m['ledger']:.1f} MB", "50 MB"],
        ["the study's folder, without trained networks", f"{m['folder']:.1f} MB", ""],
    ]
    met = max(m["ask"], m["tell"], m["report"]) < SECONDS and m["ledger"] < MEGABYTES
    title = f"A study of {options.trials:,} trials: {SPACE}, AutoBSS, rounds of {BATCH}"
    return report(__file__, title, ["what", "measured", "target"], rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
