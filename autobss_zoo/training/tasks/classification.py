"""Classification: its recipe, and its data ready to train on and to evaluate on, wherever they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from ... import registry
from ...cost import Setting
from ...errors import AutoBSSError, DataError, RecipeError, did_you_mean
from ...families import family_of
from ...limits import Flag, Number, Share, Side, Text
from ...models import create_model
from ..data.batches import Batches, MemoryBatches, memory_evaluation, resized
from ..data.folders import FolderImages, folder_batches, folder_evaluation, labels_of
from ..data.samples import check_readable
from ..data.sources import SOURCES, Images, Source, indices, load
from ..distillation import Teacher
from ..metrics.accuracy import Accuracy, evaluate
from ..pretrained import Weights, begin_with
from ..processes import World
from ..recipe import TrainingRecipe, register_task
from ..task import Task

_NO_ARGUMENTS = {"pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "features_only", "out_indices"}
"""What timm's create_model takes besides a network's own arguments."""


@register_task("classification")
class ClassificationRecipe(TrainingRecipe):
    """What trains a classifier.

    Attributes:
        data: digits, fashion_mnist, cifar10, imagenet or imagefolder.
        weights: A trained network of the same layers to begin with: a folder that save_pretrained, a training or timm
            has written; a file of a state dict (.safetensors, .pth); a published network of the zoo's or of timm's,
            with or without a tag; or a repository on the Hub ("owner/name[@revision]"). Its classifier is left out
            where the classes are others by number, and its first layer is adapted to other input channels. From
            scratch when None.
        train_images: Use only so many training images, chosen by class in proportion; all when None.
        in_chans: Channels that images are read with: 1 for grey ones, 3 for colour (data in folders); the data set's
            when None.
        input_size: Side of the images in pixels; the data set's when None. Where the model's code states it, that is
            used instead.
        label_smoothing: Of the cross-entropy.
        teacher: A trained network of the same classes, from whose answers is learned, too (knowledge distillation):
            what `weights` takes but for files of state dicts.
        distillation: The share of the teacher's answers in the loss, the Kullback-Leibler divergence; the labels'
            cross-entropy has the rest.
        temperature: By which both networks' logits are divided in that divergence.
        shift: Images move at random by up to this share of their side (data in memory).
        crop_scale: Smallest and largest share of an image that RandomResizedCrop keeps (data in folders).
        auto_augment: timm's name of a policy, e.g. "original" for AutoAugment's (data in folders).
        grad_checkpointing: Recompute activations to save memory.
    """

    task: Literal["classification"] = "classification"
    weights: Weights | None = None
    in_chans: Literal[1, 3] | None = None
    input_size: Side | None = None
    label_smoothing: Share = 0.0
    teacher: Weights | None = None
    distillation: Share = 0.5
    temperature: Number = Field(1.0, gt=0, le=1000)
    shift: Share = 0.0
    crop_scale: tuple[Number, Number] = (0.08, 1.0)
    auto_augment: Text | None = None
    grad_checkpointing: Flag = False

    @model_validator(mode="after")
    def _fits(self) -> ClassificationRecipe:
        if self.data not in SOURCES:
            raise ValueError(f"data: {self.data!r}: {did_you_mean(self.data, SOURCES)}")
        if (entry := registry.find(self.model)[1]) and entry.architecture:
            raise ValueError(
                f"model: {entry.name} is for {entry.task}; to classify with its backbone give {entry.code}"
            )
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale: expected two ascending shares in (0, 1], got {list(self.crop_scale)}")
        memory = SOURCES[self.data].in_memory
        for name in ("shift",) if not memory else ("crop_scale", "auto_augment", "in_chans"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is only for data in {'folders' if memory else 'memory'}, not {self.data}")
        if self.auto_augment is not None:
            try:
                create_transform(32, is_training=True, auto_augment=self.auto_augment)
            except (AssertionError, KeyError, ValueError):  # timm's
                raise ValueError(f"auto_augment: no policy of timm's: {self.auto_augment!r}") from None
        return self

    @model_validator(mode="after")
    def _has_a_teacher(self) -> ClassificationRecipe:
        for name in ("distillation", "temperature"):
            if self.teacher is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is for a training with a teacher, and none is given")
        return self

    @model_validator(mode="after")
    def _builds_the_network_alone(self) -> ClassificationRecipe:
        if odd := _NO_ARGUMENTS.intersection(self.model_args):
            raise ValueError(
                f"model_args: {min(odd)} is no argument of a training's network; `weights` begins with others"
            )
        return self

    def prepare(self) -> Classification:
        """As in TrainingRecipe."""
        return Classification(self)

    @property
    def counting(self) -> dict[str, Any]:
        """As in TrainingRecipe."""
        source = self.source
        classes = source.classes or load(self.data, self.data_dir).train.reader.class_to_idx
        return {"setting": Setting(self.side or self.input_size or source.input_size, source.in_chans, len(classes))}

    @property
    def source(self) -> Source:
        """The data set, with the channels that its images are read with."""
        source = SOURCES[self.data]
        return source.read_as(self.in_chans or source.in_chans)


class Classification(Task):
    """A recipe's data, loaded and divided.

    Attributes:
        source: The data set.
        classes: Its classes' names.
        side: Of the images in pixels.
        splits: Its images.
        train_indices: Which of the training images to train on.
        eval_indices: Which images to evaluate on: of the training images if there is a holdout, else of the test set.
    """

    metrics = Accuracy

    def __init__(self, recipe: ClassificationRecipe) -> None:
        super().__init__(recipe, "holdout" if recipe.holdout else "test")
        self.source, self.splits = recipe.source, load(recipe.data, recipe.data_dir)
        train, test = (s.labels if isinstance(s, Images) else labels_of(s) for s in self.splits)
        self.classes = self.source.classes or tuple(self.splits.train.reader.class_to_idx)
        chosen, evaluated = torch.arange(len(train)), torch.arange(len(test))
        if recipe.holdout:
            chosen, evaluated = indices(train, recipe.holdout)
        if recipe.train_images is not None:
            if recipe.train_images > len(chosen):
                raise DataError(f"train_images: expected at most {len(chosen)}, got {recipe.train_images}")
            if recipe.train_images < len(chosen):
                chosen = chosen[indices(train[chosen], recipe.train_images / len(chosen))[1]]
        self.side = recipe.side or recipe.input_size or self.source.input_size
        self.train_indices, self.eval_indices = chosen, evaluated
        self._check_readable()
        self._criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._teacher: Teacher | None = None

    def _check_readable(self) -> None:
        if not self.source.in_memory:
            for images, chosen in ((self.splits.train, self.train_indices), (self._evaluated, self.eval_indices)):
                read = FolderImages(images, self.source.in_chans).read
                check_readable(read, chosen.tolist(), images.reader.root)

    @property
    def _evaluated(self) -> Any:
        """The images that are evaluated on, among others."""
        return self.splits.test if self.on == "test" else self.splits.train

    @property
    def configuration(self) -> dict[str, Any]:
        """What timm's configuration of a network says of its images."""
        return self.source.configuration(self.classes, self.side)

    def create(self) -> nn.Module:
        """The untrained network, with the preprocessing of the data in its configuration."""
        recipe = self.recipe
        try:
            network: Any = create_model(
                recipe.model,
                num_classes=len(self.classes),
                in_chans=self.source.in_chans,
                pretrained_cfg_overlay=self.configuration,
                **recipe.model_args,
            )
        except Exception as error:  # whatever each network says of what it does not take
            if isinstance(error, AutoBSSError) or not recipe.model_args:
                raise
            text = f"{recipe.model} cannot be built with {recipe.model_args}: {error}"
            raise RecipeError(f"model_args: {text}") from error
        if recipe.grad_checkpointing:
            network.set_grad_checkpointing(True)
        return network

    def start(self, network: nn.Module) -> tuple[str, ...]:
        """As in Task."""
        recipe, entry = self.recipe, registry.find(self.recipe.model)[1]
        if recipe.weights is not None:
            return begin_with(network, recipe.weights, family_of(recipe.code), "weights")
        if entry is None or not entry.weights:
            return ()
        tagged = f"{recipe.model}.{next(iter(entry.weights))}"
        return (f"model: {recipe.model} begins untrained; with weights: {tagged} it begins with those published",)

    def batches(self, device: torch.device) -> Batches:
        """As in Task; of normalised images and labels."""
        recipe = self.recipe
        if recipe.teacher is not None:
            self._teacher = Teacher(recipe.teacher, self.configuration, self.classes, device)
        if isinstance(images := self.splits.train, Images):
            source = self.source
            return MemoryBatches(
                self._sized("train", self.train_indices),
                source.mean,
                source.std,
                device,
                shift=recipe.shift,
                flip=recipe.flip,
                seed=recipe.seed,
                channels_last=recipe.channels_last,
            )
        return folder_batches(
            images,
            self.train_indices,
            resolve_data_config({}, pretrained_cfg=self.configuration),
            device,
            crop_scale=recipe.crop_scale,
            flip=recipe.flip,
            auto_augment=recipe.auto_augment,
            channels_last=recipe.channels_last,
            workers=recipe.workers,
        )

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        """As in Task."""
        images, labels = batch
        loss = self._criterion(logits := model(images), labels)
        if self._teacher is None:
            return loss
        share, temperature = self.recipe.distillation, self.recipe.temperature
        return (1 - share) * loss + share * self._teacher.loss(images, logits, temperature)

    def evaluate(self, network: nn.Module, world: World) -> Accuracy:
        """As in Task."""
        return evaluate(network, self.evaluation(world), world)

    def evaluation(self, world: World) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of what to evaluate on."""
        images = self._evaluated
        chosen = self.eval_indices[world.rank :: world.size]
        if isinstance(images, Images):
            part = self._sized("test" if self.on == "test" else "train", chosen)
            return memory_evaluation(part, self.source.mean, self.source.std, world.device, self.recipe.channels_last)
        config = resolve_data_config({}, pretrained_cfg=self.configuration)
        return folder_evaluation(images, chosen, config, world.device, workers=self.recipe.workers)

    def _sized(self, part: str, chosen: Tensor) -> Images:
        """Some images in memory of a part, of this training's side."""
        images: Images = getattr(self.splits, part)
        if self.side < self.source.input_size:
            images = _shrunk(self.recipe.data, self.recipe.data_dir, part, self.side)
        return resized(Images(images.images[chosen], images.labels[chosen]), self.side)


@lru_cache(maxsize=2)  # both parts, for all the short trainings of a search
def _shrunk(data: str, folder: str | None, part: str, side: int) -> Images:
    return resized(getattr(load(data, folder), part), side)
