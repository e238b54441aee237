"""Bad inputs, over a thousand, each as a command: is each refused in one line, and is nothing left behind?

Good inputs (a network's folder, a training, a study, a table, recipes) are changed at random by structure; see
hostile.py for the classes. A case is clean if the command ends by itself within a time, and either refuses (an exit
code other than 0, one line on standard error that starts with "autobss: error:", no file new, changed or gone) or,
where a changed input can be a legal one, goes through without a word of Python's (no traceback, no raw warning).

Each command is a process of its own, with its own streams, environment and folder. So that a thousand take minutes, it
is forked from a process that has imported torch, timm and autobss and nothing else: it has no threads and has computed
nothing, so that the command behaves as one that was just started, but for the seconds of the imports.

    python benchmarks/bad_inputs.py --number 1200 --write
    python benchmarks/bad_inputs.py --only studies:17      # one again, as it was, with what it printed
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")

import timm  # noqa: F401  # imported once, for all commands
import torch  # noqa: F401
import yaml
from hostile import CLASSES, SPACE, TRAINING, Case, Made
from machine import parser, report

import autobss_zoo.export.classifiers
import autobss_zoo.hub
import autobss_zoo.training  # noqa: F401
from autobss_search import load_space
from autobss_search.command.cli import main as autobss
from autobss_search.spaces.blocks import covering_codes
from autobss_search.spaces.budgets import Counted
from autobss_zoo import Setting, get_family
from autobss_zoo.latency.blocks import distinct
from autobss_zoo.latency.conditions import Runtime
from autobss_zoo.latency.runners import conditions
from autobss_zoo.latency.table import Fit, MeasuredBlock, Table

LIMIT = 120.0  # seconds of a command
MEMORY = 8 << 30  # bytes of a command's address space
Files = dict[str, str]


@dataclass
class Running:
    """A command's process.

    Attributes:
        name: The case's class and number.
        case: What is run.
        place: Where its folder and streams are.
        before: The folder's files.
        process: Its id.
        since: When it started.
    """

    name: str
    case: Case
    place: Path
    before: Files
    process: int
    since: float


def start(case: Case, place: Path) -> int:
    """Fork a process that runs a command in `place`/folder."""
    if process := os.fork():
        return process
    code = 70
    try:
        os.setsid()
        os.environ.update(case.environment)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        tempfile.tempdir = str(place / "folder")  # so that a temporary file that is left is seen
        _open_streams(case, place)
        os.chdir(place / "folder")
        code = autobss([os.fsencode(a).decode("utf-8", "surrogateescape") for a in case.arguments])
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _open_streams(case: Case, place: Path) -> None:
    """The streams of a process that was just started."""
    encoding = case.environment.get("PYTHONIOENCODING", "utf-8")
    output = "/dev/full" if case.output == "full" else os.devnull if case.output == "closed" else place / "out"
    for number, name, path in ((0, "stdin", os.devnull), (1, "stdout", output), (2, "stderr", place / "err")):
        opened = os.open(
            path, (os.O_RDONLY if number == 0 else os.O_WRONLY) | (os.O_CREAT if number and path != "/dev/full" else 0)
        )
        os.dup2(opened, number)
        os.close(opened)
        errors = "backslashreplace" if number == 2 else "strict"
        binary = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
        buffered: Any = io.BufferedReader(binary) if number == 0 else io.BufferedWriter(binary)
        setattr(sys, name, io.TextIOWrapper(buffered, encoding, errors, line_buffering=number == 2))
    if case.output == "closed":
        os.close(1)
        sys.stdout = None


def files_of(folder: Path) -> Files:
    """All that is in a folder, and what each file is like."""
    found = {}
    for path in folder.rglob("*"):
        how = path.lstat()
        content = os.readlink(path) if path.is_symlink() else ""
        if stat.S_ISREG(how.st_mode):
            content = hashlib.sha1(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{stat.S_IFMT(how.st_mode):o} {content}"
    return found


def judge(run: Running, status: int | None, after: Files) -> tuple[str, str]:
    """Whether a case is "refused" or "legal", or "failed" and why."""
    err = (run.place / "err").read_bytes().decode("utf-8", "replace")
    lines = [line for line in err.splitlines() if not line.startswith("autobss: warning: ")]
    if status is None:
        return "failed", f"not ended after {LIMIT:g} s"
    code = os.waitstatus_to_exitcode(status)
    if re.search(r"^Traceback|\.py:\d+: \w*Warning:", err, re.MULTILINE):
        return "failed", f"printed Python's own words: {lines[-1][:200] if lines else ''}"
    if code == 0:
        return ("failed", "accepted") if run.case.refused else ("legal", "")
    if code < 0:
        return "failed", f"died of signal {-code}"
    if len(lines) != 1 or not lines[0].startswith("autobss: error: "):
        return "failed", f"{len(lines)} lines on standard error: {err[:300]!r}"
    if lines[0].startswith("autobss: error: unexpected "):
        return "failed", lines[0]
    if changed := sorted(key for key, _ in after.items() ^ run.before.items()):
        return "failed", f"left or changed: {', '.join(dict.fromkeys(changed))[:200]}; it said {lines[0]!r}"
    return "refused", lines[0]


def running(names: list[str], made: Made, place: Path, seed: int) -> Iterator[tuple[Running, str, str]]:
    """Run the cases, as many at a time as there are cores."""
    waiting = names[::-1]
    active: dict[int, Running] = {}
    while waiting or active:
        if waiting and len(active) < (os.cpu_count() or 1):
            run = begin(waiting.pop(), made, place, seed)
            active[run.process] = run
            continue
        process, status = os.waitpid(-1, os.WNOHANG)
        for run in [active[process]] if process else list(active.values()):
            age = time.monotonic() - run.since
            ended: int | None = status if process else None
            if not process and run.case.ended_after is not None and age > run.case.ended_after:
                os.kill(run.process, signal.SIGTERM)
                run.case = Case(run.case.arguments, run.case.refused)
            if process or age > LIMIT:
                end(run, bool(process))
                del active[run.process]
                yield run, *judge(run, ended, files_of(run.place / "folder"))
        if not process:
            time.sleep(0.02)


def begin(name: str, made: Made, place: Path, seed: int) -> Running:
    """Prepare a case's folder and start its command."""
    kind = name.rpartition(":")[0]
    here = place / name.replace(" ", "_").replace(":", "-")
    (here / "folder").mkdir(parents=True)
    os.chdir(here / "folder")
    case = CLASSES[kind](Random(f"{seed} {name}"), made)
    os.chdir(place)
    before = files_of(here / "folder")
    return Running(name, case, here, before, start(case, here), time.monotonic())


