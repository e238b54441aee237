"""The command's verbs for trainings: recipes, train, evaluate, publish. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobss_zoo.errors import shown

from ..console import add_verb, complain, print_rich
from .numbers import integer

if TYPE_CHECKING:
    from autobss_zoo.training import TrainingRecipe, World
    from autobss_zoo.training.trainer import Progress

_DEVICE = "cpu, cuda or cuda:1 (a GPU where there is one)"


def add_commands(commands: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    verb = add_verb(commands, "recipes", _recipes, "list the recipes of trainings and searches")
    verb.add_argument(
        "pattern", nargs="?", default="", metavar="PATTERN", help="a name or wildcards, e.g. 'imagenet/*'"
    )
    verb.add_argument("--show", action="store_true", help="print them in full, with their bases")

    verb = add_verb(commands, "train", _train, "train a network by a recipe, or go on with it")
    verb.add_argument("recipe", metavar="RECIPE", help="a recipe's name (`autobss recipes`) or a YAML file")
    verb.add_argument("--folder", type=Path, help="where it is kept (runs/ and the recipe's name)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. epochs=10; repeat")
    verb.add_argument("--data-dir", metavar="FOLDER", help="where the data are, e.g. ImageNet with train/ and val/")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--tensorboard", action="store_true", help="also log for TensorBoard")

    verb = add_verb(commands, "evaluate", _evaluate, "measure a trained network on a data set's test images")
    name = "a folder, OWNER/NAME on the Hub, a network, a timm model or torchvision:NAME"
    verb.add_argument("network", metavar="NAME", help=name)
    verb.add_argument(
        "--data", required=True, help="digits, fashion_mnist, cifar10, imagenet, imagefolder, coco or voc"
    )
    verb.add_argument("--data-dir", metavar="FOLDER", help="where the data are")
    verb.add_argument("--weights", metavar="FILE", help="a state dict of your own (safetensors or pth)")
    verb.add_argument(
        "--input-size", type=integer(most=65536), metavar="N", help="side of the images in pixels (as published)"
    )
    verb.add_argument("--batch-size", type=integer(most=65536), metavar="N", help="images at a time (256)")
    verb.add_argument("--workers", type=integer(0, 1024), default=4, metavar="N", help="processes that read images (4)")
    verb.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw predictions beside the truth (coco, voc)")
    verb.add_argument("--device", help=_DEVICE)
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = add_verb(commands, "publish", _publish, "turn a finished training into an entry of the zoo")
    verb.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the training's folder")
    verb.add_argument("--name", help="the registry's name, e.g. resnet_small_autobss (the recipe's model)")
    verb.add_argument("--tag", help="of the weights, e.g. fmnist (the data set's name)")
    stated: dict[str, Any] = {"default": "not stated", "metavar": "TEXT"}
    verb.add_argument("--found-by", help="how the code was found: original, random, autobss...", **stated)
    verb.add_argument("--source", help="where the code is from, for the card", **stated)
    verb.add_argument(
        "--licence", "--license", dest="license", metavar="ID", help="of the weights, as the Hub calls it, e.g. mit"
    )
    verb.add_argument("--card-text", default="", metavar="TEXT", help="your own, in Markdown, for the card")
    verb.add_argument("--recipe", default="recipe.yaml", help="what to call the recipe in the registry")
    verb.add_argument("--to", type=Path, default=Path("published"), metavar="FOLDER", help="of published networks")
    verb.add_argument("--hub", metavar="OWNER/NAME", help="also upload it to the Hugging Face Hub")


def _recipes(arguments: argparse.Namespace) -> int:
    import yaml
    from rich import box
    from rich.table import Table

    from autobss_zoo.recipes import list_recipes, resolve

    names = list_recipes(arguments.pattern)
    if arguments.show:
        for name in names:
            print(f"# {name}\n{yaml.safe_dump(resolve(name).values, sort_keys=False)}")
    else:
        table = Table("recipe", "verb", "what", "data", "length", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in names:
            table.add_row(name, *_summary(resolve(name).values))
        print_rich(table)
    if not names:
        complain("error", f"no recipe matches {shown(arguments.pattern)}; `autobss recipes` lists all")
    return 0 if names else 1


def _summary(values: dict[str, Any]) -> tuple[str, str, str, str]:
    """A recipe's verb, what it trains or searches, on which data, and for how long."""
    from autobss_zoo.recipes import resolve

    if benchmark := next((kind for kind in ("table", "surrogate") if kind in values), None):
        return "search", values[benchmark], f"a {benchmark}", "no training"
    trained = values.get("training") or values.get("score", {}).get("base")
    training = resolve(trained).values if trained else values
    unit = "iterations" if "iterations" in training else "epochs"
    what = values.get("space") or training.get("space") or values["model"]
    name = what if isinstance(what, str) else what.get("base", what.get("family"))
    return "search" if trained else "train", name, training["data"], f"{training[unit]:,} {unit}"


