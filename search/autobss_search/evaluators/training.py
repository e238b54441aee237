"""Scores by training: each code's network in full, without early stopping or shared weights (AutoBSS, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobss_zoo.codes import Code

if TYPE_CHECKING:
    from autobss_zoo.training import TrainingRecipe


@dataclass(frozen=True)
class Training:
    """The evaluator that trains a code's network and returns its score in percent: a classifier's top-1 accuracy, a
    detector's box AP (AutoBSS, appendix B.4), a segmenter's mIoU.

    The score is that of the recipe's holdout, so that searching leaves the test set alone, or of the test set where
    the recipe has no holdout.

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
        """What the networks are counted with, as `get_space` takes it: input_size, in_chans, num_classes..."""
        return self.load().counting

    def __call__(self, code: Code, seed: int) -> float:
        """Train the code's network with a seed of its own and score it."""
        import torch

        from autobss_zoo.training import score, train

        folder = Path(self.models) / model_folder(code, seed) if self.models else None
        torch.set_num_threads(self.threads)
        return score(train(self.load({"model": str(code), "seed": seed}), folder)[0])


def model_folder(code: Code, seed: int) -> str:
    """The name of a training's folder, free of characters that shells expand."""
    return "-".join([code.family, *map(str, code.values), f"seed{seed}"])
