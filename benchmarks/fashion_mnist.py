"""AutoBSS, random search and the hand-made network on Fashion-MNIST, at the same MACs: `make study SCALE=cpu` or full.

For a small ResNet and a small MobileNetV2: 64 full trainings each by AutoBSS and by random search on a holdout of the
training images, then five trainings each of the original and of both winners on the whole training set, tested once.
It can be interrupted and goes on; the same seed gives the same result on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from machine import machine
from trainings import accuracies, interval

from autobss_search.evaluators.training import Training, model_folder
from autobss_search.executors import InProcess
from autobss_search.executors.processes import LocalProcesses
from autobss_search.reports.plots import plot_history
from autobss_search.reports.report import to_csv
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study
from autobss_zoo import Code
from autobss_zoo.families import get_family
from autobss_zoo.plots import plot_allocation
from autobss_zoo.registry import PUBLISHED
from autobss_zoo.training.publishing import publish

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "fashion_mnist"
SEEDS = (101, 102, 103, 104, 105)
BACKBONES = ("resnet", "mnv2")
SEARCHES: dict[str, dict[str, Any]] = {name: {"searcher": name} for name in ("autobss", "random")}
"""By the names of the answers, what their searches' recipes differ in."""


class Result(NamedTuple):
    """The trainings of a code.

    Attributes:
        found_by: original, or the name of the search.
        code: The code.
        accuracies: On the test set in percent, one for each seed.
        searched: Its score in the search, on the holdout.
    """

    found_by: str
    code: Code
    accuracies: list[float]
    searched: float | None


def recipes(backbone: str, scale: str) -> tuple[str, str]:
    """The names of the search's recipe and of the final training's."""
    search, final = f"small/fashion_mnist_{backbone}_search", "small/fashion_mnist"
    if scale != "full":
        return f"{search}.{scale}", f"{final}.{backbone}_{scale}"
    return search, final if backbone == "resnet" else f"{final}.{backbone}"


def run(
    backbone: str,
    scale: str,
    folder: Path,
    workers: int,
    searches: Mapping[str, Mapping[str, Any]] = SEARCHES,
    results: Path = RESULTS,
) -> Iterator[Result]:
    """Search, train again and test, or go on with it.

    Args:
        backbone: "resnet" or "mnv2".
        scale: "quick" (14 pixels), "cpu" or "full".
        folder: Where the studies and trainings are kept.
        workers: Trainings side by side.
        searches: As `SEARCHES`.
        results: Where the trials and their plots go.
    """
    search, final = recipes(backbone, scale)
    executor = LocalProcesses(workers) if workers > 1 else InProcess()
    codes = {"original": Training(final).load().code}
    scores: dict[str, float | None] = {"original": None}
    for name, changes in searches.items():
        recipe = SearchRecipe.load(search, changes)
        evaluate = recipe.make_evaluator(folder / name / "models")
        with Study(
            folder / name, recipe.make_searcher(), evaluate, executor, recipe.rounds, recipe.batch, on_event=print
        ) as study:
            codes[name] = study.run()
            scores[name] = next(r.value for r in study.records if r.code == codes[name])
            results.mkdir(parents=True, exist_ok=True)
            (results / f"{backbone}_{scale}_{name}.csv").write_text(to_csv(study.records), encoding="utf-8")
            plot_history(study.records, results / f"{backbone}_{scale}_{name}.png")
    found = accuracies(final, folder / "final", codes.values(), SEEDS, workers)
    for name, code in codes.items():
        yield Result(name, code, found[code], scores[name])


def publish_all(backbone: str, scale: str, folder: Path, results: list[Result]) -> None:
    """Enter the network of each code's first seed into the package's zoo."""
    recipe = recipes(backbone, scale)[1]
    for result in results:
        publish(
            folder / "final" / model_folder(result.code, SEEDS[0]),
            PUBLISHED,
            f"{backbone}_small_{result.found_by}",
            "fmnist",
            found_by=result.found_by,
            source=f"the Fashion-MNIST study ({scale}), benchmarks/fashion_mnist.py",
            license="apache-2.0",
            recipe=recipe,
            onnx=False,  # which `autobss export` makes of the weights
        )


def describe(search: str, final: str) -> str:
    """What was done, from the recipes."""
    recipe, trained = SearchRecipe.load(search), Training(final).load()
    training = cast(Training, recipe.make_evaluator()).load()
    held_out = training.prepare().eval_indices.numel()
    number = training.train_images or training.prepare().train_indices.numel()
    return (
        f"Searches (`{search}`): {recipe.rounds} x {recipe.batch} trainings of {training.epochs} epochs on {number:,}"
        f" images, scored on {held_out:,} held-out ones. Then trainings of {trained.epochs}"
        f" epochs on {trained.prepare().train_indices.numel():,} training images (`{final}`), each tested once."
    )


def main() -> None:
    """Run the study, or go on with it, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("cpu", "full"), default="full")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side (2)")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "fashion_mnist", help="where it is kept")
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=BACKBONES)
    parser.add_argument("--publish", action="store_true", help="enter the networks into the package's zoo")
    arguments = parser.parse_args()
    lines = []
    for backbone in arguments.backbones:
        search, final = recipes(backbone, arguments.scale)
        folder = arguments.folder / arguments.scale / backbone
        setting = Training(final).setting
        lines += [f"## {backbone}", "", describe(search, final), ""]
        lines += ["| found by | code | MACs | parameters | holdout (search), % | test, % (mean, 95% interval) | each |"]
        lines += ["|---|---|---|---|---|---|---|"]
        results = list(run(backbone, arguments.scale, folder, arguments.workers))
        for result in results:
            cost = get_family(result.code.family).cost(result.code, setting)
            each = ", ".join(f"{value:.2f}" for value in result.accuracies)
            mean = f"{statistics.fmean(result.accuracies):.2f} ± {interval(result.accuracies):.2f}"
            searched = "" if result.searched is None else f"{result.searched:.2f}"
            row = (result.found_by, f"`{result.code}`", f"{cost.macs:,}", f"{cost.params:,}", searched, mean, each)
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
        lines.append("")
        both = [(f"{r.found_by} {r.code}", r.code) for r in results if r.found_by in ("original", "autobss")]
        plot_allocation(both, RESULTS / f"{backbone}_{arguments.scale}_allocation.png", setting)
        if arguments.publish:
            publish_all(backbone, arguments.scale, folder, results)
    text = "\n".join([f"# Fashion-MNIST study ({arguments.scale})", "", machine(), "", *lines])
    (RESULTS / f"{arguments.scale}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
