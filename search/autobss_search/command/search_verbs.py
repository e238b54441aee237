"""The command's verbs for searches: search, resume, watch, report. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import add_verb, print_rich
from .executor_options import add_executor_options, make_executor
from .numbers import integer, number

if TYPE_CHECKING:
    from ..executors import Executor
    from ..studies.ledger import Record
    from ..studies.recipe import SearchRecipe

RECIPE = "search.yaml"
LISTED = 20  # rounds and faults that are shown


def add_commands(commands: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    verb = add_verb(commands, "search", _search, "search the best code of a space under a budget")
    verb.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a shipped recipe or a YAML file; options replace values"
    )
    verb.add_argument("--folder", type=Path, default=Path("study"), help="where the study is kept (study)")
    verb.add_argument("--space", metavar="NAME_OR_FILE", help="a declared space, e.g. resnet18_small, or a YAML file")
    verb.add_argument(
        "--budget", metavar="MAX", help="MACs, e.g. 10M; or macs=9M..10M,params=1M (the hand-made code's)"
    )
    source = verb.add_mutually_exclusive_group()
    source.add_argument("--train", metavar="RECIPE", help="what trains each code (`autobss recipes`)")
    source.add_argument("--table", metavar="FILE", help="a table of finished trainings to look scores up in")
    verb.add_argument("--data-dir", metavar="FOLDER", help="where the training's data are")
    verb.add_argument("--searcher", help="autobss (default), paper, random, evolution or local")
    verb.add_argument("--rounds", type=integer(), help="rounds (4)")
    verb.add_argument("--batch", type=integer(), help="codes in a round (16)")
    verb.add_argument("--seed", type=integer(0), help="of the search (0)")
    verb.add_argument("--enqueue", action="append", metavar="CODE", help="a code to score in the first round; repeat")
    verb.add_argument("--storage", metavar="URL", help="a PostgreSQL or MySQL database instead of a file in the folder")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=10; repeat")
    verb.add_argument(
        "--asynchronous",
        action="store_true",
        default=None,
        help="ask for a code whenever a worker is free, not in rounds",
    )
    add_executor_options(verb)

    verb = add_verb(commands, "resume", _resume, "go on with a search that was interrupted")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the study's folder")
    add_executor_options(verb)

    verb = add_verb(commands, "watch", _watch, "show a search as it runs, until it has finished")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the study's folder")
    verb.add_argument("--interval", type=number(0.1, 3600), metavar="SECONDS", help="between two looks (2)")
    verb.add_argument("--once", action="store_true", help="show it as it is now, and end")

    verb = add_verb(commands, "report", _report, "show what a search found")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the study's folder")
    verb.add_argument("--top", type=integer(), default=10, metavar="N", help="show the N best codes (10)")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write every trial as CSV")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write every trial as JSON")
    verb.add_argument("--plots", type=Path, metavar="FOLDER", help="draw history, refining and stage allocation")
    verb.add_argument("--html", type=Path, metavar="FILE", help="write a page with interactive plots and tables")
    verb.add_argument("--export", type=Path, metavar="OUT.onnx", help="write a trained network as ONNX")
    verb.add_argument("--trial", type=integer(0), metavar="N", help="the trial to export (the searcher's answer)")


def _search(arguments: argparse.Namespace) -> int:
    from autobss_zoo.recipes import merged, parse_settings
    from autobss_zoo.yaml_text import parse_yaml

    from ..spaces.budgets import parse_budget
    from ..studies.recipe import SearchRecipe

    names = ("space", "budget", "table", "searcher", "rounds", "batch", "seed", "enqueue", "storage", "asynchronous")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.train is not None:
        given["training"] = {"base": arguments.train}
    if arguments.data_dir is not None:
        given["training"] = {**given.get("training", {}), "data_dir": arguments.data_dir}
    changes = parse_settings(arguments.set)
    for values in (given, changes):
        if "budget" in values:
            values["budget"] = parse_budget(values["budget"])  # such that bounds are merged one by one
    settings = merged(given, changes)
    recipe = SearchRecipe.load(arguments.recipe or {}, settings)
    recipe = SearchRecipe.load(parse_yaml(recipe.dump(), "recipe"))  # as workers in other folders see it
    return _run(arguments.folder, recipe, make_executor(arguments))


def _resume(arguments: argparse.Namespace) -> int:
    return _run(arguments.folder, _recipe(arguments.folder), make_executor(arguments))


def _watch(arguments: argparse.Namespace) -> int:
    folder, interval = arguments.folder, arguments.interval or 2.0
    if arguments.once and arguments.interval:
        raise ValueError("--interval: --once looks one time; leave one of them out")
    with suppress(KeyboardInterrupt):
        from ..reports.watch import watch

        watch(folder, lambda: _recipe(folder), interval, arguments.once)
    return 0


def _recipe(folder: Path) -> SearchRecipe:
    from ..errors import StudyError
    from ..studies.recipe import SearchRecipe

    if not (folder / RECIPE).is_file():
        raise StudyError(f"{folder}: there is no study here; `autobss search` starts one")
    return SearchRecipe.load(folder / RECIPE)


def _run(folder: Path, recipe: SearchRecipe, executor: Executor) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from autobss_zoo.files import write_atomically

    from ..studies.study import Study

    searcher, evaluate = recipe.make_searcher(), recipe.make_evaluator(folder / "models")
    enqueue = [searcher.space.parse(text) for text in recipe.enqueue]
    for code in enqueue:
        searcher.space.check(code)
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress,
        Study(
            folder,
            searcher,
            evaluate,
            executor,
            recipe.rounds,
            recipe.batch,
            recipe.storage,
            asynchronous=recipe.asynchronous,
        ) as study,
    ):
        if not (folder / RECIPE).exists():
            write_atomically(folder / RECIPE, recipe.dump().encode())
        task = progress.add_task("scored", total=recipe.rounds * recipe.batch)

        def show(line: str) -> None:
            progress.update(task, completed=sum(r.state != "waiting" for r in study.records))
            console.print(line, highlight=False, soft_wrap=True)

        study.on_event = show
        known = {r.code for r in study.records}
        for code in enqueue if not known else ():
            study.enqueue(code)
        try:
            answer = study.run()
        except KeyboardInterrupt:
            console.print(f"interrupted; `autobss resume {folder}` goes on", highlight=False)
            raise
        _show(folder, study.records, answer, searcher.direction, 10)
    return 0


def _show(folder: Path, records: list[Record], answer: Any, direction: str, top: int) -> None:
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
        table = Table(title="Best scores (* the searcher's answer)")
        table.add_column("code", overflow="fold")  # a long one in several lines
        for name in ("score", "round", "trial", *best[0].costs):
            table.add_column(name, justify="right", no_wrap=True)
        for r in best:
            costs = (f"{cost:,.0f}" for cost in r.costs.values())
            table.add_row(
                f"{r.code}{' *' if r.code == answer else ''}", f"{r.value:.6g}", str(r.round + 1), str(r.number), *costs
            )
        print_rich(table)
        print(f"answer: {answer}")


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
    from autobss_zoo.files import check_output, write_atomically

    from ..errors import StudyError
    from ..reports.report import to_csv, to_json
    from ..studies.ledger import read_records

    folder, recipe = arguments.folder, _recipe(arguments.folder)
    if arguments.trial is not None and arguments.export is None:
        raise ValueError("--trial: says which trial to --export; give both or none")
    for path in (arguments.csv, arguments.json, arguments.html, arguments.export):
        if path is not None:
            check_output(path)
    searcher = recipe.make_searcher()
    records = read_records(folder, recipe.storage)
    scored = [r for r in records if r.value is not None]
    answer = searcher.recommend(r.observation for r in records if r.state != "waiting") if scored else None
    _show(folder, records, answer, searcher.direction, arguments.top)
    for path, text in ((arguments.csv, to_csv), (arguments.json, to_json)):
        if path is not None:
            write_atomically(path, text(records).encode())
    if arguments.plots is not None:
        _plot(arguments.plots, recipe, searcher, records, answer)
    if arguments.html is not None:
        _write_html(arguments.html, folder, recipe, searcher, records, answer)
    if arguments.export is not None:
        wanted = [r for r in records if (r.code == answer if arguments.trial is None else r.number == arguments.trial)]
        if not wanted or wanted[0].code is None:
            raise StudyError(f"there is no trial {arguments.trial} with a code; `--csv` lists them")
        _export(folder, wanted[0], arguments.export)
    return 0


def _write_html(
    path: Path, folder: Path, recipe: SearchRecipe, searcher: Any, records: list[Record], answer: Any
) -> None:
    from ..reports.html import write_html
    from ..studies.journal import read_journal

    planned = recipe.rounds * recipe.batch
    journal = read_journal(folder)
    write_html(
        path, folder.resolve().name, searcher, records, journal, answer, planned, recipe.make_evaluator().setting
    )


def _plot(folder: Path, recipe: SearchRecipe, searcher: Any, records: list[Record], answer: Any) -> None:
    from autobss_zoo import Code
    from autobss_zoo.families import FAMILIES
    from autobss_zoo.plots import plot_allocation

    from ..reports.plots import plot_history, plot_refining
    from ..searchers import AutoBSS

    folder.mkdir(parents=True, exist_ok=True)
    plot_history(records, folder / "history.png", searcher.direction)
    paper = searcher if isinstance(searcher, AutoBSS) else AutoBSS(searcher.space, "paper")
    if sum(r.value is not None for r in records) >= 8:
        plot_refining(paper, records, folder / "refining.png")
    if family := FAMILIES.get(searcher.space.family):
        both = [(f"hand-made {Code(family.name, family.original)}", Code(family.name, family.original))]
        plot_allocation(
            [*both, (f"found {answer}", answer)], folder / "allocation.png", recipe.make_evaluator().setting
        )


def _export(folder: Path, trial: Record, path: Path) -> None:
    import timm

    import autobss_zoo  # noqa: F401  # registers the networks
    from autobss_zoo.export.classifiers import to_onnx

    from ..errors import StudyError
    from ..evaluators.training import model_folder

    assert trial.code is not None
    weights = folder / "models" / model_folder(trial.code, trial.seed) / "last"
    if not weights.is_dir():
        raise StudyError(f"{trial.code} has no trained network in {weights}")
    model = timm.create_model(f"local-dir:{weights}", pretrained=True)
    report = to_onnx(model, path)
    print(
        f"wrote {path}: {trial.code}, {report.macs:,} MACs, differs from PyTorch by {report.max_rel_error:.1g} at most"
    )
