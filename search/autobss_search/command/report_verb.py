"""The command's verb report: what a study found, and several beside each other."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import add_verb, print_rich
from ..errors import StudyError
from .numbers import integer

if TYPE_CHECKING:
    from autobss_zoo import Code

    from ..reports.comparison import Comparison
    from ..studies.reading import StudyFolder
    from ..studies.records import Record

LISTED = 20  # rounds and faults that are shown


def add_commands(commands: Any) -> None:
    """Add the verb to argparse's subparsers."""
    verb = add_verb(commands, "report", _report, "show what a search found, or compare several")
    verb.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="a study's folder; several are compared")
    verb.add_argument("--top", type=integer(), metavar="N", help="show the N best codes (10)")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write every trial as CSV")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write every trial as JSON")
    verb.add_argument("--plots", type=Path, metavar="FOLDER", help="draw history, refining and stage allocation")
    verb.add_argument("--html", type=Path, metavar="FILE", help="write a page with interactive plots and tables")
    verb.add_argument("--export", type=Path, metavar="OUT.onnx", help="write a trained network as ONNX")
    verb.add_argument("--trial", type=integer(0), metavar="N", help="the trial to export (the searcher's answer)")


def show_study(folder: Path, records: list[Record], answer: Code | None, direction: str, top: int) -> None:
    """Print what a study found: its rounds, its faults, its best codes and its answer."""
    from rich.table import Table

    from ..reports.report import ranked, rounds

    summary = Table(title="Rounds")
    for name in ("round", "trials", "scored", "failed", "waiting", "best", "mean", "seconds"):
        summary.add_column(name, justify="right")
    lines = rounds(records, direction)
    for line in lines[-LISTED:]:
        summary.add_row(*(f"{v:.6g}" if isinstance(v, float) else "" if v is None else str(v) for v in line.values()))
    print_rich(summary)
    if len(lines) > LISTED:
        print(f"and {len(lines) - LISTED} earlier rounds; `autobss report {folder} --csv FILE` has all trials")
    _show_faults(folder)
    best = ranked(records, direction)[:top]
    if best:
        table = Table(title="Best scores" + (" (* the searcher's answer)" if answer is not None else ""))
        table.add_column("code", overflow="fold")  # a long one in several lines
        for name in ("score", "round", "trial", *best[0].costs):
            table.add_column(name, justify="right", no_wrap=True)
        for r in best:
            costs = (f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}" for cost in r.costs.values())
            table.add_row(
                f"{r.code}{' *' if r.code == answer else ''}", f"{r.value:.6g}", str(r.round + 1), str(r.number), *costs
            )
        print_rich(table)
    if answer is not None:
        print(f"answer: {answer}")
        _show_network(folder, next(r for r in records if r.code == answer))


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


def _report(arguments: argparse.Namespace) -> int:
    if len(arguments.folders) > 1:
        return _compare(arguments)
    from autobss_zoo.files import check_output, write_atomically

    from ..reports.html import write_html
    from ..reports.report import to_csv, to_json
    from ..studies.journal import read_journal
    from ..studies.reading import StudyFolder

    if arguments.trial is not None and arguments.export is None:
        raise ValueError("--trial: says which trial to --export; give both or none")
    for path in (arguments.csv, arguments.json, arguments.html, arguments.export):
        if path is not None:
            check_output(path)
    study = StudyFolder(arguments.folders[0])
    records = study.records()
    answer = study.answer(records)
    show_study(study.folder, records, answer, study.description.direction, arguments.top or 10)
    for path, text in ((arguments.csv, to_csv), (arguments.json, to_json)):
        if path is not None:
            write_atomically(path, text(records).encode())
    if arguments.plots is not None:
        _plot(arguments.plots, study, records, answer)
    if arguments.html is not None:
        planned = study.description.rounds * study.description.batch
        name, journal = study.folder.resolve().name, read_journal(study.folder)
        write_html(arguments.html, name, study.searcher, records, journal, answer, planned, study.setting)
    if arguments.export is not None:
        _export(study.folder, _chosen(records, answer, arguments.trial), arguments.export)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import check_output

    from ..reports.comparison import compare
    from ..reports.comparison_html import write_comparison

    for name in ("top", "csv", "json", "plots", "export", "trial"):
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name}: is of one study; got {len(arguments.folders)} folders to compare")
    if arguments.html is not None:
        check_output(arguments.html)
    comparison = compare(arguments.folders)
    _show_comparison(comparison)
    if arguments.html is not None:
        write_comparison(arguments.html, comparison)
    return 0


def _show_comparison(comparison: Comparison) -> None:
    from ..reports import comparison_tables as tables

    for title, (heads, rows) in {
        "Studies": tables.studies(comparison),
        "Answers": tables.answers(comparison),
        "Over seeds, ± standard deviation": tables.seeds(comparison),
        "What differs": tables.differences(comparison),
    }.items():
        if rows:
            _print_table(title, heads, rows)
    for note in comparison.notes:
        print(note)


def _print_table(title: str, heads: list[str], rows: list[list[Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for head, *column in zip(heads, *rows, strict=True):
        numbers = any(isinstance(value, (int, float)) for value in column)
        table.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_figure(value)) for value in row))
    print_rich(table)


def _figure(value: Any) -> str:
    if isinstance(value, float) and abs(value) < 1000:
        return f"{value:.6g}"
    return "" if value is None else f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def _chosen(records: list[Record], answer: Code | None, trial: int | None) -> Record:
    """The trial to export: the one of that number, or the answer's."""
    for record in records:
        if record.number == trial or (trial is None and record.code == answer):
            return record
    if trial is None:
        raise StudyError("there is no answer yet whose network could be exported; give --trial")
    raise StudyError(f"there is no trial {trial} with a code; `--csv` lists them")


def _plot(folder: Path, study: StudyFolder, records: list[Record], answer: Code | None) -> None:
    from autobss_zoo import Code
    from autobss_zoo.families import FAMILIES
    from autobss_zoo.plots import plot_allocation

    from ..reports.plots import LEAST, plot_history, plot_refining, refiner

    folder.mkdir(parents=True, exist_ok=True)
    plot_history(records, folder / "history.png", study.description.direction)
    scored = sum(r.value is not None for r in records)
    if scored >= LEAST and (searcher := refiner(study.searcher)) is not None:
        plot_refining(searcher, records, folder / "refining.png")
    if (family := FAMILIES.get(study.space.family)) and answer is not None:
        hand_made = Code(family.name, family.original)
        both = [(f"hand-made {hand_made}", hand_made), (f"found {answer}", answer)]
        plot_allocation(both, folder / "allocation.png", study.setting)


def _export(folder: Path, trial: Record, path: Path) -> None:
    from autobss_zoo.export.classifiers import to_onnx

    from ..studies.winner import load_model, model_path

    report = to_onnx(load_model(model_path(folder, trial)), path)
    print(
        f"wrote {path}: {trial.code}, {report.macs:,} MACs, differs from PyTorch by {report.max_rel_error:.1g} at most"
    )
