"""The command's verbs for searches: search, resume, watch. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import add_verb
from .executor_options import add_executor_options, make_executor
from .numbers import integer, number
from .study_tables import show_answers, show_study

if TYPE_CHECKING:
    from autobss_zoo import Code

    from ..executors import Executor
    from ..studies.recipe import SearchRecipe
    from ..studies.study import Study

RECIPE = "search.yaml"


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

    models = folder / "models"
    searcher, evaluate = recipe.make_searcher(models), recipe.make_evaluator(models)
    if recipe.retrain is not None:
        import torch

        from autobss_zoo.training import TrainingRecipe

        threads, space = torch.get_num_threads(), searcher.space
        TrainingRecipe.load(recipe.retrain, {"model": str(*space.decode(space.smallest()))})  # a wrong one is named now
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
    show_study(study.folder, study.records, answer, study.searcher, 10)
    show_answers(study.recommendations())
    return answer
