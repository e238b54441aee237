"""A search on real data, from a budget in milliseconds to a verified ONNX file: `make demo`.

A small ResNet50 for scikit-learn's digits is too slow. A quarter of its widths takes no search, but as many layers.
AutoBSS looks for a better network that is as quick as the rescaled one on this machine: the blocks of a space are
timed, and 24 trainings of codes within that budget are scored on held-out images. What it finds, the rescaled and the
hand-made network are then trained anew with four seeds each, tested on images that the search has not seen, and timed
in turns. Leaves a picture of that, the device's table, the study and the networks in outputs/demo.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy.stats import sem, t

from autobss_search import AutoBSS, Study, Training
from autobss_search.command.cli import main as autobss
from autobss_search.executors import Job
from autobss_search.executors.processes import LocalProcesses
from autobss_zoo import Code, from_pretrained, to_onnx
from autobss_zoo.latency import measure
from autobss_zoo.plots import COLOURS, save
from autobss_zoo.training.data.batches import memory_evaluation, resized
from autobss_zoo.training.data.sources import SOURCES, load

HAND_MADE = Code.parse("resnet50_small{16,32,64,128,3,4,6,3,4,8,16,32}")
RESCALED = Code.parse("resnet50_small{4,8,16,32,3,4,6,3,1,2,4,8}")
SPACE = """
family: resnet50_small
C: {powers: 2, low: [4, 8, 16, 32], high: [16, 32, 64, 128]}
L: {step: 1, high: [3, 4, 6, 3]}
B: {fractions: [1/4]}
"""
DIGITS = {"base": "small/digits", "model": str(HAND_MADE), "input_size": 8, "evaluate_every": None}
SEARCHED = Training({**DIGITS, "epochs": 8, "holdout": 0.25})
BATCH = 16  # images at a time, where networks are timed: of single ones this small, times are noise
SEEDS = range(101, 105)
LEAST_ACCURACY = 90.0
EXECUTOR = LocalProcesses(2)
OUTPUTS = Path(__file__).parents[1] / "outputs" / "demo"
DEVICE, RULES = OUTPUTS / "device.json", OUTPUTS / "space.yaml"
FINAL = Training({**DIGITS, "epochs": 10}, models=str(OUTPUTS / "networks"))


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 140)
    if (OUTPUTS / "found.onnx").exists():  # finished: a new one
        shutil.rmtree(OUTPUTS)
    if not (OUTPUTS / "study").exists() and (code := timed()):
        return code
    space = SEARCHED.make_space(str(RULES), {"macs": None, "latency": f"1x of {RESCALED}", "device": str(DEVICE)})
    allowed = space.constraints[0].range
    console.print(f"{space.size:,} codes; the best one of {allowed} ms is sought, as {RESCALED} takes.")
    with Study(
        OUTPUTS / "study",
        AutoBSS(space, n_candidates=300),
        SEARCHED,
        EXECUTOR,
        rounds=2,
        batch=12,
        on_event=console.print,
    ) as study:
        if not study.records:
            study.enqueue(RESCALED)
        found = study.run()

    console.print(f"Training {found}, the rescaled and the hand-made network {len(SEEDS)} times each, to be tested.")
    networks = {"hand-made": HAND_MADE, "uniformly rescaled": RESCALED, "found": found}
    ms = dict(zip(networks, measure([*networks.values()], FINAL.setting, batch=BATCH, seconds=1).ms, strict=True))
    accuracies = tested(networks)
    table = Table("network", "code", title=f"Held-out test digits: means of {len(SEEDS)} trainings, 95% intervals")
    for heading in (f"ms of {BATCH} images", "accuracy"):
        table.add_column(heading, justify="right")
    for name, values in accuracies.items():
        percent = f"{statistics.fmean(values):.2f} ± {interval(values):.2f}%"
        table.add_row(name, str(networks[name]), f"{ms[name]:.3f}", percent)
    console.print(table)
    draw(ms, accuracies)

    trained = from_pretrained(str(FINAL.kept_model(found, SEEDS[0])))
    path = to_onnx(trained, OUTPUTS / "found.onnx").path
    right, expected = classified(str(path)), accuracies["found"][0]
    both = f"{right:.2f}% in ONNX Runtime, {expected:.2f}% in PyTorch"
    console.print(f"{path} is what was found; it classifies {both}.")
    console.print(f"{OUTPUTS} also has demo.png, the device's table, the study and the networks.")
    best = max(LEAST_ACCURACY, statistics.fmean(accuracies["uniformly rescaled"]))
    if statistics.fmean(accuracies["found"]) < best or abs(right - expected) > 0.5:
        print(f"demo: expected at least {best:.2f}% of what was found, and the same in ONNX Runtime", file=sys.stderr)
        return 1
    return 0


def timed() -> int:
    """Time blocks and some whole networks of the space, as `autobss latency build` does; its exit code."""
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    images = [f"--{name.replace('_', '-')}={value}" for name, value in FINAL.setting.describe().items()]
    quick = ["--networks=10", "--held-out=4", "--seconds=0.2"]  # real tables take minutes
    RULES.write_text(SPACE, encoding="utf-8")
    return autobss(["latency", "build", f"--space={RULES}", f"--batch={BATCH}", *images, *quick, f"--output={DEVICE}"])


def tested(networks: dict[str, Code]) -> dict[str, list[float]]:
    """The test accuracies of networks in percent, of trainings with each seed."""
    jobs = [Job(i, code, seed) for i, (code, seed) in enumerate((c, s) for c in networks.values() for s in SEEDS)]
    values = dict[int, float]()
    for outcome in EXECUTOR.outcomes(FINAL, jobs):
        if outcome.value is None:
            raise SystemExit(f"demo: {jobs[outcome.id].code}: {outcome.error}")
        values[outcome.id] = outcome.value
    return {name: [values[job.id] for job in jobs if job.code == code] for name, code in networks.items()}


def interval(values: list[float]) -> float:
    """Half the width of a mean's 95% confidence interval."""
    return float(t.ppf(0.975, len(values) - 1) * sem(values))


def draw(ms: dict[str, float], accuracies: dict[str, list[float]]) -> None:
    """Accuracy against time."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, values), colour in zip(accuracies.items(), COLOURS, strict=False):
        mean, half = statistics.fmean(values), interval(values)
        axes.errorbar(ms[name], mean, half, color=colour, marker="o", capsize=4, label=name)
    axes.set(xlabel=f"milliseconds of {BATCH} images", ylabel="test accuracy, %", xlim=(0, None))
    axes.legend(frameon=False)
    save(figure, OUTPUTS / "demo.png")


def classified(path: str) -> float:
    """The accuracy of an ONNX file on the test digits in percent."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    source, images = SOURCES["digits"], resized(load("digits").test, FINAL.setting.input_size)
    batches = memory_evaluation(images, source.mean, source.std, torch.device("cpu"))
    hits = [session.run(["logits"], {"image": x.numpy()})[0].argmax(1) == y.numpy() for x, y in batches]
    return 100 * float(np.mean(np.concatenate(hits)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("demo: interrupted; `make demo` goes on")
