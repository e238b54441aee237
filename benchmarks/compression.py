"""What a search is worth where a network is cut: on Fashion-MNIST, to shares of its MACs or to its latency.

At each share: uniform rescaling of the hand-made network, which takes no training; the best of 64 random codes; and
what AutoBSS answers after 16, 32 and 64 trainings. Searches score codes on held-out images. Every answer is then
trained ten times on all training images and tested once each time, and compared with uniform rescaling by the pairs of
one seed. `--pilot` trains some codes of each share first and tells whether the best of them are better than uniform
rescaling by more than the luck of a training. Interrupted, it goes on; the scale "full" is for a GPU.

    python benchmarks/compression.py --scale cpu --pilot 12
    python benchmarks/compression.py --scale cpu --write
    python benchmarks/compression.py --scale cpu --under latency --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import parser, report
from trainings import accuracies, interval, mean

from autobss_search import Space
from autobss_search.command.cli import main as autobss
from autobss_search.evaluators.factorial import noise_variance
from autobss_search.evaluators.training import Training, model_folder
from autobss_search.executors.processes import LocalProcesses
from autobss_search.reports.plots import plot_history
from autobss_search.reports.report import to_csv
from autobss_search.searchers.candidates import candidate_set
from autobss_search.spaces.uniform import uniform_code
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study
from autobss_zoo import Code, get_family
from autobss_zoo.files import write_atomically
from autobss_zoo.latency import measure
from autobss_zoo.plots import COLOURS, save
from autobss_zoo.registry import PUBLISHED
from autobss_zoo.training.publishing import publish

RESULTS = Path(__file__).parent / "results"
SHARES = {"macs": (1 / 2, 1 / 4, 1 / 8), "latency": (1.0,)}
SEARCHES: dict[str, dict[str, Any]] = {"random": {"searcher": "random", "enqueue": "none"}, "autobss": {}}
AFTER = {"random": (64,), "autobss": (16, 32, 64)}
"""How many trainings each search's answers are taken after."""
SEEDS = range(101, 111)
IMAGES = 16  # at a time, where networks are timed: of single ones this small, times are noise


class Answer(NamedTuple):
    """What was found, and how.

    Attributes:
        share: Of the hand-made network's cost; None is that network itself.
        found_by: original, uniform, random or autobss.
        trainings: That it took.
        code: The code.
        score: In the search, on held-out images.
    """

    share: float | None
    found_by: str
    trainings: int
    code: Code
    score: float | None = None

    @property
    def name(self) -> str:
        """In tables."""
        titles = {"original": "hand-made", "uniform": "uniform rescaling", "random": "random codes"}
        return titles.get(self.found_by, f"AutoBSS, {self.trainings} trainings")


