"""The command's verbs for searches: search, resume, watch, report. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import add_verb, print_rich
from ..errors import StudyError
from .executor_options import add_executor_options, make_executor
from .numbers import integer, number

if TYPE_CHECKING:
    from autobss_zoo import Code

    from ..executors import Executor
    from ..searchers import Searcher
    from ..studies.reading import StudyFolder
    from ..studies.recipe import SearchRecipe
    from ..studies.records import Record
    from ..studies.study import Study

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
    verb.add_argument("--device", metavar="FILE", help="the device's table, for a budget such as latency=9ms or 0.75x")
    source = verb.add_mutually_exclusive_group()
    source.add_argument("--train", metavar="RECIPE", help="what trains each code (`autobss recipes`)")
    source.add_argument("--table", metavar="FILE", help="a table of finished trainings to look scores up in")
    verb.add_argument("--data-dir", metavar="FOLDER", help="where the training's data are")
    verb.add_argument(
        "--searcher", help="autobss (default), paper, random, evolution, local, nsga2, greedy, nes or mcea"
    )
    verb.add_argument("--rounds", type=integer(), help="rounds (4)")
    verb.add_argument("--batch", type=integer(), help="codes in a round (16)")
    verb.add_argument("--seed", type=integer(0), help="of the search (0)")
    verb.add_argument(
        "--enqueue",
        action="append",
        metavar="CODE",
        help="a code to score in the first round; repeat; none scores no other than the searcher's (the uniformly "
        "rescaled hand-made one)",
    )
    verb.add_argument("--confirm", type=integer(0), metavar="K", help="the last K scores retrain the best codes (0)")
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
    verb.add_argument("--front", type=Path, metavar="FOLDER", help="write each trained network of the front as ONNX")
    verb.add_argument("--trial", type=integer(0), metavar="N", help="the trial to export (the searcher's answer)")


def _search(arguments: argparse.Namespace) -> int:
    from autobss_zoo.recipes import merged, parse_settings
    from autobss_zoo.yaml_text import parse_yaml

    from ..spaces.budgets import parse_budget
    from ..studies.recipe import SearchRecipe

    names = ("space", "budget", "table", "searcher", "rounds", "batch", "seed", "confirm", "storage", "asynchronous")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.enqueue is not None:
        alone = arguments.enqueue in (["none"], ["prior"])
        given["enqueue"] = arguments.enqueue[0] if alone else arguments.enqueue
    if arguments.train is not None:
        given["training"] = {"base": arguments.train}
    if arguments.data_dir is not None:
        given["training"] = {**given.get("training", {}), "data_dir": arguments.data_dir}
    if arguments.device is not None:
        given["budget"] = {**parse_budget(given.get("budget", {})), "device": arguments.device}
    changes = parse_settings(arguments.set)
    for values in (given, changes):
        if "budget" in values:
            values["budget"] = parse_budget(values["budget"])  # such that bounds are merged one by one
    settings = merged(given, changes)
    recipe = SearchRecipe.load(arguments.recipe or {}, settings)
    recipe = SearchRecipe.load(parse_yaml(recipe.dump(), "recipe"))  # as workers in other folders see it
    return _run(arguments.folder, recipe, make_executor(arguments))


def _resume(arguments: argparse.Namespace) -> int:
    from ..studies.recipe import SearchRecipe
    from ..studies.study import Study

    folder, executor = arguments.folder, make_executor(arguments)
    if (folder / RECIPE).is_file():
        return _run(folder, SearchRecipe.load(folder / RECIPE), executor)
    with Study.resume(folder, executor) as study:
        _drive(study)
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    if arguments.once and arguments.interval:
        raise ValueError("--interval: --once looks one time; leave one of them out")
    with suppress(KeyboardInterrupt):
        from ..reports.watch import watch

        watch(arguments.folder, arguments.interval or 2.0, arguments.once)
    return 0


def _run(folder: Path, recipe: SearchRecipe, executor: Executor) -> int:
    from autobss_zoo.files import write_atomically

    from ..studies.study import Study

    if recipe.retrain is not None:
        import torch

        threads = torch.get_num_threads()
    models = folder / "models"
    searcher, evaluate = recipe.make_searcher(models), recipe.make_evaluator(models)
    enqueue = recipe.enqueued(searcher.space)
    settings = (recipe.rounds, recipe.batch, recipe.storage)
    modes: Any = {"asynchronous": recipe.asynchronous, "confirm": recipe.confirm}
    with Study(folder, searcher, evaluate, executor, *settings, **modes) as study:
        if not (folder / RECIPE).exists():
            write_atomically(folder / RECIPE, recipe.dump().encode())
        if not study.records:
            if recipe.enqueue == "prior":
                enqueue = evaluate.prior(searcher.space, recipe.batch, recipe.seed)
            for code in enqueue:
                study.enqueue(code)
        _drive(study)
        answers = study.recommendations()
    if recipe.retrain is not None:
        from .train_verbs import train_shown

        torch.set_num_threads(threads)  # scoring may have changed it
        for number, answer in enumerate(answers):
            kept = folder / "retrained" / f"s{number}" if len(answers) > 1 else folder / "retrained"
            train_shown(recipe.retrain, {"model": str(answer)}, kept)
    return 0


def _drive(study: Study) -> Code:
    """Run a study before the user's eyes, and show what it found; the answer."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("scored", total=study.rounds * study.batch)

        def show(line: str) -> None:
            progress.update(task, completed=sum(r.state != "waiting" for r in study.records))
            console.print(line, highlight=False, soft_wrap=True)

        study.on_event = show
        try:
            answer = study.run()
        except KeyboardInterrupt:
            console.print(f"interrupted; `autobss resume {study.folder}` goes on", highlight=False)
            raise
    from ..studies.verified import verify

    verify(study.folder, study.searcher.space, answer)
    _show(study.folder, study.records, answer, study.searcher, 10)
    _show_others(study.recommendations())
    return answer


def _show(folder: Path, records: list[Record], answer: Code | None, searcher: Searcher, top: int) -> None:
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


def _show_others(answers: list[Code]) -> None:
    """The answers of a search for several networks."""
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


def _report(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import write_atomically

    from ..reports.html import write_html
    from ..reports.report import to_csv, to_json
    from ..studies.journal import read_journal
    from ..studies.reading import StudyFolder

    _check_outputs(arguments)
    study = StudyFolder(arguments.folder)
    records = study.records()
    answer = study.answer(records)
    _show(study.folder, records, answer, study.searcher, arguments.top)
    if answer is not None:
        _show_others(study.answers(records))
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