def end(run: Running, ended: bool) -> None:
    """End what is left of a command: of its session, so that its workers end as well."""
    with suppress(ProcessLookupError):
        os.killpg(run.process, signal.SIGKILL)
    if not ended:
        os.waitpid(run.process, 0)


def _make_device(path: Path) -> None:
    """The table of a device whose blocks take a nanosecond for each input channel."""
    setting, runtime = Setting(8, 1, 10), Runtime()
    space = load_space(SPACE, setting=setting)
    counted = Counted(space.family, setting)
    codes = covering_codes(space, counted)
    assert codes is not None
    blocks = [
        MeasuredBlock(kind=s.kind, shape=s.shape, quick=1e-9 * s.shape[0], median=1e-9 * s.shape[0], spread=0.0, n=9)
        for s in distinct(get_family(space.family).plan(codes, setting), len(codes))
    ]
    Table(
        conditions=conditions(runtime),
        protocol="made up",
        family=space.family,
        largest_macs=1 << 40,
        reference=1.0,
        blocks=tuple(blocks),
        fit=Fit(constant=0.0, factor=1.0, block=0.0, input=0.0, param=0.0),
        **setting.describe(),
    ).save(path)


def make(folder: Path) -> Made:
    """The good inputs, made by commands."""
    keys = [f"{a}{b}{c}" for a in "0123" for b in "0123" for c in "0123"]
    table = {key: {"test_acc": [80.0 + i, 81.0 + i], "flops": 100 * (1 + i)} for i, key in enumerate(keys)}
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(TRAINING))
    _make_device(folder / "device.json")
    for arguments in (
        ["train", "recipe.yaml", "--folder", "run", "--device", "cpu"],
        [
            "search",
            "--table",
            "table.json",
            "--folder",
            "study",
            "--rounds",
            "2",
            "--batch",
            "4",
            "--searcher",
            "random",
        ],
    ):
        place = folder / arguments[0]
        place.mkdir()
        (place / "folder").symlink_to(folder)
        _, status = os.waitpid(start(Case(arguments), place), 0)
        if status:
            raise SystemExit((place / "err").read_text())
    shutil.copytree(folder / "run" / "last", folder / "network")
    return Made(folder)


def main() -> int:
    """Try the cases, print those that failed and the table."""
    parsed = parser(__doc__)
    parsed.add_argument("--number", type=int, default=1200, help="cases (1200)")
    parsed.add_argument("--seed", type=int, default=0)
    parsed.add_argument("--only", action="append", default=[], metavar="CLASS[:N]", help="a class, or one of its cases")
    options = parsed.parse_args()
    kinds = [name for name in options.only if name in CLASSES] or list(CLASSES)
    one_by_one = [name for name in options.only if name not in CLASSES]
    names = one_by_one or [f"{kinds[i % len(kinds)]}:{i // len(kinds)}" for i in range(options.number)]
    counts: dict[str, Counter[str]] = {name.rpartition(":")[0]: Counter() for name in names}
    place = Path(tempfile.mkdtemp(prefix="bad-inputs-"))
    made = make(Path(tempfile.mkdtemp(prefix="made-", dir=place)))
    for run, verdict, why in running(names, made, place, options.seed):
        counts[run.name.rpartition(":")[0]][verdict] += 1
        if verdict == "failed" or one_by_one:
            command = shlex.join(["autobss", *(a[:300] for a in run.case.arguments)])
            print(f"{run.name}: {verdict}: {why}\n  cd {run.place}/folder; {command!r}", flush=True)
        else:
            shutil.rmtree(run.place)
    if not any(c["failed"] for c in counts.values()) and not one_by_one:
        shutil.rmtree(place)
    total = sum(counts.values(), Counter())
    rows = [
        [kind, *(str(n) for n in (c.total(), c.total() - c["failed"], c["legal"], c["failed"]))]
        for kind, c in (*counts.items(), ("all", total))
    ]
    title = f"Bad inputs, made at random from good ones (seed {options.seed}), each a command in a process of its own."
    return report(
        __file__, title, ["class", "tried", "clean", "of them legal", "failed"], rows, not total["failed"], options
    )


if __name__ == "__main__":
    sys.exit(main())
