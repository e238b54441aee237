"""Scores from a supernet: a code's network has the supernet's weights, and is not trained (BCNetV2, section 4.3)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting

from ..spaces.declared import find_space
from ..spaces.space import Space
from .evaluator import Evaluator, register_evaluator

if TYPE_CHECKING:
    from ..supernets.scoring import Scoring
    from ..supernets.training import SupernetRecipe

BY = ("loss", "accuracy")


@register_evaluator("supernet")
class SupernetScore(Evaluator):
    """The evaluator that trains a supernet once, and scores codes with its weights.

    A score is the mean over the sides that the supernet's principle has (Equation 12), of the images that its recipe
    evaluates on.

    Args:
        recipe: A supernet's training recipe: a name, a file, or a mapping as such a file holds.
        models: The folder for the supernet; a training that was interrupted goes on.
        by: "loss", whose negative is the score, or "accuracy", in percent.
        images: How many images to score on, at most; all when None.
        calibration: Of how many training images batch norms have their statistics, a batch at a time; of those that are
            scored on, about 2,048 at a time, when None.
        threads: Threads on a CPU.

    Raises:
        RecipeError: If there is no such recipe, or something in it is wrong.
        ValueError: If it is none of a supernet, or there is no such `by`.
    """

    needs_space = False

    def __init__(
        self,
        recipe: str | Mapping[str, Any],
        models: str | None = None,
        by: str = "loss",
        images: int | None = None,
        calibration: int | None = None,
        threads: int = 1,
    ) -> None:
        if by not in BY:
            raise ValueError(f"by: expected {' or '.join(BY)}, got {by!r}")
        for name, value in (("images", images), ("calibration", calibration)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        self.recipe, self.models, self.by, self.threads = recipe, models, by, threads
        self.images, self.calibration = images, calibration
        self._scoring: Scoring | None = None
        self.load()

    def load(self) -> SupernetRecipe:
        """The recipe; raises as the class."""
        from autobss_zoo.training import TrainingRecipe

        from ..supernets.training import SupernetRecipe

        recipe = TrainingRecipe.load(self.recipe)[0]
        if not isinstance(recipe, SupernetRecipe):
            raise ValueError(f"score: expected a supernet's recipe, of the task supernet, got one of {recipe.task}")
        return recipe

    @property
    def folder(self) -> Path:
        """Where the supernet is kept.

        Raises:
            ValueError: If it has no folder.
        """
        if self.models is None:
            raise ValueError("models: expected a folder, which a supernet is kept in")
        return Path(self.models) / "supernet"

    @override
    def prepare(self) -> None:
        """Train the supernet, unless that was done."""
        if not (self.folder / "result.json").is_file():
            import torch
            from rich.console import Console
            from rich.progress import Progress

            from autobss_zoo.training import train

            torch.set_num_threads(self.threads)
            with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
                bar = progress.add_task("supernet")
                train(
                    self.load(),
                    self.folder,
                    on_step=lambda done: progress.update(bar, completed=done.step, total=done.steps),
                )

    @override
    def prior(self, space: Space, n: int, seed: int) -> list[Code]:
        """Codes drawn such that they are like those that the supernet learned best (BCNetV2, section 4.4)."""
        from ..supernets.prior import prior_population

        self.prepare()
        kept = json.loads((self.folder / "last" / "supernet.json").read_text(encoding="utf-8"))
        lowest = [(space.parse(code), loss) for code, loss in kept["lowest"]]
        return prior_population(space, lowest, n, np.random.default_rng(seed))

    @override
    def open(self) -> None:
        """Load the supernet and the images."""
        import torch

        from ..supernets.scoring import Scoring

        torch.set_num_threads(self.threads)
        self._scoring = Scoring(self.load(), self.folder / "last", self.images, self.calibration)

    @override
    def score(self, code: Code, seed: int) -> float:
        """As in Evaluator; the seed plays no part."""
        if self._scoring is None:
            self.open()
        assert self._scoring
        found = self._scoring.score(code)
        return -found.loss if self.by == "loss" else found.accuracy

    def __call__(self, codes: list[Code]) -> list[float]:
        """The scores of many codes, with the supernet trained first: what AutoBSS takes as a hint."""
        self.prepare()
        return [self.score(code, 0) for code in codes]

    @override
    def describe(self) -> dict[str, Any]:
        """The settings that a score depends on."""
        return {"supernet": self.load().identity(), **self._own}

    @classmethod
    @override
    def from_recipe(cls, settings: Mapping[str, Any], models: Path | None) -> SupernetScore:
        """As in Evaluator; the arguments, and a supernet's recipe, mostly its `base` and what differs."""
        own = {key: settings[key] for key in ("by", "images", "calibration") if key in settings}
        recipe = {key: value for key, value in settings.items() if key not in own}
        return cls(recipe, str(models.absolute()) if models else None, **own)

    @override
    def to_recipe(self) -> dict[str, Any]:
        return {**self.load().model_dump(mode="json", exclude_unset=True), **self._own}

    @property
    def _own(self) -> dict[str, Any]:
        return {"by": self.by, "images": self.images, "calibration": self.calibration}

    @override
    def make_space(self, space: Any, budget: Mapping[str, Any]) -> Space:
        """As in Evaluator; the supernet's own space when `space` is None."""
        recipe = self.load()
        return find_space(recipe.space if space is None else space, budget, **recipe.counting)

    @property
    @override
    def setting(self) -> Setting:
        return self.load().counting["setting"]
