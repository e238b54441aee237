"""The joint search of channels, image size and depth on two cores, on Fashion-MNIST: its paper's Tables 1 and 2, small.

One weight-sharing network is trained for a quarter of a training's length. On it channels, channels and images, and
these and depth are searched by natural evolution strategies, under three budgets of MACs and of latency, which a table
of this machine's measurements predicts. The answers and the uniform rescalings of the hand-made network are trained
from scratch; their latencies are measured in turns. Interrupted, it goes on; meant for 100 minutes.

    python benchmarks/joint_study.py --write
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools
import json
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import machine, parser
from trainings import accuracies, mean

from autobss_search.command.cli import main as autobss
from autobss_search.errors import SpaceError
from autobss_search.evaluators.supernet import SupernetScore
from autobss_search.searchers import NES, NSGA2, AutoBSS, Searcher
from autobss_search.spaces import Constraint, Space, load_space
from autobss_search.studies.study import Study
from autobss_zoo import Code, Setting
from autobss_zoo.families import get_family
from autobss_zoo.files import write_atomically
from autobss_zoo.latency import measure
from autobss_zoo.yaml_text import write_yaml

# Narrower ones, or of smaller images, take as long as their number of layers says, which channels do not change.
HAND_MADE = Code("mnv1_small_r", (16, 32, 64, 128, 256, 512, 1, 2, 2, 6, 2, 20))
SHARES = (0.75, 0.5, 0.35)
KINDS = ("macs", "latency")
SETTING = Setting(None, 1, 10)
BASE: dict[str, Any] = {
    "family": "mnv1_small_r",
    "C": {"of": [22, 44, 89, 179, 358, 716], "step": 0.03, "low": 0.10, "high": 1.00},
    "in_chans": 1,
    "num_classes": 10,
}
_FIXED, _DEEP = {"step": 1, "low": [1, 2, 2, 6, 2], "high": [1, 2, 2, 6, 2]}, {"step": 1, "high": [2, 3, 3, 7, 3]}
_SIDES = {"step": 2, "low": 8, "high": 28}
SPACES: dict[str, dict[str, Any]] = {
    "channel": {**BASE, "L": _FIXED, "R": {"choices": [HAND_MADE[-1]]}},
    "channel + input": {**BASE, "L": _FIXED, "R": _SIDES},
    "channel + input + depth": {**BASE, "L": _DEEP, "R": _SIDES},
}
WHOLE = "channel + input + depth"
UNIFORM = ("uniform: channel", "uniform: input", "uniform: channel + input")
SEARCHERS: dict[str, type[Searcher]] = {"NES": NES, "NSGA-II": NSGA2, "AutoBSS": AutoBSS}
TRAINING = "small/fashion_mnist.resnet_quick"


class Scale(NamedTuple):
    """How much is done.

    Attributes:
        images: Of trainings.
        holdout: The share of all images that is kept apart for scores while the shared network is trained.
        epochs: Of trainings; a quarter of the shared network's.
        scored, calibration: Images that scores and statistics are taken of.
        rounds, batch: Of searches.
        seeds: Of trainings.
        seconds: That each network's latency is measured for.
        blocks: Of the device's table at most; all when None.
    """

    images: int
    holdout: float
    epochs: int
    scored: int
    calibration: int
    rounds: int
    batch: int
    seeds: int
    seconds: float
    blocks: int | None


FULL = Scale(10000, 0.1, 4, 600, 256, 8, 16, 2, 5.0, None)
SMOKE = Scale(320, 0.005, 4, 40, 32, 2, 4, 1, 0.2, 500)


def training(scale: Scale) -> dict[str, Any]:
    """What trains networks from scratch."""
    return {"base": TRAINING, "train_images": scale.images, "epochs": scale.epochs}


def evaluator(scale: Scale, folder: Path) -> SupernetScore:
    """The scores of the weight-sharing network."""
    recipe = {
        **training(scale), "task": "supernet", "space": SPACES[WHOLE], "principle": "unilateral",
        "holdout": scale.holdout, "epochs": scale.epochs // 4, "warmup_epochs": 0.25,
    }  # fmt: skip
    return SupernetScore(recipe, str(folder), images=scale.scored, calibration=scale.calibration)


def device(scale: Scale, folder: Path) -> Path:
    """This machine's table of the whole space, in ONNX Runtime on one thread; what was measured before is kept."""
    path, space = folder / "device.json", folder / "space.yaml"
    space.write_text(write_yaml(SPACES[WHOLE]), encoding="utf-8")
    words = ["latency", "build", "--space", str(space), "-o", str(path)]
    if scale.blocks is not None:
        words += ["--blocks", str(scale.blocks), "--networks", "8", "--held-out", "4", "--seconds", "0.05"]
    if code := autobss(words):
        raise SystemExit(code)
    return path


