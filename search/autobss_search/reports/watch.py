"""A study as it runs, in a terminal. It only reads: the driver goes on as if nobody watched."""

from __future__ import annotations

import itertools
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..console import print_rich
from ..errors import NotReadyError
from ..studies.description import Description
from ..studies.journal import Entry, Status, read_journal, status
from ..studies.reading import StudyFolder
from ..studies.records import Record
from ..studies.telling import read_space
from .report import ranked

_BLOCKS = "▁▂▃▄▅▆▇█"
_LINES = 5  # of the journal
_FAULTS = 3


class Facts(NamedTuple):
    """What is known of a study before its first trial.

    Attributes:
        folder: The study's folder.
        searcher: The searcher's name.
        family: Of the space.
        budget: The bounds of each constraint in words.
        rounds, batch: Rounds, and codes in each.
        direction: "maximize" or "minimize".
    """

    folder: Path
    searcher: str
    family: str
    budget: Mapping[str, str]
    rounds: int
    batch: int
    direction: str

    @classmethod
    def of(cls, folder: Path, study: Description) -> Facts:
        """The facts of a study in a folder."""
        space, (searcher, preset) = read_space(study, folder), map(study.searcher.get, ("searcher", "preset"))
        name = f"{searcher} ({preset})" if preset else str(searcher)
        budget = {c.name: c.range for c in space.constraints}
        return cls(folder, name, space.family, budget, study.rounds, study.batch, study.direction)


def watch(folder: Path, interval: float, once: bool) -> None:
    """Show a study until its driver has finished.

    Args:
        folder: The study's folder.
        interval: Seconds between two looks.
        once: Show one view and return, as it is done where stdout is no terminal.

    Raises:
        StudyError: If there is no study, and no folder to wait in for one; or if it is damaged.
    """
    watcher = Watcher(folder)
    if once or not sys.stdout.isatty():
        print_rich(watcher.look(time.time()))
        return
    stop: list[int] = []
    # A KeyboardInterrupt could come where it is ignored, as when a connection is given back; the lock of an Event could
    # be held when this is called.
    before = signal.signal(signal.SIGINT, lambda number, _: stop.append(number))
    try:
        _follow(watcher, folder, interval, stop)
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(watcher: Watcher, folder: Path, interval: float, stop: list[int]) -> None:
    with Live(Text(f"reading {folder}"), console=Console(), auto_refresh=False) as live:
        while not (watcher.finished or stop):
            try:
                seen = watcher.look(time.time(), rows=max(1, min(20, live.console.height - 24)))
            except NotReadyError:
                if not folder.is_dir():
                    raise
                seen = Text(f"{folder}: waiting for a study; `autobss search --folder {folder}` starts one")
            live.update(seen, refresh=True)
            until = time.monotonic() + (0 if watcher.finished else interval)
            while not stop and time.monotonic() < until:
                time.sleep(min(0.1, interval))


