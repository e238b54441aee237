"""A training's folder: its recipe, state, metrics and networks, each file whole at any moment."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from ..errors import TrainingError
from ..files import replacing, write_atomically
from ..yaml_text import write_yaml
from .processes import World
from .recipe import TrainingRecipe
from .steps import Steps
from .task import Task

COLUMNS = ("epoch", "learning_rate", "train_loss", "images_per_second", "seconds")


def machine() -> str:
    """What trains here, in a line."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"a CPU with {os.cpu_count()} cores"
    return f"{device}, Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}"


class Run:
    """What is kept of a training. Every process reads; the first one writes.

    Args:
        folder: The folder, made if it does not exist; nothing is kept when None.
        task: What is trained.
        world: The processes.
        tensorboard: Also log for TensorBoard.

    Attributes:
        history: A line of metrics for each epoch.
        metrics: The latest.

    Raises:
        TrainingError: If the folder holds another training.
    """

    def __init__(self, folder: str | Path | None, task: Task, world: World, tensorboard: bool) -> None:
        self.folder = Path(folder) if folder is not None else None
        self.history: list[dict[str, Any]] = []
        self.metrics: Any = None
        self._best = -1.0
        self._task, self._recipe, self._world = task, task.recipe, world
        self._tensorboard = tensorboard
        self._writer: Any = None
        self._begun = self.folder is None
        if self.folder is not None:
            self._state, self._kept = self.folder / "last.pt", self.folder / "recipe.yaml"
            if self._goes_on:
                self._compare(self._kept)

    @property
    def _goes_on(self) -> bool:
        """Whether the folder holds a training."""
        return self._state.is_file() and self._kept.is_file()

    def _compare(self, kept: Path) -> None:
        before, now = TrainingRecipe.load(kept)[0].identity(), self._recipe.identity()
        if changed := [key for key in now if before.get(key) != now[key]]:
            key = changed[0]
            raise TrainingError(
                f"{kept.parent}: holds a training with {key} {before.get(key)!r}, not {now[key]!r}; "
                "give the same recipe to go on with it, or another folder"
            )

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, if there is one; nothing is written yet."""
        if self.folder is None or not self._state.is_file():
            return None
        try:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
            self.history, self._best = state["history"], state["best"]
            self.metrics = self._task.metrics(**state["result"]) if state["result"] else None
        except Exception as error:  # torch's, pickle's or zipfile's, or of other contents
            raise self._broken(error) from error
        return state

    def restore(self, steps: Steps, state: dict[str, Any]) -> None:
        """Let steps go on from a state that `load` has given."""
        try:
            steps.load_state_dict(state)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> TrainingError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return TrainingError(f"{self._state}: cannot be read ({reason}); delete it to begin anew")

    def begin(self) -> None:
        """Make the folder, with the recipe, once a first step is done; once is enough."""
        if self._begun:
            return
        assert self.folder is not None
        if self._world.first and not self._goes_on:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "result.json").unlink(missing_ok=True)  # of a training whose state was deleted
            write_atomically(self._kept, write_yaml(self._recipe.model_dump(mode="json")).encode())
        if self._world.first and self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            # Lines that an interrupted training wrote after its last state are dropped.
            purge: Any = len(self.history) + 1
            self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=purge)
        self._begun = True
        self._world.wait()

    def add(self, row: dict[str, Any], metrics: Any, network: nn.Module) -> None:
        """Keep an epoch's metrics, and its network if it is the best evaluated one."""
        self.history.append(row)
        self.metrics, metric = metrics, self._task.metrics.metric
        better = metric in row and row[metric] > self._best
        if better:
            self._best = row[metric]
        if self.folder is None or not self._world.first:
            return
        if better:
            self._task.save(network, self.folder / "best")
        text = io.StringIO()
        columns = dict.fromkeys((*COLUMNS, *(key for line in self.history for key in line)))
        writer = csv.DictWriter(text, list(columns))
        writer.writeheader()
        writer.writerows(self.history)
        write_atomically(self.folder / "metrics.csv", text.getvalue().encode())
        if self._writer:
            for name, value in row.items():
                self._writer.add_scalar(name, value, row["epoch"])
            self._writer.flush()

    def save(self, steps: Steps) -> None:
        """Keep the state to go on from."""
        state = steps.state_dict()  # by all processes together
        if self.folder is not None and self._world.first:
            metrics = asdict(self.metrics) if self.metrics else None
            kept = {**state, "history": self.history, "best": self._best, "result": metrics}
            with replacing(self._state) as path:
                torch.save(kept, path)

    def finish(self, network: nn.Module) -> None:
        """Keep the trained network, its result, and pictures of what it predicts."""
        if self.folder is not None and self._world.first and not (self.folder / "result.json").is_file():
            self._task.save(network, self.folder / "last")
            self._task.draw(network, self.folder / "pictures", self._world)
            best = {f"best_{self._task.metrics.metric}": self._best}
            facts = {"epochs": len(self.history), "machine": machine()}
            result = {"evaluated_on": self._task.on, **self.metrics.as_dict(), **best, **facts}
            write_atomically(self.folder / "result.json", json.dumps(result, indent=2).encode())
        if self._writer:
            self._writer.close()
        self._world.wait()