def _train(arguments: argparse.Namespace) -> int:
    from autobss_zoo.recipes import parse_settings

    settings = parse_settings(arguments.set)
    if arguments.data_dir is not None:
        settings["data_dir"] = arguments.data_dir
    name = arguments.recipe
    own = name.endswith((".yaml", ".yml"))
    folder = arguments.folder or Path("runs") / (Path(name).stem if own else name.replace("/", "-"))
    train_shown(name, settings, folder, arguments.device, arguments.tensorboard)
    return 0


def train_shown(
    source: Any, settings: dict[str, Any], folder: Path, device: str | None = None, tensorboard: bool = False
) -> None:
    """Train by a recipe before the user's eyes, and say how good the network is.

    Args:
        source: The recipe's name, file or mapping.
        settings: Keys that replace the recipe's.
        folder: Where the training is kept; one that was interrupted goes on.
        device: "cpu" or "cuda"; a GPU where there is one when None.
        tensorboard: Also log for TensorBoard.
    """
    from autobss_zoo.training import TrainingRecipe, joined, train

    recipe, notes = TrainingRecipe.load(source, settings)
    with joined(device) as world, _stopping() as should_stop, _showing(recipe, world) as (on_step, on_epoch):
        if world.first:
            for note in notes:
                print(note, file=sys.stderr)
        try:
            result, _ = train(
                recipe,
                folder,
                world=world,
                tensorboard=tensorboard,
                on_step=on_step,
                on_epoch=on_epoch,
                should_stop=should_stop,
            )
        except KeyboardInterrupt:
            if world.first:
                print("interrupted; the same command goes on", file=sys.stderr)
            raise
        if world.first:
            print(f"{'held out' if recipe.holdout else 'test'}: {result.text}: {folder}")


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether the user or the system wants the process to end; asked a second time, it ends at once."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _showing(
    recipe: TrainingRecipe, world: World
) -> Iterator[tuple[Callable[[Progress], None], Callable[[dict[str, Any]], None]]]:
    """A progress bar where somebody watches, and a line for each epoch."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from autobss_zoo.training.run import COLUMNS

    watched = world.first and sys.stderr.isatty()
    of = f"/{recipe.epochs}" if recipe.epochs else ""
    console = Console(stderr=True, width=None if watched else 160)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, disable=not watched) as bar:
        task = bar.add_task("starting", total=None)

        def on_step(progress: Progress) -> None:
            text = f"epoch {progress.epoch + 1}{of}, {progress.images_per_second:,.1f} images/s"
            bar.update(task, description=text, completed=progress.step, total=progress.steps)

        def on_epoch(row: dict[str, Any]) -> None:
            facts = [f"epoch {row['epoch']}{of}: training loss {row['train_loss']:.4f}"]
            facts += [
                f"{name} {row[name]:.4f}" if name == "loss" else f"{name} {row[name]:.2f}%"
                for name in row
                if name not in COLUMNS
            ]
            facts.append(f"{row['images_per_second']:,.1f} images/s")
            if world.first:
                console.print(", ".join(facts), highlight=False, soft_wrap=True)

        yield on_step, on_epoch


def _evaluate(arguments: argparse.Namespace) -> int:
    from autobss_zoo.training import joined
    from autobss_zoo.training.validations import measure

    given = ("weights", "input_size", "batch_size", "pictures")
    options = {name: getattr(arguments, name) for name in given}
    with joined(arguments.device) as world:
        result = measure(
            arguments.network,
            arguments.data,
            arguments.data_dir,
            options=options,
            world=world,
            workers=arguments.workers,
        )
        if not world.first:
            return 0
    if arguments.json:
        print(json.dumps(result.as_dict(), indent=2))
        return 0
    print(result.text)
    if result.left_out:
        print(f"autobss: {result.left_out} broken images were left out", file=sys.stderr)
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    from autobss_zoo.training.publishing import publish, upload

    folder = publish(
        arguments.run_dir,
        arguments.to,
        arguments.name,
        arguments.tag,
        found_by=arguments.found_by,
        source=arguments.source,
        license=arguments.license,
        card_text=arguments.card_text,
        recipe=arguments.recipe,
    )
    print(f"wrote {folder}; with AUTOBSS_ZOO={arguments.to} it is in the zoo, as {folder.name}")
    if arguments.hub:
        print(f"uploaded: {upload(folder, arguments.hub)}")
    return 0
