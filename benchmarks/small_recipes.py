"""The shipped small recipes in full: digits over 98.5%, Fashion-MNIST over 93%."""

import sys
import time

import torch
from machine import parser, report

from autobss_zoo.training import TrainingRecipe, train

TARGETS = {"small/digits": 98.5, "small/fashion_mnist": 93.0}


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--recipes", nargs="+", choices=TARGETS, default=list(TARGETS))
    options = arguments.parse_args()
    rows, met = [], True
    for name in options.recipes:
        recipe, start = TrainingRecipe.load(name)[0], time.perf_counter()
        accuracy, _ = train(recipe, on_epoch=lambda row: print(row, file=sys.stderr))
        met &= accuracy.top1 > TARGETS[name]
        low, high = accuracy.interval
        interval = f"{low:.2f} to {high:.2f}"
        minutes = f"{(time.perf_counter() - start) / 60:.1f}"
        rows.append([name, recipe.model, f"{accuracy.top1:.2f}", interval, f"{TARGETS[name]}", minutes])
    header = ["recipe", "network", "top-1, %", "95% interval", "target", "minutes"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return report(__file__, f"Test accuracy after the last epoch, {device}", header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
