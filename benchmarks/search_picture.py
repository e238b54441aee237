"""What a search does, on the surrogate of ResNet50's stacking: a table, and the picture docs/search.png.

In the picture points are the codes that one search trains; lines are what searches of several seeds answer after each
round, on the mean with standard errors, and what needs no training.

    python benchmarks/search_picture.py --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from machine import parser, report
from matplotlib.figure import Figure
from scipy.stats import sem

from autobss_search import Session
from autobss_search.spaces.uniform import uniform_code
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import Code
from autobss_zoo.plots import COLOURS, save

RECIPE, SEARCHES = "bench/stacking_resnet50", 20
METHODS: dict[str, dict[str, Any]] = {
    "AutoBSS": {},
    "random codes": {"searcher": "random"},
}


class Search(NamedTuple):
    """A search without the luck of its trainings.

    Attributes:
        means: Of the codes that it trained, in order, shape (64,).
        answers: After each round.
        found: Their means, shape (rounds,).
    """

    means: np.ndarray
    answers: list[Code]
    found: np.ndarray


def search(method: str, seed: int) -> Search:
    """Search, and look at what was found; each search has a luck of its own."""
    recipe, rng = SearchRecipe.load(RECIPE, {**METHODS[method], "seed": seed}), np.random.default_rng(seed)
    score: Any = recipe.make_evaluator()
    session, answers = Session(recipe.make_searcher()), list[Code]()
    for _ in range(recipe.rounds):
        for code in session.ask(recipe.batch):
            session.tell(code, score.score(code, int(rng.integers(1 << 32))))
        answers.append(session.recommend())
    return Search(score.means([o.code for o in session.observations]), answers, score.means(answers))


def main() -> int:
    options = parser(__doc__).parse_args()
    recipe = SearchRecipe.load(RECIPE)
    uniform, truth = uniform_code(recipe.make_space()), cast(Any, recipe.make_evaluator())
    assert uniform
    best = truth.best(recipe.make_space())
    own, most = truth.means([uniform, best]).tolist()
    found: dict[str, list[Search]] = {}
    rows = []
    with ProcessPoolExecutor() as pool:
        for method in METHODS:
            found[method] = list(pool.map(search, [method] * SEARCHES, range(SEARCHES)))
            gains = np.array([each.found for each in found[method]]) - own
            for place, (gain, error) in enumerate(zip(gains.mean(axis=0), sem(gains), strict=True)):
                staying = np.mean([each.answers[place] == uniform for each in found[method]])
                rows.append([method, f"{recipe.batch * (place + 1)}", f"{gain:+.2f} ± {error:.2f}", f"{staying:.0%}"])
    if options.write:
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        history, *stages = figure.subplots(1, 3, width_ratios=(2, 1, 1))
        _history(history, recipe.batch, found, own)
        for axes, title in zip(stages, ("channels", "blocks"), strict=True):
            _stages(axes, title, [("uniformly rescaled", uniform), ("an answer", found["AutoBSS"][0].answers[-1])])
        save(figure, Path(__file__).parents[1] / "docs" / "search.png")
    title = (
        f"# What a search does: {SEARCHES} searches of `{RECIPE}`\n\nBy how many points answers are better than the "
        f"uniformly rescaled network (`{uniform}`, {own:.2f}%), without the luck of trainings, means ± standard "
        f"errors, and how many answers are that network itself. The best code is {most - own:.2f} better."
    )
    header = ["codes by", "trainings", "over uniform rescaling", "that network itself"]
    return report(__file__, title, header, rows, True, options)


def _history(axes: Any, batch: int, found: dict[str, list[Search]], uniform: float) -> None:
    """The codes that a search trains, the answers of many, and what needs no training."""
    first = found["AutoBSS"][0].means
    axes.plot(range(1, 1 + len(first)), first, ".", color=COLOURS[0], alpha=0.35, label="trained in one search")
    axes.axhline(uniform, color="0.4", linestyle="--", linewidth=1.2, label="uniformly rescaled")
    for (method, searches), colour in zip(found.items(), (COLOURS[0], COLOURS[1]), strict=True):
        each = np.array([one.found for one in searches])
        ends = batch * np.arange(1, 1 + each.shape[1])
        axes.errorbar(
            ends, each.mean(axis=0), sem(each), color=colour, marker="o", capsize=3, label=f"answers: {method}"
        )
    axes.set(xlabel="trainings", ylabel="accuracy, %")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def _stages(axes: Any, title: str, networks: list[tuple[str, Code]]) -> None:
    """A field of two codes, stage by stage."""
    for offset, colour, (label, code) in zip((-0.2, 0.2), ("0.6", COLOURS[0]), networks, strict=True):
        stages = np.arange(1, 1 + len(code.titled(title)))
        axes.bar(stages + offset, code.titled(title), 0.38, color=colour, label=label)
        axes.set_xticks(stages)
    axes.set(title=title, xlabel="stage")
    axes.spines[["top", "right"]].set_visible(False)
    if title == "channels":
        axes.legend(frameon=False, fontsize=9)


if __name__ == "__main__":
    sys.exit(main())
