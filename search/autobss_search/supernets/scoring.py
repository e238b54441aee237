"""How well the networks of a trained supernet classify."""

from __future__ import annotations

from pathlib import Path as File
from statistics import fmean
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch.nn import functional

from autobss_zoo.codes import Code
from autobss_zoo.supernets.slicing import Path
from autobss_zoo.training.processes import World

from .training import SupernetRecipe, SupernetTraining


class Found(NamedTuple):
    """Of a code, the means over the sides of the supernet.

    Attributes:
        loss: Cross-entropy.
        accuracy: Top-1, in percent.
    """

    loss: float
    accuracy: float


class Scoring:
    """A trained supernet with the images to score on, which are kept on its device.

    Args:
        recipe: What trained it.
        folder: Where it was saved.
        images: How many images, at most; all that the recipe holds out when None.
    """

    def __init__(self, recipe: SupernetRecipe, folder: File, images: int | None = None) -> None:
        world, task = World(torch.device("cuda" if torch.cuda.is_available() else "cpu")), SupernetTraining(recipe)
        task.eval_indices = task.eval_indices[:images]
        self._sides = recipe.sampling.sides
        self._network = task.create().to(world.device).eval()
        self._network.load_state_dict(load_file(folder / "model.safetensors"))
        self._batches = list(task.gathered(world))

    @torch.inference_mode()
    def score(self, code: Code) -> Found:
        """Classify the images with the code's network, on each side."""
        return Found(*map(fmean, zip(*(self._side(Path(code, right)) for right in self._sides), strict=True)))

    def _side(self, path: Path) -> tuple[float, float]:
        loss = right = images = 0.0
        for some, labels in self._batches:
            (logits,) = self._network(some, [path])
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(1) == labels).sum())
            images += len(labels)
        return loss / images, 100 * right / images
