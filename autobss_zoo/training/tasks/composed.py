"""What detectors and segmenters share: how images are divided, the network over a backbone, how it is measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ... import composed
from ...errors import AutoBSSError, DataError, RecipeError
from ...families import family_of
from ..pretrained import begin_with
from ..processes import World
from ..validation import load_composed
from ..validations import Validation


def divide(images: Sequence[int], usable: Sequence[int], recipe: Any, where: Any) -> tuple[list[int], list[int]]:
    """The images to train on, and those that are held out, in a recipe's proportion.

    Args:
        images: Their numbers.
        usable: Those that one can learn from.
        recipe: With holdout and train_images.
        where: What the images are from, for errors.

    Raises:
        DataError: If there are too few.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled, known = [images[i] for i in order], set(usable)
    held = shuffled[: round(recipe.holdout * len(images))]
    if recipe.holdout and not held:
        raise DataError(f"{where}: a holdout of {recipe.holdout:g} is none of its {len(images)} images")
    train = [number for number in shuffled[len(held) :] if number in known]
    wanted = recipe.train_images or len(train)
    if not train or wanted > len(train):
        raise DataError(f"{where}: expected at least {max(wanted, 1)} images to train on, got {len(train)}")
    return sorted(train[:wanted]), sorted(held)


def create(recipe: Any, classes: tuple[str, ...], num_classes: int, **options: Any) -> nn.Module:
    """A recipe's untrained network, with the names of its classes.

    Args:
        recipe: With architecture, code, width and model_args.
        classes: Their names.
        num_classes: What the network takes for them.
        **options: Further arguments of the network.

    Raises:
        RecipeError: If model_args are none of the network's.
    """
    options = {"num_classes": num_classes, "width": recipe.width, **options}
    try:
        network: Any = composed.create_composed(recipe.architecture, recipe.code, **options, **recipe.model_args)
    except Exception as error:  # whatever each network says of what it does not take
        if isinstance(error, AutoBSSError) or not recipe.model_args:
            raise
        raise RecipeError(f"model_args: {recipe.architecture} cannot have {recipe.model_args}: {error}") from error
    network.about = replace(network.about, label_names=classes)
    return network


def start(backbone: nn.Module, recipe: Any) -> tuple[str, ...]:
    """What a task's `start` does: the backbone begins with the recipe's backbone_weights, if it names any."""
    if recipe.backbone_weights is None:
        return ()
    return begin_with(backbone, recipe.backbone_weights, family_of(recipe.code), "backbone_weights")


class ComposedValidation(Validation):
    """Trained networks of a task on the images of a folder.

    Its option `pictures` is a folder for pictures of predictions beside the truth.
    """

    options = ("pictures",)
    task: ClassVar[str]

    @abstractmethod
    def images(self, data_dir: str | None) -> tuple[Any, list[int]]:
        """The images of the folder, and the numbers of those to look at."""

    @abstractmethod
    def evaluate(self, network: Any, images: Any, chosen: list[int], world: World, workers: int) -> Any:
        """The network's metrics."""

    @abstractmethod
    def draw(self, network: Any, images: Any, chosen: list[int], folder: Path, device: torch.device) -> None:
        """Write pictures."""

    def measure(
        self, name: str, data: str, data_dir: str | None, *, world: World, workers: int = 4, **options: Any
    ) -> Any:
        """As in Validation."""
        images, chosen = self.images(data_dir)
        network = load_composed(name, self.task, images.classes).to(world.device)
        metrics = self.evaluate(network, images, chosen, world, workers)
        if (pictures := options.get("pictures")) is not None and world.first:
            self.draw(network, images, chosen, pictures, world.device)
        return metrics
