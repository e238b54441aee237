"""The settings of a training, checked."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from timm.optim import list_optimizers

from .. import recipes, registry
from ..codes import Code
from ..errors import AutoBSSError, RecipeError, UnknownNameError, did_you_mean, shown
from ..families import family_of
from ..limits import Flag, Number, Seed, Share, Text, Whole, complaint
from ..plugins import Kinds

if TYPE_CHECKING:
    from .task import Task


_BUILT_IN = ("classification", "detection", "segmentation")  # each in the module of its name

_SEARCHES = {"space", "score", "training", "table", "surrogate"}  # keys of searches' recipes

TASKS: Kinds[TrainingRecipe] = Kinds(
    "task",
    {
        **{name: f"{__package__}.tasks.{name}" for name in _BUILT_IN},
        "supernet": "autobss_search.supernets.training",  # the engine's: which networks there are is a space's
    },
)
"""The kinds of recipes, by the name that they give as `task`."""

register_task = TASKS.register
"""Decorates the recipe of a task of a user's own; takes the task's name."""


class TrainingRecipe(BaseModel, ABC):
    """What trains a network (AutoBSS, Table 6), whatever its task.

    Paths and the device are the machine's and not part of it.

    Attributes:
        task: classification, detection, segmentation, or one that a user has registered (`register_task`).
        model: A name in the registry or a code.
        model_args: Further arguments of the network, e.g. {drop_rate: 0.2}.
        data: A data set's name or a kind of folder.
        data_dir: Where the data are; each data set's own place when None.
        train_images: Use only so many training images; all when None.
        holdout: Share of the training images that is kept apart to score by, so that the test set stays unseen.
        optimizer: A name of timm's, e.g. "sgd".
        momentum, weight_decay: Of the optimizer. All parameters decay.
        learning_rate: At its highest, for the batch size stated beside it.
        schedule: "cosine", to `min_learning_rate`; "multistep", multiplied by `decay_rate` at each of `milestones`;
            "step", so every `decay_epochs`; or "poly", to zero with (1 - step / steps) to the power of 0.9. Each
            changes step by step.
        min_learning_rate: At the end of "cosine".
        milestones: Of "multistep", in the unit of the training's length, epochs or iterations.
        decay_epochs: Of "step".
        decay_rate: Of "multistep" and "step".
        warmup_epochs, warmup_iterations: The rate grows linearly at first; one of the two.
        epochs, iterations: The training's length: one of the two.
        seed: Of the training.
        batch_size: Images a step, over all processes and accumulated gradients.
        accumulation: Parts that a process computes a step's gradients in, one after the other.
        flip: Whether images are mirrored at random.
        ema_decay: Of an exponential moving average of the weights, which is then what is evaluated and kept.
        amp: Mixed precision in this type, for GPUs and processors that compute in it; others emulate it slowly.
        channels_last: Keep images with their channels last, which is faster on most machines.
        compile: Use torch.compile.
        sync_bn: Synchronise batch norms between processes (GPUs only).
        workers: Processes that read images, for each training process (data in folders).
        evaluate_every: Epochs from one evaluation to the next; only after the last one when None.
        checkpoint_steps: Steps from one checkpoint to the next within an epoch; only after each epoch when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    task: Text
    model: Text
    model_args: dict[str, Any] = {}
    data: Text
    data_dir: Annotated[Text, AfterValidator(os.path.abspath)] | None = None
    train_images: Whole | None = Field(None, gt=0, le=1_000_000_000)
    holdout: Share = 0.0
    optimizer: Text = "sgd"
    momentum: Share = 0.9
    weight_decay: Number = Field(ge=0, le=100)
    learning_rate: Number = Field(gt=0, le=1e20)
    schedule: Literal["cosine", "multistep", "step", "poly"] = "cosine"
    min_learning_rate: Number = Field(0, ge=0)
    milestones: tuple[Whole, ...] = Field((), max_length=100)
    decay_epochs: Number | None = Field(None, gt=0)
    decay_rate: Number = Field(0.1, gt=0, lt=1)
    warmup_epochs: Number = Field(0, ge=0)
    warmup_iterations: Whole = Field(0, ge=0)
    epochs: Whole | None = Field(None, gt=0, le=100_000)
    iterations: Whole | None = Field(None, gt=0, le=1_000_000_000)
    seed: Seed = 0
    batch_size: Whole = Field(gt=0, le=1_000_000)
    accumulation: Whole = Field(1, gt=0)
    flip: Flag = False
    ema_decay: Share | None = None
    amp: Literal["bfloat16", "float16"] | None = None
    channels_last: Flag = False
    compile: Flag = False
    sync_bn: Flag = False
    workers: Whole = Field(4, ge=0, le=1024)
    evaluate_every: Whole | None = Field(1, gt=0, le=100_000)
    checkpoint_steps: Whole | None = Field(None, gt=0, le=1_000_000_000)

    #: Keys that the trained weights do not depend on.
    machine_keys: ClassVar[set[str]] = {"data_dir", "workers", "checkpoint_steps"}

    @model_validator(mode="after")
    def _has_a_length(self) -> TrainingRecipe:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError(f"epochs: expected either epochs or iterations, got {self.epochs} and {self.iterations}")
        if (self.warmup_iterations and not self.iterations) or (self.warmup_epochs and not self.epochs):
            raise ValueError("warmup_epochs: is for a training of epochs, warmup_iterations for one of iterations")
        length, warmup = self._length_and_warmup
        if warmup >= length:
            name, unit = ("warmup_epochs", "epochs") if self.epochs else ("warmup_iterations", "iterations")
            raise ValueError(f"{name}: expected fewer than the {length} {unit}, got {warmup:g}")
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation: {self.accumulation} does not divide the batch_size of {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _has_a_schedule(self) -> TrainingRecipe:
        schedules = {
            "min_learning_rate": ("cosine",),
            "milestones": ("multistep",),
            "decay_epochs": ("step",),
            "decay_rate": ("multistep", "step"),
        }
        for name, takes in schedules.items():
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default and self.schedule not in takes:
                raise ValueError(f"{name}: is for the schedule {' or '.join(takes)}, got {shown(value)}")
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("milestones: the schedule multistep needs some")
        if self.schedule == "step" and not (self.decay_epochs and self.epochs):
            raise ValueError("decay_epochs: the schedule step needs them, and a training of epochs")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate: expected at most the learning_rate, got {self.min_learning_rate:g}")
        return self

    @model_validator(mode="after")
    def _has_milestones_in_it(self) -> TrainingRecipe:
        if (marks := list(self.milestones)) and marks != sorted(marks):
            raise ValueError(f"milestones: expected them ascending, got {shown(marks)}")
        length, warmup = self._length_and_warmup
        if marks and not warmup <= marks[0] <= marks[-1] < length:
            unit = "epochs" if self.epochs else "iterations"
            raise ValueError(
                f"milestones: expected {unit} after the warmup's {warmup:g}, below {length}, got {shown(marks)}"
            )
        return self

    @model_validator(mode="after")
    def _names_what_exists(self) -> TrainingRecipe:
        if self.optimizer not in (known := [str(name) for name in list_optimizers()]):
            near = did_you_mean(self.optimizer, known, "`timm.optim.list_optimizers()` lists them")
            raise ValueError(f"optimizer: {shown(self.optimizer)}: {near}")
        return self

    @model_validator(mode="after")
    def _names_a_network(self) -> TrainingRecipe:
        name, tagged, _ = self.model.partition(".")
        try:
            registry.find(name if tagged and "{" not in self.model else self.model)
        except AutoBSSError as error:
            raise ValueError(f"model: {error}") from None
        if tagged and "{" not in self.model:
            key = next((key for key in ("weights", "backbone_weights") if key in type(self).model_fields), "weights")
            raise ValueError(
                f"model: is untrained, and {self.model} names weights: give model: {name} and {key}: {self.model}"
            )
        return self

    @property
    def _length_and_warmup(self) -> tuple[int, float]:
        """Both in epochs, or both in iterations."""
        return self.epochs or self.iterations or 0, self.warmup_epochs or self.warmup_iterations

    @classmethod
    def load(
        cls, recipe: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None
    ) -> tuple[TrainingRecipe, tuple[str, ...]]:
        """Resolve and check a recipe.

        Args:
            recipe: A shipped recipe's name, a file that ends in .yaml, or a mapping as such a file holds.
            overrides: Keys that replace the recipe's.

        Returns:
            The recipe, of its task's class, and notes of what was changed without being asked for.

        Raises:
            RecipeError: If it does not exist, a key is unknown or a value impossible; it names the key and the file.
        """
        values, where, notes = recipes.resolve(recipe, overrides)
        try:
            kind = TASKS.find(values.get("task", "classification"))
        except UnknownNameError as error:
            raise RecipeError(f"{where}: {error}") from None
        if values.keys() & (_SEARCHES - kind.model_fields.keys()):
            raise RecipeError(f"{where}: is a search's recipe, for `autobss search`")
        try:
            return kind(**values), notes
        except ValidationError as error:
            raise RecipeError(f"{where}: {complaint(error, kind.model_fields)}") from None

    @property
    def code(self) -> Code:
        """The code of the network."""
        return registry.find(self.model)[0]

    def identity(self) -> dict[str, Any]:
        """The settings that the trained weights depend on, as JSON holds them."""
        return self.model_dump(mode="json", exclude=self.machine_keys)

    @abstractmethod
    def prepare(self) -> Task:
        """Load the data and make ready to train.

        Raises:
            DataError: If the data are missing, broken, or too few.
        """

    @property
    def side(self) -> int | None:
        """The side of the images in pixels that the network's code states; None where it states none."""
        return family_of(self.code).stated_side(self.code)

    @property
    @abstractmethod
    def counting(self) -> dict[str, Any]:
        """What networks are counted with, as `autobss_search.get_space` takes it: setting, and detector."""
