"""What is lost when parts of a study die: a real small search on digits, disturbed while it runs.

Each fault is injected into the same study of 8 trainings; it has to end with the scores of the undisturbed one, except
for a trial whose every attempt fails. On Ray there are three nodes: raylets of their own on this machine.

    python benchmarks/faults.py --write
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from machine import parser, report

from autobss_search import AutoBSS, get_space
from autobss_search.evaluators.training import Training, model_folder
from autobss_search.executors import Executor, InProcess
from autobss_search.executors.cluster import RayCluster
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.journal import Entry, read_journal, status
from autobss_search.studies.reading import read_records
from autobss_search.studies.records import Record
from autobss_search.studies.study import ATTEMPTS, Study
from autobss_zoo import Code

ROUNDS, BATCH, TIMEOUT = 2, 4, 60.0
TRAINING = {"base": "small/digits", "input_size": 8, "epochs": 20, "holdout": 0.25, "evaluate_every": None}
TRAINING["checkpoint_steps"] = 4
SICK = 3  # the seed of the trial that in-trial faults happen to
POISON: dict[str, Any] = {"NaN": math.nan, "infinity": math.inf, "a string": "71.2"}


@dataclass(frozen=True)
class Disturbed:
    """The training of a code, with a log of its attempts, and with a fault in one trial.

    Attributes:
        folder: The study's folder.
        fault: "hang" (its first attempt), "fail" (every attempt), a key of POISON, or None.
    """

    folder: Path
    fault: str | None = None

    @property
    def training(self) -> Training:
        return Training(TRAINING, str(self.folder / "models"))

    def describe(self) -> Any:
        return self.training.describe()

    def __call__(self, code: Code, seed: int) -> Any:
        kept = self.folder / "models" / model_folder(code, seed) / "last.pt"
        with open(self.folder / "attempts.log", "a", encoding="utf-8") as log:
            log.write(f"{seed} {'resumed' if kept.exists() else 'anew'}\n")
        if seed == SICK and self.fault == "hang" and not (hung := self.folder / "hung").exists():
            hung.touch()
            time.sleep(3600)
        if seed == SICK and self.fault == "fail":
            raise RuntimeError("CUDA error: out of memory")
        return POISON[self.fault] if seed == SICK and self.fault in POISON else self.training.score(code, seed)


def make_study(folder: Path, executor: Executor, fault: str | None = None) -> Study:
    training = Training(TRAINING)
    searcher = AutoBSS(get_space("resnet18_small", macs="300K", **training.counting), n_candidates=500)
    return Study(folder, searcher, Disturbed(folder, fault), executor, ROUNDS, BATCH)


def run(folder: Path, executor: Executor, fault: str | None = None) -> None:
    with make_study(folder, executor, fault) as study:
        study.run()


# --- Injections: each returns the scores that were finished at that moment, by trial.


def scores(folder: Path) -> dict[int, float]:
    try:
        return {r.number: r.value for r in read_records(folder) if r.value is not None}
    except Exception:  # the driver has not made the database yet, or is writing
        return {}


def prey(folder: Path) -> Entry:
    """Wait until there are some scores, and a trial in training with a checkpoint: its start."""
    while True:
        running = status(read_journal(folder)).running
        if len(scores(folder)) >= 2 and running:
            codes = {r.number: model_folder(r.code, r.seed) for r in read_records(folder)}
            for number, entry in running.items():
                trained = folder / "models" / codes[number]
                if (trained / "last.pt").exists() and not (trained / "result.json").exists():
                    return entry
        time.sleep(0.05)


def process_of(start: Entry) -> int:
    found = re.search(r"process (\d+)", start.where or "")
    assert found
    return int(found[1])


def kill_worker(folder: Path, cluster: Any) -> dict[int, float]:
    os.kill(process_of(prey(folder)), signal.SIGKILL)
    return scores(folder)


def remove_node(folder: Path, cluster: Any) -> dict[int, float]:
    start = prey(folder)
    node = next(n for n in cluster.worker_nodes if f"node {n.node_id[:8]}" in (start.where or ""))
    cluster.remove_node(node, allow_graceful=False)
    return scores(folder)


def fill_disk(folder: Path, cluster: Any) -> dict[int, float]:
    """Fill the study's disk until the driver has noticed, and a little longer."""
    prey(folder)
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 9, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    before = scores(folder)
    while not any("cannot be written" in line for line in said):
        time.sleep(0.05)
    time.sleep(3)
    filler.unlink()
    return before


