"""Detection: its recipe, and its task on images in COCO's format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ...cost import Setting
from ...detection import DETECTORS
from ...detection.networks import WIDTH
from ...errors import DataError, did_you_mean
from ...families.detectors import DetectorKind
from ...limits import Side, Text, Whole
from ..data.batches import Batches
from ..data.coco import CocoImages, load_part, load_splits
from ..data.samples import Reader, SampleBatches, check_readable, evaluation_loader
from ..metrics.average_precision import AveragePrecision, as_results, average_precision
from ..pretrained import Weights
from ..processes import World
from ..recipe import TrainingRecipe, register_task
from ..task import Task
from ..validations import register_validation
from .composed import ComposedValidation, create, divide, start
from .pictures import draw_objects, write_pictures

Sample = tuple[Tensor, dict[str, Tensor]]


@register_task("detection")
class DetectionRecipe(TrainingRecipe):
    """What trains a detector (AutoBSS, appendix B.4).

    Attributes:
        architecture: maskrcnn, fasterrcnn or retinanet.
        data: coco: a folder in COCO's format.
        width: Channels of the pyramid and the heads.
        min_size, max_size: Images are resized to this shorter side in pixels, unless the longer one would exceed its.
        flip: Whether images are mirrored at random.
        backbone_weights: A trained classifier to begin with, as ClassificationRecipe's `weights`; from scratch when
            None, as in the paper.
        model_args: Further arguments of torchvision's class, e.g. {box_score_thresh: 0.1}.
    """

    task: Literal["detection"]
    data: Literal["coco"] = "coco"
    architecture: Text
    width: Whole = Field(WIDTH, gt=0, le=4096)
    min_size: Side = 800
    max_size: Side = 1333
    backbone_weights: Weights | None = None

    @model_validator(mode="after")
    def _fits(self) -> DetectionRecipe:
        if self.architecture not in DETECTORS:
            raise ValueError(f"architecture: {self.architecture!r}: {did_you_mean(self.architecture, DETECTORS)}")
        if self.min_size > self.max_size:
            raise ValueError(f"max_size: expected at least the min_size of {self.min_size}, got {self.max_size}")
        return self

    def prepare(self) -> Detection:
        """As in TrainingRecipe."""
        return Detection(self)

    @property
    def counting(self) -> dict[str, Any]:
        """As in TrainingRecipe, and detector and width; of a square image, and without the background."""
        classes = load_part(self.data_dir, "val").classes
        setting = Setting(self.side or self.min_size, 3, len(classes))
        return {"setting": setting, "detector": DetectorKind(self.architecture, self.width)}


class Detection(Task):
    """A recipe's images, loaded and divided.

    Attributes:
        train_indices, eval_indices: Identities of the images to train on and to evaluate on.
        source: The images that the latter are of.
    """

    metrics = AveragePrecision

    def __init__(self, recipe: DetectionRecipe) -> None:
        super().__init__(recipe, "holdout" if recipe.holdout else "test")
        self.kind = DETECTORS[recipe.architecture]
        self.images, test = load_splits(recipe.data_dir)
        if self.kind.masks:
            self.images.check_masks()
        self.train_indices, held = divide(self.images.ids, self.images.with_objects, recipe, self.images.path)
        self.source, self.eval_indices = (self.images, held) if recipe.holdout else (test, test.ids)
        if self.kind.masks:
            self.source.check_masks(every=True)
        _check_objects(self.source, self.eval_indices)
        check_readable(self.images.image, self.train_indices, self.images.path)
        check_readable(self.source.image, self.eval_indices, self.source.path)

    def create(self) -> nn.Module:
        """The detector, with the names of its classes."""
        recipe, classes = self.recipe, self.images.classes
        side = recipe.side or recipe.min_size  # the longer one keeps its proportion
        sizes = {"min_size": side, "max_size": round(recipe.max_size * side / recipe.min_size)}
        return create(recipe, classes, len(classes) + self.kind.first_label, **sizes)

    def start(self, network: nn.Module) -> tuple[str, ...]:
        """As in Task; only the backbone begins with weights."""
        return start(network.get_submodule("backbone.body"), self.recipe)

    def batches(self, device: torch.device) -> Batches:
        """As in Task; of images of shape (3, h, w) in [0, 1], and their targets."""
        samples = _Samples(self.images, self.kind.first_label, self.kind.masks, self.recipe.flip)

        def deliver(loader: Iterable[list[Sample]]) -> Iterable[tuple[list[Tensor], list[dict[str, Tensor]]]]:
            for batch in loader:
                images = [image.to(device, non_blocking=True).float() / 255 for image, _ in batch]
                yield images, [{k: v.to(device, non_blocking=True) for k, v in target.items()} for _, target in batch]

        reader = Reader(samples.read, np.array(self.train_indices))
        return SampleBatches(reader, list, deliver, self.recipe.workers, device)

    def loss(self, model: nn.Module, batch: tuple[list[Tensor], list[dict[str, Tensor]]]) -> Tensor:
        """As in Task; the sum of torchvision's losses."""
        return torch.stack(list(model(*batch).values())).sum()

    def evaluate(self, network: nn.Module, world: World) -> AveragePrecision:
        """As in Task."""
        return evaluate_detector(network, self.source, self.eval_indices, world, self.recipe.workers)

    def draw(self, network: nn.Module, folder: Path, world: World) -> None:
        """As in Task; of the first images that are evaluated."""
        draw_predictions(network, self.source, self.eval_indices, folder, world.device)