def budget(kind: str, share: float, table: Path) -> dict[str, Any]:
    """A share of the hand-made network's cost."""
    bound = f"{share}x of {HAND_MADE}"
    return {"macs": bound} if kind == "macs" else {"latency": bound, "device": str(table)}


def uniform(name: str, bound: Constraint) -> Code | None:
    """The hand-made network with channels, images or both rescaled, the largest within a bound, if there is one."""

    def rescaled(width: float, side: int) -> tuple[int, ...]:
        widths = (
            min(most, max(1, round(width * own))) for own, most in zip(HAND_MADE[:6], BASE["C"]["of"], strict=True)
        )
        return (*widths, *HAND_MADE[6:-1], side)

    if name == "uniform: input":
        codes = [rescaled(1, side) for side in range(8, HAND_MADE[-1] + 1)]
    else:
        share = bound.upper / float(bound.function(np.array([HAND_MADE.values]))[0])
        side = HAND_MADE[-1] if name == "uniform: channel" else 2 * round(HAND_MADE[-1] * share**0.25 / 2)
        codes = [rescaled(width / 200, side) for width in range(28, 281)]  # what the space has
    met = [code for code in codes if bound.met(np.asarray(bound.function(np.array([code]))))[0]]
    if not met:
        return None
    return Code(HAND_MADE.family, max(met, key=lambda code: float(bound.function(np.array([code]))[0])))


class Answer(NamedTuple):
    """What a search has found, and its score."""

    code: str
    score: float


