"""How well the networks of a trained supernet classify."""

from __future__ import annotations

from itertools import islice
from pathlib import Path as File
from statistics import fmean
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from autobss_zoo.codes import Code
from autobss_zoo.families import family_of
from autobss_zoo.supernets.slicing import Path, recalibrate, resized
from autobss_zoo.training.data.batches import Parts
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
        images: How many images, at most; all that the recipe evaluates on when None.
        calibration: Of how many training images batch norms have their statistics, a batch of the recipe's at a time;
            of those that are classified, about 2,048 at a time, when None.
    """

    def __init__(
        self, recipe: SupernetRecipe, folder: File, images: int | None = None, calibration: int | None = None
    ) -> None:
        world, task = World(torch.device("cuda" if torch.cuda.is_available() else "cpu")), SupernetTraining(recipe)
        task.eval_indices = task.eval_indices[:images]
        self._sides = recipe.sampling.sides
        self._network = task.create().to(world.device).eval()
        self._network.load_state_dict(load_file(folder / "model.safetensors"))
        self._batches = list(task.evaluation(world) if calibration else task.gathered(world))
        self._calibration = _images(task, world, calibration) if calibration else []

    def score(self, code: Code) -> Found:
        """Classify the images with the code's network, on each side."""
        return Found(*map(fmean, zip(*(self._side(Path(code, right)) for right in self._sides), strict=True)))

    @torch.inference_mode()
    def _side(self, path: Path) -> tuple[float, float]:
        loss = right = images = 0.0
        own, side = (
            self._network.network(path) if self._calibration else None,
            family_of(path.code).stated_side(path.code),
        )
        if own is not None:
            recalibrate(own, (resized(images, side) for images in self._calibration))
        for some, labels in self._batches:
            logits = self._network(some, [path])[0] if own is None else own(resized(some, side))
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            right += float((logits.argmax(1) == labels).sum())
            images += len(labels)
        return loss / images, 100 * right / images


def _images(task: SupernetTraining, world: World, n: int) -> list[Tensor]:
    """Some training images in batches of the recipe's."""
    batches, size = task.batches(world.device), task.recipe.batch_size
    parts = Parts(len(batches), size, 1, task.recipe.seed)
    return [images for images, _ in islice(batches.epoch(parts, 0, 0), -(-n // size))]