class _Samples:
    """Images by identity with their targets, mirrored at random."""

    def __init__(self, images: CocoImages, first_label: int, masks: bool, flip: bool) -> None:
        self._images, self._first_label, self._masks, self._flip = images, first_label, masks, flip

    def read(self, number: int) -> Sample:
        image, target = self._images.image(number), self._images.target(number, self._first_label, self._masks)
        if self._flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
            left, top, right, bottom = target["boxes"].unbind(1)
            width = image.shape[-1]
            target["boxes"] = torch.stack([width - right, top, width - left, bottom], dim=1)
            if self._masks:
                target["masks"] = target["masks"].flip(-1)
        return image, target


class _Images:
    """Images by identity."""

    def __init__(self, images: CocoImages) -> None:
        self._images = images

    def read(self, number: int) -> tuple[int, Tensor]:
        return number, self._images.image(number)


def _check_objects(images: CocoImages, chosen: list[int]) -> None:
    if not set(chosen) & set(images.with_objects):
        raise DataError(f"{images.path}: none of {len(chosen)} images to evaluate on has an object")


def evaluate_detector(
    network: nn.Module, images: CocoImages, chosen: list[int], world: World, workers: int = 4
) -> AveragePrecision:
    """Detect objects in images, those of every process together, in full precision.

    Args:
        network: A detector; it is left in evaluation mode.
        images: The images.
        chosen: Identities of those to look at.
        world: The processes.
        workers: Processes that read images.

    Raises:
        DataError: If no image that can be read has an object.
    """
    network.eval()
    masks, categories = _labels(network, images)
    results: list[dict[str, Any]] = []
    seen: list[int] = []
    reader = Reader(_Images(images).read, np.array(chosen[world.rank :: world.size]))
    with torch.inference_mode():
        for batch in evaluation_loader(reader, list, workers, world.device):
            for number, image in filter(None, batch):
                (prediction,) = network([image.to(world.device).float() / 255])
                results += as_results(number, prediction, categories)
                seen.append(number)
    results, seen = world.gather(results), world.gather(seen)
    _check_objects(images, seen)
    figures = average_precision(images.api, sorted(seen), results, masks) if world.first else {}
    return AveragePrecision(world.share(figures), len(seen), len(chosen) - len(seen))


def draw_predictions(
    network: nn.Module, images: CocoImages, chosen: list[int], folder: Path, device: torch.device
) -> None:
    """Write pictures of the first images: left the truth, right what the detector is rather sure of."""
    network.eval()
    masks, categories = _labels(network, images)
    first_label = min(categories)

    def draw(number: int) -> tuple[str, Tensor, Tensor]:
        image, truth = images.image(number), images.target(number, first_label, masks)
        with torch.inference_mode():
            (found,) = network([image.to(device).float() / 255])
        found = {key: value.cpu() for key, value in found.items()}
        sure = (found["scores"] >= 0.5) & torch.isin(found["labels"], torch.tensor(list(categories)))
        found = {key: value[sure] for key, value in found.items()}
        left, right = (draw_objects(image, objects, images.classes, first_label) for objects in (truth, found))
        return str(number), left, right

    write_pictures(chosen, draw, folder)


def _labels(network: Any, images: CocoImages) -> tuple[bool, Mapping[int, int]]:
    """Whether a detector predicts masks, and the categories' identities by its labels."""
    kind = DETECTORS[network.about.architecture]
    return kind.masks, dict(enumerate(images.categories, start=kind.first_label))


@register_validation("coco")
class Detections(ComposedValidation):
    """Trained detectors on the validation images of a folder in COCO's format."""

    task = "detection"
    draw = staticmethod(draw_predictions)

    def images(self, data_dir: str | None) -> tuple[CocoImages, list[int]]:
        """As in ComposedValidation."""
        images = load_part(data_dir, "val")
        return images, images.ids

    def evaluate(
        self, network: Any, images: CocoImages, chosen: list[int], world: World, workers: int
    ) -> AveragePrecision:
        """As in ComposedValidation."""
        if DETECTORS[network.about.architecture].masks:
            images.check_masks(every=True)
        return evaluate_detector(network, images, chosen, world, workers)
