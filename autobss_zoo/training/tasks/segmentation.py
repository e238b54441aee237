"""Semantic segmentation: its recipe, and its task on images in VOC's format."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from ...cost import Setting
from ...errors import DataError, did_you_mean
from ...limits import Flag, Number, Side, Text, Whole
from ...segmentation import SEGMENTERS, predict
from ...segmentation.networks import WIDTH
from ..data.batches import Batches, Normalise
from ..data.samples import Reader, SampleBatches, check_readable, evaluation_loader
from ..data.sources import SOURCES
from ..data.voc import IGNORED, VocImages
from ..metrics.mean_iou import MeanIoU, confusion
from ..pretrained import Weights
from ..processes import World
from ..recipe import TrainingRecipe, register_task
from ..task import Task
from ..validations import register_validation
from .composed import ComposedValidation, create, divide, start
from .pictures import draw_classes, write_pictures

Sample = tuple[Tensor, Tensor]

_MEAN, _STD = SOURCES["imagenet"].mean, SOURCES["imagenet"].std


@register_task("segmentation")
class SegmentationRecipe(TrainingRecipe):
    """What trains a segmentation network (AutoBSS, section 4.6, whose settings are those of the networks' authors).

    Attributes:
        architecture: pspnet or psanet.
        data: voc: a folder in VOC's format.
        split: The list of images to train on; "val" is evaluated.
        width: Channels of the heads.
        input_size: Side of the crops in pixels, in training and in the sliding window of evaluation.
        base_size: Longer side that images are resized to for evaluation; their own when None.
        scale: Smallest and largest factor that images are resized by at random.
        rotate: Largest angle, in degrees, that half of the images are turned by at random.
        blur: Whether half of the images are blurred.
        flip: Whether images are mirrored at random.
        aux_weight: Of the auxiliary loss.
        head_rate: The heads learn at so many times the rate.
        backbone_weights: A trained classifier to begin with, as ClassificationRecipe's `weights`; none when None.
        model_args: Further arguments of `create_segmenter`, e.g. {dropout: 0.2}.
    """

    task: Literal["segmentation"]
    data: Literal["voc"] = "voc"
    split: Text = "train"
    architecture: Text
    width: Whole = Field(WIDTH, gt=0, le=4096)
    input_size: Side = 473
    base_size: Side | None = None
    scale: tuple[Number, Number] = (1.0, 1.0)
    rotate: Number = Field(0, ge=0, le=180)
    blur: Flag = False
    aux_weight: Number = Field(0.4, ge=0, le=100)
    head_rate: Number = Field(1, gt=0, le=1000)
    backbone_weights: Weights | None = None

    @model_validator(mode="after")
    def _fits(self) -> SegmentationRecipe:
        if self.architecture not in SEGMENTERS:
            raise ValueError(f"architecture: {self.architecture!r}: {did_you_mean(self.architecture, SEGMENTERS)}")
        if not 0 < self.scale[0] <= self.scale[1] <= 16:
            raise ValueError(f"scale: expected two ascending positive factors up to 16, got {list(self.scale)}")
        return self

    def prepare(self) -> Segmentation:
        """As in TrainingRecipe."""
        return Segmentation(self)

    @property
    def counting(self) -> dict[str, Any]:
        """As in TrainingRecipe; of the backbone as a classifier."""
        classes = VocImages(self.data_dir, "val").classes
        return {"setting": Setting(self.crop, 3, len(classes))}

    @property
    def crop(self) -> int:
        """Side of the crops in pixels: the code's where it states one, else input_size."""
        return self.side or self.input_size


class Segmentation(Task):
    """A recipe's images, found and divided.

    Attributes:
        train_indices, eval_indices: Numbers of the images to train on and to evaluate on.
        source: The images that the latter are of.
    """

    metrics = MeanIoU

    def __init__(self, recipe: SegmentationRecipe) -> None:
        super().__init__(recipe, "holdout" if recipe.holdout else "test")
        self.images, test = VocImages(recipe.data_dir, recipe.split), VocImages(recipe.data_dir, "val")
        numbers = range(len(self.images.pairs))
        self.train_indices, held = divide(numbers, numbers, recipe, self.images.path)
        self.source, self.eval_indices = (self.images, held) if recipe.holdout else (test, list(range(len(test.pairs))))
        check_readable(self.images.read, self.train_indices, self.images.path)
        check_readable(self.source.read, self.eval_indices, self.source.path)

    def create(self) -> nn.Module:
        """The network, with the names of its classes."""
        recipe, classes = self.recipe, self.images.classes
        options = {"input_size": recipe.crop, "aux_loss": recipe.aux_weight > 0}
        network: Any = create(recipe, classes, len(classes), **options)
        prepared = {"crop": recipe.crop, "base_size": recipe.base_size}
        network.about = replace(network.about, preprocessing=prepared)
        return network

    def start(self, network: nn.Module) -> tuple[str, ...]:
        """As in Task; only the backbone begins with weights."""
        return start(network.get_submodule("backbone"), self.recipe)

    def parameters(self, network: Any) -> Any:
        """As in Task; the backbone's parameters, and the heads' at their own rate."""
        backbone = list(network.backbone.parameters())
        known = set(map(id, backbone))
        heads = [p for p in network.parameters() if id(p) not in known]
        return [{"params": backbone}, {"params": heads, "lr_scale": self.recipe.head_rate}]

    def batches(self, device: torch.device) -> Batches:
        """As in Task; of normalised images of shape (n, 3, s, s), and classes of shape (n, s, s)."""
        normalise = Normalise(_MEAN, _STD, device, self.recipe.channels_last)

        def deliver(loader: Iterable[Sample]) -> Iterable[Sample]:
            for images, masks in loader:
                yield normalise(images.to(device, non_blocking=True)), masks.to(device, non_blocking=True).long()

        reader = Reader(_Augmented(self.images, self.recipe).read, np.array(self.train_indices))
        return SampleBatches(reader, torch.utils.data.default_collate, deliver, self.recipe.workers, device)

    def loss(self, model: nn.Module, batch: Sample) -> Tensor:
        """As in Task; mean cross-entropies of the pixels that are not ignored."""
        images, classes = batch
        weights = {"out": 1.0, "aux": self.recipe.aux_weight}
        judged = (classes != IGNORED).sum().clamp(min=1)  # a crop may have none
        losses = [
            weights[name] * functional.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
            for name, logits in model(images).items()
        ]
        return torch.stack(losses).sum() / judged

    def evaluate(self, network: nn.Module, world: World) -> MeanIoU:
        """As in Task."""
        return evaluate_segmenter(network, self.source, self.eval_indices, world, self.recipe.workers)

    def draw(self, network: nn.Module, folder: Path, world: World) -> None:
        """As in Task; of the first images that are evaluated."""
        draw_predictions(network, self.source, self.eval_indices, folder, world.device)


class _Augmented:
    """Images with their masks by number, resized, turned, blurred, mirrored and cropped at random."""

    def __init__(self, images: VocImages, recipe: SegmentationRecipe) -> None:
        self._images, self._recipe = images, recipe
        self._fill = [255 * value for value in _MEAN]

    def read(self, number: int) -> Sample:
        recipe = self._recipe
        image, mask = self._images.read(number)
        mask = mask[None]
        if (factor := random.uniform(*recipe.scale)) != 1:
            size = [max(round(side * factor), 1) for side in image.shape[1:]]
            image = transforms.resize(image, size, antialias=True)
            mask = transforms.resize(mask, size, InterpolationMode.NEAREST_EXACT)
        if recipe.rotate and random.random() < 0.5:
            angle = random.uniform(-recipe.rotate, recipe.rotate)
            image = transforms.rotate(image, angle, InterpolationMode.BILINEAR, fill=self._fill)
            mask = transforms.rotate(mask, angle, fill=[IGNORED])
        if recipe.blur and random.random() < 0.5:
            image = transforms.gaussian_blur(image, [5, 5])
        if recipe.flip and random.random() < 0.5:
            image, mask = image.flip(-1), mask.flip(-1)
        side = recipe.crop
        down, across = (max(side - have, 0) for have in image.shape[1:])
        padding = [across // 2, down // 2, across - across // 2, down - down // 2]
        image, mask = transforms.pad(image, padding, fill=self._fill), transforms.pad(mask, padding, fill=IGNORED)
        top, left = (random.randint(0, have - side) for have in image.shape[1:])
        image, mask = (part[:, top : top + side, left : left + side].contiguous() for part in (image, mask))
        return image, mask[0]


def evaluate_segmenter(network: Any, images: VocImages, chosen: list[int], world: World, workers: int = 4) -> MeanIoU:
    """Classify the pixels of images, those of every process together, in full precision.

    Args:
        network: A segmenter, whose `about.preprocessing` is `predict`'s crop and base_size; left in evaluation mode.
        images: The images.
        chosen: Numbers of those to look at.
        world: The processes.
        workers: Processes that read images.

    Raises:
        DataError: If no image can be read.
    """
    network.eval()
    number, normalise = len(images.classes), Normalise(_MEAN, _STD, world.device, False)
    counts = torch.zeros(number, number, dtype=torch.int64, device=world.device)
    seen = torch.zeros((), dtype=torch.int64, device=world.device)
    reader = Reader(images.read, np.array(chosen[world.rank :: world.size]))
    for batch in evaluation_loader(reader, list, workers, world.device):
        for image, mask in filter(None, batch):
            pixels = normalise(image.to(world.device)[None])[0]
            found = predict(network, pixels, **network.about.preprocessing).argmax(0)
            counts += confusion(mask.to(world.device), found, number)
            seen += 1
    counts, images_seen = world.sum(counts), int(world.sum(seen))
    if not images_seen:
        raise DataError(f"{images.path}: none of {len(chosen)} images to evaluate on can be read")
    right, predicted, truth = (tuple(f.tolist()) for f in (counts.diagonal(), counts.sum(0), counts.sum(1)))
    return MeanIoU(right, predicted, truth, images_seen, len(chosen) - images_seen)


def draw_predictions(network: Any, images: VocImages, chosen: list[int], folder: Path, device: torch.device) -> None:
    """Write pictures of the first images: left the truth, right the prediction."""
    network.eval()
    normalise = Normalise(_MEAN, _STD, device, False)

    def draw(number: int) -> tuple[str, Tensor, Tensor]:
        image, mask = images.read(number)
        pixels = normalise(image.to(device)[None])[0]
        found = predict(network, pixels, **network.about.preprocessing).argmax(0).cpu()
        left, right = (draw_classes(image, classes, len(images.classes)) for classes in (mask, found))
        return images.pairs[number][0].stem, left, right

    write_pictures(chosen, draw, folder)


@register_validation("voc")
class Segmentations(ComposedValidation):
    """Trained segmenters on the images of a folder in VOC's format that its list "val" names."""

    task = "segmentation"
    evaluate = staticmethod(evaluate_segmenter)
    draw = staticmethod(draw_predictions)

    def images(self, data_dir: str | None) -> tuple[VocImages, list[int]]:
        """As in ComposedValidation."""
        images = VocImages(data_dir, "val")
        return images, list(range(len(images.pairs)))