class Watcher:
    """Looks at a study again and again, and reads only what is new.

    Args:
        folder: The study's folder.

    Attributes:
        finished: Whether its driver had finished at the last look, which has seen all trials then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._description: Description | None = None
        self._study: StudyFolder | None = None
        self._records: list[Record] = []
        self.finished = False

    def look(self, now: float, rows: int = 20) -> RenderableType:
        """The study now; where its storage cannot be read for a moment, with the trials as they were.

        Raises:
            NotReadyError: If there is no study.
            StudyError: If it is damaged.
        """
        self._open()
        entries, note = read_journal(self._folder), ""  # first: what it names has a record then
        try:
            self._study = self._study or StudyFolder(self._folder, timeout=1)
            self._records = self._study.records()
        except NotReadyError as error:
            note = f"the trials cannot be read now: {error.reason}"
        self.finished = not note and _finished(status(entries).ended)
        return view(self._facts, self._records, entries, now, rows, note)

    def _open(self) -> None:
        """Read the description. If it is another study than at the last look, begin anew."""
        if (description := Description.read(self._folder)) != self._description:
            self._facts = Facts.of(self._folder, description)
            self._description, self._study, self._records = description, None, []


def view(
    facts: Facts, records: Sequence[Record], entries: Sequence[Entry], now: float, rows: int = 20, note: str = ""
) -> RenderableType:
    """A study as a rich renderable.

    Args:
        facts: What is known of it.
        records: Its trials.
        entries: Its journal.
        now: Seconds since the epoch.
        rows: The most trials to list of those that are being scored.
        note: Something that the user has to know.
    """
    state = status(entries)
    parts = [
        *_header(facts, state, now),
        *([Text(note, "yellow")] if note else []),
        *_progress(facts, records, entries, state, now),
        *_best(facts, records, entries, now),
        *_running(records, state, now, rows),
        *_faults(state, now),
        *_journal(entries, now),
    ]
    return Group(*parts)


def _header(facts: Facts, state: Status, now: float) -> list[RenderableType]:
    budget = ", ".join(f"{name} {bounds}" for name, bounds in facts.budget.items())
    what = f": {facts.searcher} over {facts.family}" + (f", {budget}" if budget else "")
    return [Text.assemble((str(facts.folder), "bold"), what), _driver(facts.folder, state, now)]


def _driver(folder: Path, state: Status, now: float) -> Text:
    if state.driver is None:
        return Text("not started", "yellow")
    if state.killed:
        return Text(f"the driver was killed; `autobss resume {folder}` goes on", "red")
    if state.ended is None:
        return Text(f"running since {clock(state.driver.time, now)} on {state.driver.where}", "green")
    when = clock(state.ended.time, now)
    if _finished(state.ended):
        return Text(f"finished at {when}", "green")
    return Text(f"ended at {when}: {state.ended.text}; `autobss resume {folder}` goes on", "yellow")


def _progress(
    facts: Facts, records: Sequence[Record], entries: Sequence[Entry], state: Status, now: float
) -> list[RenderableType]:
    count = Counter(r.state for r in records if r.round >= 0)
    done, total = count["complete"] + count["failed"], facts.rounds * facts.batch
    running = len(_being_scored(records, state))
    line = f"{done:,} of {total:,}"
    if state.driver is not None:
        line += f", {span((now if _runs(state) else entries[-1].time) - state.driver.time)}"
    if _runs(state) and (left := seconds_left(total - done, entries, now)) is not None:
        line += f", about {span(left)} left"
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(total, done, width=30), Text(line))
    parts = {"scored": count["complete"], "failed": count["failed"]}
    parts |= {"running": running, "waiting": count["waiting"] - running}
    return [bar, Text(", ".join(f"{n:,} {name}" for name, n in parts.items()))]


def seconds_left(trials: int, entries: Iterable[Entry], now: float) -> float | None:
    """How long so many trials take at the latest driver's speed; None before its first score.

    While the next score is overdue, it is as long as a score takes.
    """
    start, latest, scores = 0.0, 0.0, 0
    for entry in entries:
        if entry.kind == "driver":
            start, scores = entry.time, 0
        elif entry.kind == "score":
            latest, scores = entry.time, scores + 1
    if not scores or not trials:
        return None
    each = (latest - start) / scores
    return max(each, trials * each - (now - latest))


def _best(facts: Facts, records: Sequence[Record], entries: Sequence[Entry], now: float) -> list[RenderableType]:
    best = next(iter(ranked(records, facts.direction)), None)
    if best is None:
        return []
    costs = "".join(f"{name} {cost:,.0f}, " for name, cost in best.costs.items())
    found = next((e.time for e in reversed(entries) if e.kind == "score" and e.trial == best.number), None)
    what = f"{costs}trial {best.number}, round {best.round + 1}" + (f", found at {clock(found, now)}" if found else "")
    better = max if facts.direction == "maximize" else min
    history = list(itertools.accumulate((r.value for r in records if r.value is not None), better))
    return [
        Text(),
        Text.assemble("best ", (f"{best.value:.6g}", "bold green"), f" {best.code}"),
        Text(what),
        Text.assemble(f"best so far {history[0]:.6g} ", (sparkline(history), "green"), f" {history[-1]:.6g}"),
    ]


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Values as blocks from the lowest to the highest; of more than `width`, the last of each equal part."""
    n = min(len(values), width)
    shown = [values[(i + 1) * len(values) // n - 1] for i in range(n)]
    low, high = min(shown), max(shown)
    return "".join(_BLOCKS[round((v - low) / ((high - low) or 1) * (len(_BLOCKS) - 1))] for v in shown)


def _finished(ended: Entry | None) -> bool:
    return ended is not None and ended.text == "finished"


def _runs(state: Status) -> bool:
    return state.driver is not None and state.ended is None and not state.killed


def _being_scored(records: Sequence[Record], state: Status) -> list[tuple[Record, Entry]]:
    """Trials and when they were started, the earliest first."""
    if not _runs(state):
        return []
    waiting = {r.number: r for r in records if r.state == "waiting"}
    started = sorted(state.running.values(), key=lambda e: e.time)
    return [(waiting[e.trial], e) for e in started if e.trial in waiting]


def _running(records: Sequence[Record], state: Status, now: float, rows: int) -> list[RenderableType]:
    running = _being_scored(records, state)
    if not running:
        return []
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("being scored")
    table.add_column("where")
    for record, entry in running[:rows]:
        table.add_row(str(record.number), span(now - entry.time), _cut(str(record.code)), _cut(entry.where or ""))
    more = len(running) - rows
    return [Text(), table, *([Text(f"and {more:,} more", "dim")] if more > 0 else [])]


def _faults(state: Status, now: float) -> list[RenderableType]:
    if not state.faults:
        return []
    counts = Counter("others" if e.trial is None else f"trial {e.trial}" for e in state.faults)
    most = ", ".join(f"{name}: {n}" for name, n in counts.most_common(5))
    more = ", ..." if len(counts) > 5 else ""
    number = "1 fault" if len(state.faults) == 1 else f"{len(state.faults):,} faults"
    return [Text(), _cut(f"{number} ({most}{more})", "red"), *(_line(e, now) for e in state.faults[-_FAULTS:])]


def _journal(entries: Sequence[Entry], now: float) -> list[RenderableType]:
    lines = [_line(e, now) for e in entries[-_LINES:]]
    return [Text(), Text("journal", "dim"), *lines] if lines else []


def _line(entry: Entry, now: float) -> Text:
    trial = "" if entry.trial is None else f"trial {entry.trial}: "
    return _cut(f"{clock(entry.time, now)} {entry.kind:<6} {trial}{entry.text}")


def _cut(text: str, style: str = "") -> Text:
    """One line, cut to the room that there is."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def clock(seconds: float, now: float) -> str:
    """A time in the local zone, with its date unless that is today."""
    time, today = datetime.fromtimestamp(seconds), datetime.fromtimestamp(now).date()
    return f"{time:%H:%M:%S}" if time.date() == today else f"{time:%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """A duration as 0:01:30."""
    return str(timedelta(seconds=max(0, int(seconds))))
