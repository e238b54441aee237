"""The command's verbs for searches: search, resume, report. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import add_verb, print_rich

if TYPE_CHECKING:
    from .ledger import Record
    from .recipe import Recipe

RECIPE = "search.yaml"


def add_commands(commands: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    verb = add_verb(commands, "search", _search, "search the best code of a space under a budget")
    verb.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="a shipped recipe or a YAML file; options replace values"
    )
    verb.add_argument("--folder", type=Path, default=Path("study"), help="where the study is kept (study)")
    verb.add_argument("--space", metavar="NAME_OR_FILE", help="a declared space, e.g. resnet18_small, or a YAML file")
    verb.add_argument("--budget", metavar="MAX", help="MACs, e.g. 10M; or macs=10M,params=1M (the hand-made code's)")
    source = verb.add_mutually_exclusive_group()
    source.add_argument("--train", metavar="RECIPE", help="what trains each code (`autobss recipes`)")
    source.add_argument("--table", metavar="FILE", help="a table of finished trainings to look scores up in")
    verb.add_argument("--searcher", help="autobss (default), paper, random, evolution or local")
    verb.add_argument("--rounds", type=int, help="rounds (4)")
    verb.add_argument("--batch", type=int, help="codes in a round (16)")
    verb.add_argument("--seed", type=int, help="of the search (0)")
    verb.add_argument("--enqueue", action="append", metavar="CODE", help="a code to score in the first round; repeat")
    verb.add_argument("--storage", metavar="URL", help="a PostgreSQL or MySQL database instead of a file in the folder")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. training.epochs=10; repeat")
    _add_workers(verb)

    verb = add_verb(commands, "resume", _resume, "go on with a search that was interrupted")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the study's folder")
    _add_workers(verb)

    verb = add_verb(commands, "report", _report, "show what a search found")
    verb.add_argument("folder", type=Path, metavar="FOLDER", help="the study's folder")
    verb.add_argument("--top", type=int, default=10, metavar="N", help="show the N best codes (10)")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write every trial as CSV")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write every trial as JSON")
    verb.add_argument("--plots", type=Path, metavar="FOLDER", help="draw history, refining and stage allocation")
    verb.add_argument("--export", type=Path, metavar="OUT.onnx", help="write a trained network as ONNX")
    verb.add_argument("--trial", type=int, metavar="N", help="the trial to export (the searcher's answer)")


def _add_workers(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--workers", type=int, default=1, metavar="N", help="codes scored side by side (1)")


def _search(arguments: argparse.Namespace) -> int:
    from autobss_zoo.recipes import merged, parse_settings

    from .recipe import Recipe

    names = ("space", "budget", "table", "searcher", "rounds", "batch", "seed", "enqueue", "storage")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.train is not None:
        given["training"] = {"base": arguments.train}
    settings = merged(given, parse_settings(arguments.set))
    recipe = Recipe.load(arguments.recipe or {}, settings)
    return _run(arguments.folder, recipe, arguments.workers)


def _resume(arguments: argparse.Namespace) -> int:
    return _run(arguments.folder, _recipe(arguments.folder), arguments.workers)


def _recipe(folder: Path) -> Recipe:
    from .errors import StudyError
    from .recipe import Recipe

    if not (folder / RECIPE).is_file():
        raise StudyError(f"{folder}: there is no study here; `autobss search` starts one")
    return Recipe.load(folder / RECIPE)


def _run(folder: Path, recipe: Recipe, workers: int) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from autobss_zoo import Code
    from autobss_zoo.files import write_atomically

    from .executors import LocalProcesses, in_process
    from .study import Study

    searcher, evaluate = recipe.make_searcher(), recipe.make_evaluator(folder / "models")
    enqueue = [Code.parse(text) for text in recipe.enqueue]
    for code in enqueue:
        searcher.space.check(code)
    executor = LocalProcesses(workers) if workers != 1 else in_process
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    columns = (TextColumn("scored"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        warnings.catch_warnings(),
        Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress,
        Study(folder, searcher, evaluate, executor, recipe.rounds, recipe.batch, recipe.storage) as study,
    ):
        warnings.showwarning = lambda text, *_: console.print(f"warning: {text}", highlight=False)
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
        _show(study.records, answer, searcher.direction, 10)
    return 0


def _show(records: list[Record], answer: Any, direction: str, top: int) -> None:
    from rich.table import Table

    from .report import ranked, rounds

    summary = Table(title="Rounds")
    for name in ("round", "trials", "scored", "failed", "waiting", "best", "mean", "seconds"):
        summary.add_column(name, justify="right")
    for line in rounds(records):
        summary.add_row(*(f"{v:.6g}" if isinstance(v, float) else "" if v is None else str(v) for v in line.values()))
    print_rich(summary)
    best = ranked(records, direction)[:top]
    if best:
        table = Table("code", title="Best scores (* the searcher's answer)")
        for name in ("score", "round", "trial", *best[0].costs):
            table.add_column(name, justify="right")
        for r in best:
            costs = (f"{cost:,.0f}" for cost in r.costs.values())
            table.add_row(
                f"{r.code}{' *' if r.code == answer else ''}", f"{r.value:.6g}", str(r.round + 1), str(r.number), *costs
            )
        print_rich(table)
        print(f"answer: {answer}")


def _report(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import write_atomically

    from .errors import StudyError
    from .ledger import read_records
    from .report import to_csv, to_json

    folder, recipe = arguments.folder, _recipe(arguments.folder)
    searcher = recipe.make_searcher()  # first: codes that are no networks are known by their space
    records = read_records(folder, recipe.storage)
    scored = [r for r in records if r.value is not None]
    answer = searcher.recommend(r.observation for r in records if r.state != "waiting") if scored else None
    _show(records, answer, searcher.direction, arguments.top)
    for path, text in ((arguments.csv, to_csv), (arguments.json, to_json)):
        if path is not None:
            write_atomically(path, text(records).encode())
    if arguments.plots is not None:
        _plot(arguments.plots, recipe, searcher, records, answer)
    if arguments.export is not None:
        wanted = [r for r in records if (r.code == answer if arguments.trial is None else r.number == arguments.trial)]
        if not wanted or wanted[0].code is None:
            raise StudyError(f"there is no trial {arguments.trial} with a code; `--csv` lists them")
        _export(folder, wanted[0], arguments.export)
    return 0


def _plot(folder: Path, recipe: Recipe, searcher: Any, records: list[Record], answer: Any) -> None:
    from autobss_zoo import Code
    from autobss_zoo.families import FAMILIES
    from autobss_zoo.plots import plot_allocation

    from .autobss import AutoBSS
    from .plots import plot_history, plot_refining

    folder.mkdir(parents=True, exist_ok=True)
    plot_history(records, folder / "history.png", searcher.direction)
    paper = searcher if isinstance(searcher, AutoBSS) else AutoBSS(searcher.space, "paper")
    if sum(r.value is not None for r in records) >= 8:
        plot_refining(paper, records, folder / "refining.png")
    if family := FAMILIES.get(searcher.space.family):
        both = [(f"hand-made {Code(family.name, family.original)}", Code(family.name, family.original))]
        plot_allocation(
            [*both, (f"found {answer}", answer)], folder / "allocation.png", **recipe.make_training().counting
        )


def _export(folder: Path, trial: Record, path: Path) -> None:
    import timm

    import autobss_zoo  # noqa: F401  # registers the networks
    from autobss_zoo.export import to_onnx

    from .errors import StudyError
    from .evaluators.training import model_folder

    assert trial.code is not None
    weights = folder / "models" / model_folder(trial.code, trial.seed) / "last"
    if not weights.is_dir():
        raise StudyError(f"{trial.code} has no trained network in {weights}")
    model = timm.create_model(f"local-dir:{weights}", pretrained=True)
    report = to_onnx(model, path)
    print(
        f"wrote {path}: {trial.code}, {report.macs:,} MACs, differs from PyTorch by {report.max_rel_error:.1g} at most"
    )