def searched(job: tuple[str, float, str, str], scale: Scale, folder: Path) -> Answer | None:
    """The answer of a search: under a kind of budget and a share, in a space, by a searcher, if any code meets it."""
    kind, share, name, method = job
    kept = folder / "studies" / "-".join([kind, str(share), *name.replace("+", "").split(), method])
    try:
        space = load_space(SPACES[name], budget(kind, share, folder / "device.json"))
    except SpaceError:
        return None
    searcher = SEARCHERS[method](space, seed=0)
    with Study(kept, searcher, evaluator(scale, folder), rounds=scale.rounds, batch=scale.batch) as study:
        answer = study.run()
        return Answer(str(answer), max(r.value for r in study.records if r.code == answer and r.value is not None))


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of Markdown."""
    return [*(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows]), ""]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--smoke", action="store_true", help="the smallest run, to see that it runs")
    arguments.add_argument("--folder", type=Path, default=Path("outputs/joint_study"))
    arguments.add_argument("--workers", type=int, default=2, help="side by side (2)")
    options = arguments.parse_args()
    scale = SMOKE if options.smoke else FULL
    folder = options.folder / ("smoke" if options.smoke else "full")
    folder.mkdir(parents=True, exist_ok=True)
    path = device(scale, folder)
    evaluator(scale, folder).prepare()
    jobs = [(kind, share, name, "NES") for kind in KINDS for share in SHARES for name in SPACES]
    others = [("macs", share, WHOLE, method) for share in SHARES for method in SEARCHERS if method != "NES"]
    with ProcessPoolExecutor(options.workers) as pool:
        runs = list(pool.map(partial(searched, scale=scale, folder=folder), [*jobs, *others]))
    found = dict(zip([*jobs, *others], runs, strict=True))
    family, codes = Space(HAND_MADE.family, load_space(SPACES[WHOLE]).dimensions), dict[tuple[str, float, str], Code]()
    for kind, share in itertools.product(KINDS, SHARES):
        (bound,) = load_space({**SPACES[WHOLE], "budget": budget(kind, 1, path)}).constraints
        rescaled = {name: uniform(name, replace(bound, upper=share * bound.upper)) for name in UNIFORM}
        codes |= {(kind, share, name): code for name, code in rescaled.items() if code is not None}
        answers = {name: found[kind, share, name, "NES"] for name in SPACES}
        codes |= {(kind, share, name): family.parse(answer.code) for name, answer in answers.items() if answer}
    every = [HAND_MADE, *codes.values()]
    trained = accuracies(training(scale), folder / "trainings", every, range(1, 1 + scale.seeds), options.workers)
    milliseconds = timed(every, scale, folder)
    lines, gains = [], []
    for kind in KINDS:
        rows = []
        for name in (*UNIFORM, *SPACES):
            cells = []
            for share in SHARES:
                code = codes.get((kind, share, name))
                if code is None:
                    cells.append("none is so quick")
                    continue
                macs = get_family(code.family).figure("macs", code, SETTING)
                cost = f"{macs / 1e3:.0f}K" if kind == "macs" else f"{milliseconds[str(code)]:.3f} ms"
                cells.append(f"{mean(trained[code])} ({cost})")
            rows.append([name, *cells])
        for share in SHARES:
            tops = [
                [float(np.mean(trained[codes[kind, share, name]])) for name in names if (kind, share, name) in codes]
                for names in (SPACES, UNIFORM)
            ]
            gains += [max(tops[0]) - max(tops[1])] if all(tops) else []
        header = [f"under {kind}", *(f"{share}x" for share in SHARES)]
        lines += table(header, rows)
    own = get_family(HAND_MADE.family).figure("macs", HAND_MADE, SETTING)
    compared = [
        [method, *(f"{each.score:.4f}" if (each := found["macs", share, WHOLE, method]) else "" for share in SHARES)]
        for method in SEARCHERS
    ]
    text = "\n".join(
        [
            f"# The joint search on Fashion-MNIST{' (smoke)' if options.smoke else ''}",
            "",
            f"Test accuracies in percent of {scale.seeds} trainings from scratch each, with 95% intervals, and costs. "
            f"Bounds are shares of the hand-made network's: `{HAND_MADE}`, {own / 1e3:.0f}K MACs, "
            f"{milliseconds[str(HAND_MADE)]:.3f} ms in ONNX Runtime on one thread, {mean(trained[HAND_MADE])}%. "
            f"Searches are of {scale.rounds} x {scale.batch} scores on a network of {scale.epochs // 4} epochs. "
            "Target: the best searched network is better than the best rescaled one, on the mean of the budgets that "
            f"both meet ({np.mean(gains):+.2f} points).",
            "",
            *lines,
            f"Scores (negative losses) that as many scores find, of {WHOLE} under MACs:",
            "",
            *table(["searcher", *(f"{share}x" for share in SHARES)], compared),
            machine(),
            "",
        ]
    )
    print(text)
    if options.write:
        write_atomically(Path(__file__).parent / "results" / "joint_study.md", text.encode())
    return 0 if np.mean(gains) > 0 or not options.check else 1


def timed(codes: list[Code], scale: Scale, folder: Path) -> dict[str, float]:
    """Measured milliseconds of networks, in turns; what was measured before is kept."""
    kept, names = folder / "milliseconds.json", list(dict.fromkeys(map(str, codes)))
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if not known.keys() >= set(names):
        known = dict(zip(names, measure(names, SETTING, seconds=scale.seconds).ms, strict=True))
        write_atomically(kept, json.dumps(known).encode())
    return known


if __name__ == "__main__":
    sys.exit(main())