class Compression:
    """The study of a cost at a scale.

    Args:
        scale: "cpu" or "full".
        under: What is cut: "macs" or "latency".
        folder: Where it is kept.
        workers: Trainings side by side.
    """

    def __init__(self, scale: str, under: str, folder: Path, workers: int) -> None:
        suffix = "" if scale == "full" else f".{scale}"
        self.scale, self.under, self.folder, self.workers = scale, under, folder / scale, workers
        self.search, self.final = f"small/compression_search{suffix}", f"small/compression{suffix}"
        self.name = f"compression_{under}_{scale}"

    @cached_property
    def training(self) -> Training:
        """What trains answers."""
        return Training(self.final)

    @cached_property
    def hand_made(self) -> Code:
        """What is cut."""
        return self.training.load().code

    @cached_property
    def device(self) -> Path:
        """This machine's table of latencies; what was measured before is kept."""
        path, rules = self.folder / "device.json", self.folder / "space.yaml"
        self.folder.mkdir(parents=True, exist_ok=True)
        rules.write_text(str(SearchRecipe.load(self.search).space), encoding="utf-8")
        images = [f"--{name.replace('_', '-')}={value}" for name, value in self.training.setting.describe().items()]
        if code := autobss(["latency", "build", f"--space={rules}", f"--batch={IMAGES}", *images, f"-o={path}"]):
            raise SystemExit(code)
        return path

    def recipe(self, share: float, changes: dict[str, Any] | None = None) -> SearchRecipe:
        """A search at a share of the hand-made network's cost."""
        budget: dict[str, Any] = {"macs": None, self.under: f"{share}x of {self.hand_made}"}
        if self.under == "latency":
            budget["device"] = str(self.device)
        return SearchRecipe.load(self.search, {"budget": budget, **(changes or {})})

    def answers(self, share: float) -> list[Answer]:
        """What is found at a share of the cost."""
        out = [Answer(share, "uniform", 0, rescaled(self.recipe(share).make_space()))]
        for name, changes in SEARCHES.items():
            recipe, folder = self.recipe(share, changes), self.folder / f"{self.under}-{share}-{name}"
            searcher, size = recipe.make_searcher(), (recipe.rounds, recipe.batch)
            executor = LocalProcesses(self.workers)
            with Study(folder, searcher, recipe.make_evaluator(), executor, *size, on_event=print) as study:
                study.run()
                records = study.records
            kept = RESULTS / "compression" / f"{self.name}_{share:g}_{name}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept.with_name(f"{kept.name}.csv"), to_csv(records).encode())
            plot_history(records, kept.with_name(f"{kept.name}.png"))
            for trainings in AFTER[name]:
                known = [r.observation for r in records if r.round < trainings // recipe.batch]
                code = searcher.recommend(known)
                out.append(Answer(share, name, trainings, code, next(o.value for o in known if o.code == code)))
        return out

    def found(self) -> list[Answer]:
        """The hand-made network, and what is found at all shares."""
        first = Answer(None, "original", 0, self.hand_made)
        return [first, *(answer for share in SHARES[self.under] for answer in self.answers(share))]

    def tested(self, answers: Sequence[Answer]) -> dict[Code, list[float]]:
        """The test accuracies of trainings on all training images, one of each seed."""
        return accuracies(self.final, self.folder / "final", [a.code for a in answers], SEEDS, self.workers)

    def pilot(self, n: int, seeds: int = 2) -> list[list[str]]:
        """Of each share, how codes that grow at random compare with uniform rescaling and with luck."""
        rows = []
        for share in SHARES[self.under]:
            recipe, kept = self.recipe(share), self.folder / "pilot"
            space, train = recipe.make_space(), recipe.make_evaluator().to_recipe()
            own, others = rescaled(space), space.decode(candidate_set(space, np.random.default_rng(1), n))
            scores = np.array([*accuracies(train, kept, others, range(seeds), self.workers).values()])
            uniform = accuracies(train, kept, [own], range(2 * seeds), self.workers)[own]
            noise = noise_variance(scores)
            spread = max(0.0, scores.mean(axis=1).var(ddof=1) - noise / seeds) ** 0.5
            best = scores[np.argsort(-scores[:, 0])[: max(1, n // 6)], 1:].ravel()  # of whom the first training chose
            cells = [f"{noise**0.5:.2f}", f"{spread:.2f}", mean(uniform), mean(best.tolist())]
            rows.append([f"{share:g}", f"`{own}`", *cells])
        return rows

    def described(self) -> str:
        """What was done, from the recipes."""
        recipe, final = SearchRecipe.load(self.search), self.training.load()
        evaluator: Any = recipe.make_evaluator()
        training = evaluator.load()
        task = training.prepare()
        return (
            f"Searches (`{self.search}`): {recipe.rounds} x {recipe.batch} trainings of {training.epochs} epochs on "
            f"{task.train_indices.numel():,} images, scored on {task.eval_indices.numel():,} held-out ones. Answers "
            f"(`{self.final}`): {len(SEEDS)} trainings each, of {final.epochs} epochs on all "
            f"{final.prepare().train_indices.numel():,} training images, each tested once."
        )


def rescaled(space: Space) -> Code:
    """The uniformly rescaled hand-made network of a space."""
    if (code := uniform_code(space)) is None:
        raise SystemExit(f"{space.constraints}: no uniformly rescaled network meets them")
    return code


def rows_of(study: Compression, answers: Sequence[Answer], tested: dict[Code, list[float]]) -> list[list[str]]:
    """The table's rows, with milliseconds where latency is cut."""
    setting, rows = study.training.setting, list[list[str]]()
    codes = list(dict.fromkeys(answer.code for answer in answers))
    timed = {}
    if study.under == "latency":
        timed = dict(zip(codes, measure(codes, setting, batch=IMAGES, seconds=10).ms, strict=True))
    uniform = {answer.share: tested[answer.code] for answer in answers if answer.found_by == "uniform"}
    for answer in answers:
        share, code, score = answer.share, answer.code, answer.score
        gains = [a - b for a, b in zip(tested[code], uniform.get(share, ()), strict=False)]
        row = ["" if share is None else f"{share:g}", answer.name, f"`{code}`"]
        row += [f"{get_family(code.family).cost(code, setting).macs:,}", *([f"{timed[code]:.4f}"] if timed else [])]
        row += ["" if score is None else f"{score:.2f}", mean(tested[code])]
        rows.append([*row, f"{statistics.fmean(gains):+.2f} ± {interval(gains):.2f}" if any(gains) else ""])
    return rows


def plot(study: Compression, answers: Sequence[Answer], tested: dict[Code, list[float]], path: Path) -> None:
    """Test accuracy by the share of the cost."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes, lines = figure.subplots(), dict[str, list[Answer]]()
    for answer in answers:
        lines.setdefault(answer.name, []).append(answer)
    for (name, own), colour in zip(lines.items(), COLOURS, strict=False):
        values = [tested[answer.code] for answer in own]
        means, errors = [*map(statistics.fmean, values)], [*map(interval, values)]
        axes.errorbar([a.share or 1 for a in own], means, errors, color=colour, label=name, capsize=3, marker="o")
    axes.set(xscale="log", xlabel=f"share of the hand-made network's {study.under}", ylabel="test accuracy, %")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def publish_all(study: Compression, answers: Sequence[Answer]) -> None:
    """Enter the network of each code's first seed into the package's zoo, those after fewer trainings left out."""
    last = {(answer.share, answer.found_by): answer for answer in answers}
    for (share, found_by), answer in last.items():
        macs = get_family(answer.code.family).cost(answer.code, study.training.setting).macs
        cut = "" if share is None else f"_{macs / 1e3:.0f}k"
        publish(
            study.folder / "final" / model_folder(answer.code, SEEDS[0]),
            PUBLISHED,
            f"resnet_small_{found_by}{cut}",
            "fmnist",
            found_by=found_by,
            source=f"the study of compression ({study.scale}), benchmarks/compression.py",
            license="apache-2.0",
            recipe=study.final,
            onnx=False,  # which `autobss export` makes of the weights
        )


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--scale", choices=("cpu", "full"), default="full")
    arguments.add_argument("--under", choices=SHARES, default="macs", help="what is cut (macs)")
    arguments.add_argument("--pilot", type=int, metavar="N", help="train N codes of each share alone")
    arguments.add_argument("--workers", type=int, default=2, help="trainings side by side (2)")
    arguments.add_argument("--folder", type=Path, default=Path("outputs/compression"), help="where it is kept")
    arguments.add_argument("--publish", action="store_true", help="enter the networks into the package's zoo")
    options = arguments.parse_args()
    study = Compression(options.scale, options.under, options.folder, options.workers)
    title = f"# {study.hand_made} at shares of its {study.under}, on Fashion-MNIST"
    if options.pilot:
        header = ["share", "uniform rescaling", "noise of a training", "spread of codes", "its accuracy, %"]
        header += ["of the best sixth, by another seed"]
        title = f"{title}: a pilot of {options.pilot} codes each, trained as in a search"
        script = Path(__file__).with_stem(f"{study.name}_pilot")
        return report(str(script), title, header, study.pilot(options.pilot), True, options)
    answers = study.found()
    tested = study.tested(answers)
    if options.write:
        plot(study, answers, tested, RESULTS / f"{study.name}.png")
    if options.publish:
        publish_all(study, answers)
    header = ["share", "found by", "code", "MACs", *(["ms"] if study.under == "latency" else [])]
    header += ["held out, %", "test, % (mean, 95% interval)", "over uniform rescaling, paired"]
    means = {(a.share, a.found_by): statistics.fmean(tested[a.code]) for a in answers}
    best = all(value <= means[share, "autobss"] for (share, _), value in means.items() if share)
    script, text = Path(__file__).with_stem(study.name), f"{title}\n\n{study.described()}"
    return report(str(script), text, header, rows_of(study, answers, tested), best, options)


if __name__ == "__main__":
    sys.exit(main())
