"""Supernets at the size of ImageNet's networks: time and memory of some steps, and of scoring 100 codes.

The images are a made folder's. Each supernet is built in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import alone, answer, most_memory, parser, report
from training_speed import write_images

RECIPES = {"supernets/mnv2.wide": "MobileNetV2, 1.5x", "supernets/resnet50": "ResNet50"}
IMAGES, BATCH, STEPS, CODES, SCORED = 400, 8, 4, 100, 16


def measure(name: str) -> dict[str, float]:
    """Millions of parameters, seconds of a step and of a score, and the most MiB of a training and in all."""
    import torch
    from safetensors.torch import load_file

    from autobss_search.evaluators.supernet import SupernetScore
    from autobss_zoo.training import train

    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "images", IMAGES)
        settings: dict[str, Any] = {
            "base": name, "data": "imagefolder", "data_dir": f"{folder}/images", "epochs": None, "iterations": STEPS,
            "batch_size": BATCH, "amp": None, "workers": 0,
        }  # fmt: skip
        evaluator = SupernetScore(settings, folder, images=SCORED, threads=torch.get_num_threads())
        recipe, ends = evaluator.load(), list[float]()
        train(recipe, evaluator.folder, on_step=lambda progress: ends.append(time.perf_counter()))
        trained = most_memory()
        space = recipe.sampling.space
        rows = np.random.default_rng(0).integers(0, space.lengths, (CODES, space.ndim))
        evaluator.open()
        start = time.perf_counter()
        for code in space.decode(rows):
            evaluator.score(code, 0)
        score, most = (time.perf_counter() - start) / CODES, most_memory()
        weights = load_file(evaluator.folder / "last" / "model.safetensors")
        return {
            "parameters": sum(weight.numel() for weight in weights.values()) / 1e6,
            "step": (ends[-1] - ends[0]) / (len(ends) - 1),
            "trained": trained,
            "score": score,
            "most": most,
        }


def main() -> int:
    answer(measure)
    options = parser(__doc__).parse_args()
    rows = []
    for name, what in RECIPES.items():
        found = alone(__file__, name)
        rows.append([f"`{name}`", what, *(f"{found[key]:,.2f}" for key in ("parameters", "step", "score"))])
        rows[-1] += [f"{found[key]:,.0f}" for key in ("trained", "most")]
    title = (
        f"# Supernets of ImageNet's networks\n\nFour paths a step (a code and its complement on both sides), {BATCH} "
        f"images of 224x224 each; {CODES} codes are scored on {SCORED} images, on both sides."
    )
    header = ["recipe", "network", "parameters (M)", "s a step", "s a score", "MiB, training", "MiB in all"]
    return report(__file__, title, header, rows, True, options)


if __name__ == "__main__":
    sys.exit(main())
