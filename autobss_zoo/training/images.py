"""A recipe's data, ready to train on and to evaluate on, wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from timm.data import resolve_data_config
from torch import Tensor

from ..errors import DataError
from .batches import Batches, MemoryBatches, memory_evaluation, resized
from .data import SOURCES, Images, Source, Splits, indices, load
from .folders import FolderBatches, folder_evaluation, labels_of
from .processes import World
from .recipe import TrainingRecipe


def configuration(source: Source, classes: tuple[str, ...], side: int) -> dict[str, Any]:
    """What timm's configuration of a network says of the images it was trained on."""
    fixed = {"crop_pct": 1.0, "interpolation": "bilinear"} if source.in_memory else {}
    facts = {"input_size": (source.in_chans, side, side), "mean": source.mean, "std": source.std}
    return {**facts, **fixed, "num_classes": len(classes), "label_names": classes}


@dataclass(frozen=True)
class Prepared:
    """The data of a recipe.

    Attributes:
        source: The data set.
        classes: Its classes' names.
        side: Of the images in pixels.
        splits: Its images.
        train: Which of the training images to train on.
        evaluated: Which images to evaluate on: of the training images if there is a holdout, else of the test set.
        on: Where the latter come from, "holdout" or "test".
    """

    source: Source
    classes: tuple[str, ...]
    side: int
    splits: Splits
    train: Tensor
    evaluated: Tensor
    on: str

    @property
    def configuration(self) -> dict[str, Any]:
        """What timm's configuration of a network says of its images."""
        return configuration(self.source, self.classes, self.side)

    def batches(self, recipe: TrainingRecipe, device: torch.device) -> Batches:
        """To train on."""
        if isinstance(images := self.splits.train, Images):
            chosen = Images(images.images[self.train], images.labels[self.train])
            return MemoryBatches(resized(chosen, self.side), self.source.mean, self.source.std, recipe, device)
        config = resolve_data_config({}, pretrained_cfg=self.configuration)
        return FolderBatches(images, self.train, config, recipe, device)

    def evaluation(self, recipe: TrainingRecipe, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of what to evaluate on."""
        images = self.splits.test if self.on == "test" else self.splits.train
        chosen = self.evaluated[world.rank :: world.size]
        if isinstance(images, Images):
            part = resized(Images(images.images[chosen], images.labels[chosen]), self.side)
            return memory_evaluation(part, self.source.mean, self.source.std, world.device, recipe.channels_last)
        config = resolve_data_config({}, pretrained_cfg=self.configuration)
        return folder_evaluation(images, chosen, config, world.device, workers=recipe.workers)


def prepare(recipe: TrainingRecipe) -> Prepared:
    """Load a recipe's data and divide them.

    Raises:
        DataError: If they are missing, broken, or too few.
    """
    source, splits = SOURCES[recipe.data], load(recipe.data, recipe.data_dir)
    train, test = (s.labels if isinstance(s, Images) else labels_of(s) for s in splits)
    classes = source.classes or tuple(splits.train.reader.class_to_idx)
    chosen, evaluated = torch.arange(len(train)), torch.arange(len(test))
    if recipe.holdout:
        chosen, evaluated = indices(train, recipe.holdout)
    if recipe.train_images is not None:
        if recipe.train_images > len(chosen):
            raise DataError(f"train_images: expected at most {len(chosen)}, got {recipe.train_images}")
        if recipe.train_images < len(chosen):
            chosen = chosen[indices(train[chosen], recipe.train_images / len(chosen))[1]]
    side = recipe.input_size or source.input_size
    return Prepared(source, classes, side, splits, chosen, evaluated, "holdout" if recipe.holdout else "test")
