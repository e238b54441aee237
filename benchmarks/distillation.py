"""Knowledge distillation on Fashion-MNIST: a small ResNet alone, alone for twice as long, and taught by a larger one.

Each is trained with several seeds and tested once. It can be interrupted and goes on.

    python benchmarks/distillation.py --write
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from fashion_mnist import interval
from machine import parser, report

from autobss_zoo import Code, Setting, get_family
from autobss_zoo.training import TrainingRecipe, train

RECIPE = "small/fashion_mnist.resnet_cpu"
STUDENT = "resnet18_small{8,8,16,16,1,1,1,1}"
SETTING = Setting(28, 1, 10)


def arms(recipe: Any, teacher: str) -> dict[str, dict[str, Any]]:
    """What differs between the ways to train the student."""
    return {
        "alone": {},
        "alone, twice as long": {"epochs": 2 * recipe.epochs},
        "taught, the defaults": {"teacher": teacher},
        "taught, share 0.9, temperature 4": {"teacher": teacher, "distillation": 0.9, "temperature": 4.0},
    }


def trained(folder: Path, changes: dict[str, Any]) -> float:
    """The test accuracy of a training, of `folder` if it is there already."""
    recipe, _ = TrainingRecipe.load(RECIPE, changes)
    train(recipe, folder)
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))["top1"]


def main() -> int:
    """Train what is missing, and report."""
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--folder", type=Path, default=Path("outputs/distillation"), help="trainings, gone on with")
    options = arguments.parse_args()
    recipe: Any = TrainingRecipe.load(RECIPE)[0]
    teacher = trained(options.folder / "teacher", {})
    student, larger = (get_family("resnet18_small").cost(Code.parse(c), SETTING) for c in (STUDENT, str(recipe.code)))
    rows, means = [], {}
    for name, changes in arms(recipe, str(options.folder / "teacher" / "last")).items():
        accuracies = [
            trained(options.folder / name.replace(" ", "-") / str(seed), {"model": STUDENT, "seed": seed, **changes})
            for seed in range(options.seeds)
        ]
        means[name] = statistics.fmean(accuracies)
        # An image passes the student forwards and, at twice the cost, backwards, and the teacher forwards alone.
        cost = changes.get("epochs", recipe.epochs) / recipe.epochs
        cost *= 1 + ("teacher" in changes) * larger.macs / (3 * student.macs)
        each = ", ".join(f"{a:.2f}" for a in accuracies)
        rows.append([name, f"{means[name]:.2f} ± {interval(accuracies):.2f}", each, f"{cost:.2f}x"])
        print(rows[-1], flush=True)
    title = (
        f"Fashion-MNIST, `{RECIPE}`: {STUDENT} ({student.macs / 1e6:.2f}M MACs), taught by {recipe.code} "
        f"({larger.macs / 1e6:.2f}M MACs, {teacher:.2f}%). Test accuracy in %, mean and 95% interval, "
        f"{options.seeds} seeds."
    )
    met = means["taught, the defaults"] > means["alone"]
    return report(__file__, title, ["training", "test, %", "each", "MACs of the training"], rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
