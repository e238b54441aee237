"""What happened to a study, a line each: journal.jsonl in its folder. For people; nothing is resumed from it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

NAME = "journal.jsonl"


class Entry(NamedTuple):
    """A line of the journal.

    Attributes:
        time: Seconds since the epoch.
        kind: "driver" (one began), "round", "start" (of an attempt), "score", "fault" (of an attempt, of a worker or
            of the ledger) or "end" (of a driver).
        text: For people.
        trial: The trial's number, if it is about one.
        where: Of "driver", host:pid. Of "start", the worker.
    """

    time: Annotated[float, Field(ge=0, le=2e11)]  # which dates can show
    kind: str
    text: str
    trial: Annotated[int, Field(ge=0)] | None = None
    where: str | None = None


_ENTRY = TypeAdapter(Entry)


class Journal:
    """Appends lines. What cannot be written, such as on a full disk, is written with the next line.

    Args:
        folder: The study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._unwritten = "\n" if _torn(self._path) else ""

    def write(self, kind: str, text: str, trial: int | None = None, where: str | None = None) -> None:
        """Append an entry of this moment; its fields are those of `Entry`."""
        entry = Entry(round(time.time(), 3), kind, text, trial, where)
        line = json.dumps({key: value for key, value in entry._asdict().items() if value is not None})
        self._unwritten += line + "\n"
        with contextlib.suppress(OSError):
            if self._path.exists() and not self._path.is_file():  # such as a pipe, which could make the driver wait
                return
            size = self._path.stat().st_size if self._path.exists() else 0
            try:
                with open(self._path, "a", encoding="utf-8") as file:
                    file.write(self._unwritten)
            except OSError:
                os.truncate(self._path, size)  # a part of it may have fitted
                raise
            self._unwritten = ""


def here() -> str:
    """This process, as the `where` of a driver."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _torn(path: Path) -> bool:
    """Whether a kill has left a line without its end."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def read_journal(folder: Path) -> list[Entry]:
    """The lines so far, also while a driver writes; none if there is no journal. What is no entry is left out."""
    path, out = folder / NAME, []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValidationError):
                out.append(_ENTRY.validate_json(line))
    return out


class Status(NamedTuple):
    """What a journal says of now.

    Attributes:
        driver: The latest driver; None if there was none.
        ended: How it ended; None while it runs, or if it was killed.
        running: Trials that are being scored, by number: where and since when.
        faults: All faults so far.
    """

    driver: Entry | None
    ended: Entry | None
    running: dict[int, Entry]
    faults: list[Entry]

    @property
    def killed(self) -> bool:
        """Whether the driver is gone without a word. Known only on its own machine."""
        if self.driver is None or self.ended is not None:
            return False
        host, _, pid = (self.driver.where or "").rpartition(":")
        return host == socket.gethostname() and pid.isdecimal() and not _alive(int(pid))


def status(entries: Iterable[Entry]) -> Status:
    """What a journal's lines say of now."""
    driver, ended = None, None
    running: dict[int, Entry] = {}
    faults = []
    for entry in entries:
        if entry.kind == "driver":
            driver, ended, running = entry, None, {}
        elif entry.kind == "end":
            ended, running = entry, {}
        elif entry.kind == "start" and entry.trial is not None:
            running[entry.trial] = entry
        elif entry.trial is not None:
            running.pop(entry.trial, None)
        if entry.kind == "fault":
            faults.append(entry)
    return Status(driver, ended, running, faults)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True
