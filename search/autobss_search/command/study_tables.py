"""What the command prints of a study."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import print_rich
from ..errors import StudyError

if TYPE_CHECKING:
    from autobss_zoo import Code

    from ..searchers import Searcher
    from ..studies.records import Record

LISTED = 20  # rounds and faults that are shown


def show_study(folder: Path, records: list[Record], answer: Code | None, searcher: Searcher, top: int) -> None:
    """Print what a study found: its rounds, its faults, its best codes, its front and its answer."""
    from rich.table import Table

    from ..reports.report import front, ranked, rounds

    summary = Table(title="Rounds")
    for name in ("round", "trials", "scored", "failed", "waiting", "best", "mean", "seconds"):
        summary.add_column(name, justify="right")
    lines = rounds(records, searcher.direction)
    for line in lines[-LISTED:]:
        summary.add_row(*(f"{v:.6g}" if isinstance(v, float) else "" if v is None else str(v) for v in line.values()))
    print_rich(summary)
    if len(lines) > LISTED:
        print(f"and {len(lines) - LISTED} earlier rounds; `autobss report {folder} --csv FILE` has all trials")
    _show_faults(folder)
    _show_trials("Best scores", ranked(records, searcher.direction)[:top], answer)
    _show_trials(f"Pareto front of score and {searcher.cost}", front(searcher, records), answer)
    if answer is not None:
        print(f"answer: {answer}")
        _show_network(folder, next(r for r in records if r.code == answer))


def show_answers(answers: list[Code]) -> None:
    """Print the answers of a search for several networks."""
    if len(answers) > 1:
        print(
            "answers, by scaling stage:", *(f"s{number}: {answer}" for number, answer in enumerate(answers)), sep="\n"
        )


def _show_trials(title: str, trials: list[Record], answer: Code | None) -> None:
    from rich.table import Table

    if not trials:
        return
    table = Table(title=title + (" (* the searcher's answer)" if answer is not None else ""))
    table.add_column("code", overflow="fold")  # a long one in several lines
    for name in ("score", "round", "trial", *trials[0].costs):
        table.add_column(name, justify="right", no_wrap=True)
    for r in trials:
        costs = (f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}" for cost in r.costs.values())
        table.add_row(
            f"{r.code}{' *' if r.code == answer else ''}", f"{r.value:.6g}", str(r.round + 1), str(r.number), *costs
        )
    print_rich(table)


def _show_network(folder: Path, record: Record) -> None:
    from ..studies.verified import read_verified
    from ..studies.winner import model_path

    with suppress(StudyError):
        print(f"its trained network: {model_path(folder, record)}")
    if found := read_verified(folder, record.code):
        print(found)


def _show_faults(folder: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..studies.journal import NAME, read_journal, status

    faults = status(read_journal(folder)).faults
    if not faults:
        return
    table = Table("time", title="What went wrong")
    table.add_column("trial", justify="right")
    table.add_column("what")
    for fault in faults[-LISTED:]:
        when = datetime.fromtimestamp(fault.time).isoformat(" ", "seconds")
        table.add_row(when, "" if fault.trial is None else str(fault.trial), Text(fault.text))
    print_rich(table)
    if len(faults) > LISTED:
        print(f"and {len(faults) - LISTED} earlier; {NAME} has all")
