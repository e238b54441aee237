"""Scores by training: each code's network in full, without early stopping or shared weights (AutoBSS, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting

from ..spaces.declared import find_space
from ..spaces.space import Space
from .evaluator import Evaluator, register_evaluator

if TYPE_CHECKING:
    from autobss_zoo.training import TrainingRecipe


@register_evaluator("training")
@dataclass(frozen=True)
class Training(Evaluator):
    """The evaluator that trains a code's network and returns its score in percent.

    That is a classifier's top-1 accuracy, a detector's box AP (AutoBSS, appendix B.4), a segmenter's mIoU. It
    is that of the recipe's holdout, so that searching leaves the test set alone, or of the test set where the recipe
    has no holdout.

    Args:
        recipe: A training recipe's name, a file, or a mapping as such a file holds. Its model gives way to the code.
        models: A folder for the trainings, a folder each; an interrupted one goes on. Nothing is kept when None.
        threads: Threads of each training on a CPU: networks this small gain little from more, and the same number
            gives the same scores whatever trains beside them.
    """

    recipe: str | Mapping[str, Any]
    models: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        self.load()

    def load(self, changes: Mapping[str, Any] | None = None) -> TrainingRecipe:
        """The recipe, with changes.

        Raises:
            RecipeError: If there is no such recipe, or something in it is wrong.
        """
        from autobss_zoo.training import TrainingRecipe

        return TrainingRecipe.load(self.recipe, changes)[0]

    def describe(self) -> dict[str, Any]:
        """The settings that a score depends on."""
        settings = self.load().identity()
        return {key: value for key, value in settings.items() if key not in ("model", "seed")}

    @property
    def counting(self) -> dict[str, Any]:
        """What the networks are counted with, as `get_space` takes it: setting, and of detectors detector."""
        return self.load().counting

    @property
    def setting(self) -> Setting:
        """What the networks are counted with."""
        return self.counting["setting"]

    def make_space(self, space: Any, budget: Mapping[str, Any]) -> Space:
        """As in Evaluator, counted as the networks that are trained."""
        return find_space(space, budget, **self.counting)

    @classmethod
    def from_recipe(cls, settings: Mapping[str, Any], models: Path | None) -> Training:
        """As in Evaluator; the settings are a training's recipe, mostly its `base` and what differs."""
        return cls(settings, str(models.absolute()) if models else None)

    def to_recipe(self) -> dict[str, Any]:
        """As in Evaluator."""
        return self.load().model_dump(mode="json", exclude_unset=True)

    def score(self, code: Code, seed: int) -> float:
        """Train the code's network with a seed of its own and score it."""
        import torch

        from autobss_zoo.training import score, train

        folder = Path(self.models) / model_folder(code, seed) if self.models else None
        torch.set_num_threads(self.threads)
        return score(train(self.load({"model": str(code), "seed": seed}), folder)[0])

    def kept_model(self, code: Code, seed: int) -> Path | None:
        """As in Evaluator."""
        return Path(self.models) / model_folder(code, seed) / "last" if self.models else None


def model_folder(code: Code, seed: int) -> str:
    """The name of a training's folder, free of characters that shells expand."""
    return "-".join([code.family, *map(str, code.values), f"seed{seed}"])