said: list[str] = []  # by the study of this process: on a full disk the journal cannot tell


# --- Scenarios: run the disturbed study to its end; the scores at the moment of the fault.


def injected(inject: Callable[[Path, Any], dict[int, float]]) -> Callable[[Path, Executor, Any], dict[int, float]]:
    """A fault from outside while the study runs in this process."""

    def scenario(folder: Path, executor: Executor, cluster: Any) -> dict[int, float]:
        before: dict[int, float] = {}
        thread = Thread(target=lambda: before.update(inject(folder, cluster)))
        with make_study(folder, executor) as study:
            study.on_event = said.append
            thread.start()
            study.run()
        thread.join()
        return before

    return scenario


def in_trial(fault: str) -> Callable[[Path, Executor, Any], dict[int, float]]:
    """A fault within a trial."""

    def scenario(folder: Path, executor: Executor, cluster: Any) -> dict[int, float]:
        run(folder, executor, fault)
        number = next(r.number for r in read_records(folder) if r.seed == SICK)
        faulted = next(e.time for e in read_journal(folder) if e.kind == "fault" and e.trial == number)
        earlier = {e.trial for e in read_journal(folder) if e.kind == "score" and e.time < faulted}
        return {trial: score for trial, score in scores(folder).items() if trial in earlier}

    return scenario


def kill_driver(folder: Path, executor: Executor, cluster: Any) -> dict[int, float]:
    """Kill the driver twice, with a new one after each."""
    where = cluster.address if cluster is not None else "processes"
    command = [sys.executable, __file__, "drive", str(folder), where]
    before: dict[int, float] = {}
    for _ in range(2):
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        started = time.time()
        while not any(e.kind == "driver" and e.time >= started for e in read_journal(folder)):
            time.sleep(0.05)
        prey(folder)
        before |= scores(folder)
        driver.kill()
        driver.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return before


def full_disk(folder: Path, executor: Executor, cluster: Any) -> dict[int, float]:
    """A small file system of its own for the ledger, which only a process that may mount one can have."""
    place = Path(tempfile.mkdtemp())
    mount = f"mount -t tmpfs -o size=24m tmpfs {place} && exec {sys.executable} {__file__} fill {place} {folder}"
    unshare = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", "-c", mount]
    done = subprocess.run(unshare, stdout=subprocess.PIPE, text=True, check=True)
    place.rmdir()
    return {int(trial): float(score) for trial, score in (line.split() for line in done.stdout.splitlines())}


FAULTS: dict[str, tuple[Callable[[Path, Executor, Any], dict[int, float]], str, str | None]] = {
    "a worker is killed (processes)": (injected(kill_worker), "processes", None),
    "a worker is killed (Ray)": (injected(kill_worker), "ray", None),
    "a node is removed (Ray)": (injected(remove_node), "ray", None),
    "the driver is killed twice (processes)": (kill_driver, "processes", None),
    "the driver is killed twice (Ray)": (kill_driver, "ray", None),
    "the ledger's disk is full": (full_disk, "processes", None),
    "a trial hangs once (processes)": (in_trial("hang"), "processes", None),
    "a trial hangs once (Ray)": (in_trial("hang"), "ray", None),
    "a trial always fails": (in_trial("fail"), "processes", "fail"),
    **{f"the score is {name}": (in_trial(name), "processes", name) for name in POISON},
}
"""Of each fault: the scenario, the executor, and the fault that no attempt of the sick trial survives."""


