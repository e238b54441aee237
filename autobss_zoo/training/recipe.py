"""The settings of a training, checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from timm.data import create_transform
from timm.optim import list_optimizers

from .. import recipes, registry
from ..codes import Code
from ..errors import AutoBSSError, RecipeError, did_you_mean
from .data import SOURCES

Share = Annotated[float, Field(ge=0, lt=1)]


class TrainingRecipe(BaseModel):
    """What trains a network (AutoBSS, Table 6). Paths and the device are the machine's and not part of it.

    Attributes:
        model: A name in the registry or a code.
        model_args: Further arguments of `create_model`, e.g. {drop_rate: 0.2}.
        data: digits, fashion_mnist, cifar10, imagenet or imagefolder.
        data_dir: Where the data are; each data set's own place when None.
        train_images: Use only so many training images, chosen by class in proportion; all when None.
        holdout: Share of the training images that is kept apart to score by, so that the test set stays unseen.
        input_size: Side of the images in pixels; the data set's when None.
        optimizer: A name of timm's, e.g. "sgd".
        momentum, weight_decay: Of the optimizer. All parameters decay.
        learning_rate: At its highest, for the batch size stated beside it.
        schedule: "cosine", to zero, step by step.
        warmup_epochs: The rate grows linearly at first.
        epochs, seed: Of the training.
        batch_size: Images a step, over all processes and accumulated gradients.
        accumulation: Parts that a process computes a step's gradients in, one after the other.
        label_smoothing: Of the cross-entropy.
        flip: Whether images are mirrored at random.
        shift: Images move at random by up to this share of their side (data in memory).
        crop_scale: Smallest and largest share of an image that RandomResizedCrop keeps (data in folders).
        auto_augment: timm's name of a policy, e.g. "original" for AutoAugment's (data in folders).
        ema_decay: Of an exponential moving average of the weights, which is then what is evaluated and kept.
        amp: Mixed precision in this type.
        channels_last: Keep images with their channels last, which is faster on most machines.
        compile: Use torch.compile.
        grad_checkpointing: Recompute activations to save memory.
        sync_bn: Synchronise batch norms between processes (GPUs only).
        workers: Processes that read images, for each training process (data in folders).
        evaluate_every: Epochs from one evaluation to the next; only after the last one when None.
        checkpoint_steps: Steps from one checkpoint to the next within an epoch; only after each epoch when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    model: str
    model_args: dict[str, Any] = {}
    data: str
    data_dir: str | None = None
    train_images: int | None = Field(None, gt=0)
    holdout: Share = 0.0
    input_size: int | None = Field(None, gt=0)
    optimizer: str = "sgd"
    momentum: Share = 0.9
    weight_decay: float = Field(ge=0)
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine"] = "cosine"
    warmup_epochs: float = Field(0, ge=0)
    epochs: int = Field(gt=0)
    seed: int = Field(0, ge=0)
    batch_size: int = Field(gt=0)
    accumulation: int = Field(1, gt=0)
    label_smoothing: Share = 0.0
    flip: bool = False
    shift: Share = 0.0
    crop_scale: tuple[float, float] = (0.08, 1.0)
    auto_augment: str | None = None
    ema_decay: Share | None = None
    amp: Literal["bfloat16", "float16"] | None = None
    channels_last: bool = False
    compile: bool = False
    grad_checkpointing: bool = False
    sync_bn: bool = False
    workers: int = Field(4, ge=0)
    evaluate_every: int | None = Field(1, gt=0)
    checkpoint_steps: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _fits(self) -> TrainingRecipe:
        if self.data not in SOURCES:
            raise ValueError(f"data: {self.data!r}: {did_you_mean(self.data, SOURCES)}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs: expected fewer than the {self.epochs} epochs, got {self.warmup_epochs:g}")
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation: {self.accumulation} does not divide the batch_size of {self.batch_size}")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale: expected two ascending shares in (0, 1], got {list(self.crop_scale)}")
        memory = SOURCES[self.data].in_memory
        for name in ("shift",) if not memory else ("crop_scale", "auto_augment"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: is only for data in {'folders' if memory else 'memory'}, not {self.data}")
        if self.optimizer not in (known := [str(name) for name in list_optimizers()]):
            raise ValueError(f"optimizer: {self.optimizer!r}: {did_you_mean(self.optimizer, known)}")
        if self.auto_augment is not None:
            try:
                create_transform(32, is_training=True, auto_augment=self.auto_augment)
            except (AssertionError, KeyError, ValueError):  # timm's
                raise ValueError(f"auto_augment: no policy of timm's: {self.auto_augment!r}") from None
        try:
            registry.find(self.model)
        except AutoBSSError as error:
            raise ValueError(f"model: {error}") from None
        return self

    @classmethod
    def load(
        cls, recipe: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None
    ) -> tuple[TrainingRecipe, tuple[str, ...]]:
        """Resolve and check a recipe.

        Args:
            recipe: A shipped recipe's name, a file that ends in .yaml, or a mapping as such a file holds.
            overrides: Keys that replace the recipe's.

        Returns:
            The recipe, and notes of what was changed without being asked for.

        Raises:
            RecipeError: If it does not exist, a key is unknown or a value impossible; it names the key and the file.
        """
        values, where, notes = recipes.resolve(recipe, overrides)
        if "space" in values:
            raise RecipeError(f"{where}: is a search's recipe, for `autobss search`")
        try:
            return cls(**values), notes
        except ValidationError as error:
            raise RecipeError(f"{where}: {_first(error, cls.model_fields)}") from None

    @property
    def code(self) -> Code:
        """The code of the network."""
        return registry.find(self.model)[0]

    def identity(self) -> dict[str, Any]:
        """The settings that the trained weights depend on, as JSON holds them."""
        return self.model_dump(mode="json", exclude={"data_dir", "workers", "checkpoint_steps"})


def _first(error: ValidationError, known: Mapping[str, Any]) -> str:
    """One line on the first of pydantic's complaints."""
    wrong: Any = error.errors()[0]
    key = ".".join(map(str, wrong["loc"][:1]))
    if wrong["type"] == "extra_forbidden":
        return f"unknown key {key!r}: {did_you_mean(key, known)}"
    if wrong["type"] == "missing":
        return f"{key}: is missing"
    text = wrong["msg"].removeprefix("Value error, ")
    return f"{key}: {text[0].lower()}{text[1:]}, got {wrong['input']!r}" if key else text
