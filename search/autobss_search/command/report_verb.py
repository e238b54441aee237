"""The command's verb report: what a study found, and several beside each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import add_verb, print_rich
from ..errors import StudyError
from .numbers import integer
from .study_tables import show_answers, show_study

if TYPE_CHECKING:
    from autobss_zoo import Code

    from ..reports.comparison import Comparison
    from ..studies.reading import StudyFolder
    from ..studies.records import Record


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
    verb.add_argument("--front", type=Path, metavar="FOLDER", help="write each trained network of the front as ONNX")
    verb.add_argument("--trial", type=integer(0), metavar="N", help="the trial to export (the searcher's answer)")


def _report(arguments: argparse.Namespace) -> int:
    if len(arguments.folders) > 1:
        return _compare(arguments)
    from autobss_zoo.files import write_atomically

    from ..reports.html import write_html
    from ..reports.report import to_csv, to_json
    from ..studies.journal import read_journal
    from ..studies.reading import StudyFolder

    _check_outputs(arguments)
    study = StudyFolder(arguments.folders[0])
    records = study.records()
    answer = study.answer(records)
    show_study(study.folder, records, answer, study.searcher, arguments.top or 10)
    if answer is not None:
        show_answers(study.answers(records))
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
    if arguments.front is not None:
        _export_front(study, records, arguments.front)
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    from autobss_zoo.files import check_output

    if arguments.front is not None and arguments.front.exists() and not arguments.front.is_dir():
        raise ValueError(f"--front: expected a folder, got the file {arguments.front}")
    if arguments.trial is not None and arguments.export is None:
        raise ValueError("--trial: says which trial to --export; give both or none")
    for path in (arguments.csv, arguments.json, arguments.html, arguments.export):
        if path is not None:
            check_output(path)


def _compare(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import check_output

    from ..reports.comparison import compare
    from ..reports.comparison_html import write_comparison

    for name in ("top", "csv", "json", "plots", "export", "front", "trial"):
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

    from ..reports.plots import LEAST, plot_convergence, plot_front, plot_history, plot_refining, refiner
    from ..reports.report import front
    from ..searchers import MCEA

    folder.mkdir(parents=True, exist_ok=True)
    plot_history(records, folder / "history.png", study.description.direction)
    scored = sum(r.value is not None for r in records)
    if scored >= LEAST and (searcher := refiner(study.searcher)) is not None:
        plot_refining(searcher, records, folder / "refining.png")
    if isinstance(study.searcher, MCEA) and (found := study.searcher.history(r.observation for r in records)):
        plot_convergence(found, folder / "convergence.png")
    if answers := front(study.searcher, records):
        plot_front(records, answers, str(study.searcher.cost), folder / "front.png")
    if (family := FAMILIES.get(study.space.family)) and answer is not None:
        hand_made = Code(family.name, family.original)
        both = [(f"hand-made {hand_made}", hand_made), (f"found {answer}", answer)]
        plot_allocation(both, folder / "allocation.png", study.setting)


def _export_front(study: StudyFolder, records: list[Record], folder: Path) -> None:
    """Write the networks of the front by their trials' numbers, and a table of them."""
    from autobss_zoo.files import write_atomically

    from ..reports.report import front, to_csv
    from ..studies.winner import model_path

    if study.searcher.cost is None:
        raise StudyError("--front: the score is the only objective of this study; --export writes its answer")
    trials = front(study.searcher, records)
    if not trials:
        raise StudyError("--front: there is no score yet, or only the study's own program can judge them")
    for trial in trials:
        model_path(study.folder, trial)  # before any is written
    folder.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        _export(study.folder, trial, folder / f"trial_{trial.number}.onnx")
    write_atomically(folder / "front.csv", to_csv(trials).encode())


def _export(folder: Path, trial: Record, path: Path) -> None:
    from autobss_zoo.export.classifiers import to_onnx

    from ..studies.winner import load_model, model_path

    report = to_onnx(load_model(model_path(folder, trial)), path)
    print(
        f"wrote {path}: {trial.code}, {report.macs:,} MACs, differs from PyTorch by {report.max_rel_error:.1g} at most"
    )