@contextmanager
def nodes() -> Iterator[Any]:
    """A Ray cluster of a head without CPUs and three nodes, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(3):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@dataclass(frozen=True)
class Result:
    """What a fault did.

    Attributes:
        finished: Scores that were there when it happened.
        lost: How many of them are not in the ledger in the end, or differ.
        twice: How many codes or seeds are counted twice, or were trained anew after they had a score.
        same: Whether the study is the undisturbed one, apart from a trial whose every attempt failed.
        resumed: Attempts that went on from a checkpoint.
        told: What the journal says of it.
    """

    finished: int
    lost: int
    twice: int
    same: bool
    resumed: int
    told: str

    @property
    def fine(self) -> bool:
        return not self.lost and not self.twice and self.same and bool(self.told)


def inject(name: str, folder: Path, undisturbed: list[Record], left_out: list[Record]) -> Result:
    """Run a study with a fault.

    Args:
        name: A key of FAULTS.
        folder: For the study; made.
        undisturbed: The trials of the same study without faults.
        left_out: Those of the study whose sick trial fails.
    """
    scenario, kind, hopeless = FAULTS[name]
    folder.mkdir(parents=True)
    said.clear()
    timeout = TIMEOUT if "hangs" in name else None
    if kind == "ray":
        with nodes() as cluster:
            before = scenario(folder, RayCluster(timeout=timeout), cluster)
    else:
        before = scenario(folder, LocalProcesses(2, timeout), None)
    records, after = read_records(folder), scores(folder)
    attempts = [line.split() for line in (folder / "attempts.log").read_text(encoding="utf-8").splitlines()]
    counts = Counter(seed for seed, _ in attempts)
    trained = sum(counts[str(r.seed)] > 1 and r.number in before for r in records)
    return Result(
        finished=len(before),
        lost=sum(after.get(trial) != score for trial, score in before.items()),
        twice=2 * len(records) - len({r.code for r in records}) - len({r.seed for r in records}) + trained,
        same=essence(records) == essence(left_out if hopeless else undisturbed),
        resumed=sum(how == "resumed" for _, how in attempts),
        told=summary(folder),
    )


def essence(records: list[Record]) -> list[Any]:
    """All that must not depend on faults and executors."""
    return sorted((r.seed, str(r.code), r.round, r.state, r.value) for r in records)


def summary(folder: Path) -> str:
    """The first fault that the journal tells of, or that a new driver had to begin."""
    entries = read_journal(folder)
    texts = [e.text for e in entries if e.kind == "fault"] + [e.text for e in entries if e.text == "resumed"]
    text = re.sub(r"resnet18_small\{[\d,]*\}", "CODE", texts[0]) if texts else ""
    return text.replace("|", "/")[:90]


def references(folder: Path) -> tuple[list[Record], list[Record]]:
    """The undisturbed study, and the one whose sick trial fails."""
    for name, fault in (("undisturbed", None), ("left_out", "fail")):
        (folder / name).mkdir(parents=True)
        run(folder / name, LocalProcesses(2) if fault is None else InProcess(), fault)
    return read_records(folder / "undisturbed"), read_records(folder / "left_out")


def main() -> int:
    options = parser(__doc__).parse_args()
    rows, fine = [], True
    with tempfile.TemporaryDirectory() as place:
        undisturbed, left_out = references(Path(place))
        for i, name in enumerate(FAULTS):
            result = inject(name, Path(place) / str(i), undisturbed, left_out)
            print(f"{name}: {result}", file=sys.stderr)
            fine &= result.fine
            counted = (result.finished, result.lost, result.twice, result.resumed)
            rows.append([name, *map(str, counted), "yes" if result.same else "no", result.told])
    header = ["fault", "scores before it", "lost", "counted or trained twice", "attempts resumed", "same study", "told"]
    title = (
        f"A search of {ROUNDS * BATCH} trainings on digits, disturbed. A trial has {ATTEMPTS} attempts, lost ones are "
        "begun again by Ray. Same study: codes, seeds and scores of the undisturbed one, or of the one without the "
        "trial that cannot be scored."
    )
    return report(__file__, title, header, rows, fine, options)


def drive(folder: str, where: str) -> None:
    """A driver in a process of its own."""
    run(Path(folder), LocalProcesses(2) if where == "processes" else RayCluster(where))


def fill(place: str, folder: str) -> None:
    """A study on a small file system of this process's own, which is filled; its files are copied out at the end."""
    before = injected(fill_disk)(Path(place), LocalProcesses(2), None)
    for name in ("study.json", "study.db", "journal.jsonl", "attempts.log"):
        shutil.copy(Path(place) / name, folder)
    for trial, score in before.items():
        print(trial, repr(score))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1:2] in (["drive"], ["fill"]):
        {"drive": drive, "fill": fill}[sys.argv[1]](*sys.argv[2:])
    else:
        sys.exit(main())
