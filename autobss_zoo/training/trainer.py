"""The loop that trains a network: on one device, or on those of every process that torchrun starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.backends.cpu import get_cpu_capability

from .convolutions import restore_convolutions
from .data.batches import Parts
from .processes import World
from .recipe import TrainingRecipe
from .run import Run
from .steps import Steps
from .task import Task

_logger = logging.getLogger(__name__)

_LOOK_EVERY = 50  # steps between looks at the loss and at the other processes: each look makes a GPU wait


class Progress(NamedTuple):
    """How far a training is.

    Attributes:
        epoch, step: Epochs and steps that are done.
        steps: Of the whole training.
        images_per_second: Since the epoch began, or since the training was resumed in it.
    """

    epoch: int
    step: int
    steps: int
    images_per_second: float


def train(
    recipe: TrainingRecipe,
    folder: str | Path | None = None,
    *,
    world: World | None = None,
    tensorboard: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Any, nn.Module]:
    """Train a network in full, going on where a training in the same folder was interrupted.

    The same recipe gives the same weights on the same machine, however often it is interrupted. Into the folder go
    the recipe, metrics.csv, the whole state (last.pt), the network that was evaluated best (best/), and at the end
    the trained one (last/) and result.json. The folder is made after the first step: a training that is refused, or
    cannot do one, leaves nothing behind.

    Args:
        recipe: What to do.
        folder: Where to keep it; nothing is kept when None.
        world: This process and its device; alone, on a GPU where there is one, when None.
        tensorboard: Also log for TensorBoard.
        on_step: Called with the progress after each step.
        on_epoch: Called with each epoch's line of metrics.
        should_stop: Whether to keep the state and raise KeyboardInterrupt; asked after each step.

    Returns:
        The result after the last epoch (of a classifier its Accuracy), of the holdout where there is one and else of
        the test set, and the trained network in evaluation mode.

    Raises:
        DataError: If the data are missing or broken.
        RecipeError: If the network cannot be built with the recipe's arguments.
        WeightsError: If there are no such weights to begin with, or they are of another network.
        TrainingError: If the loss is no longer finite, or the folder holds another training or a broken state.
        ValueError: If the batch size and the processes do not fit.
        KeyboardInterrupt: If it was told to stop.
    """
    world = world or World(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _channel_warnings_off():
        task = recipe.prepare()
        trainer = _Trainer(recipe, task, Run(folder, task, world, tensorboard), world)
        metrics = trainer.run(on_step, on_epoch, should_stop)
        network = trainer.steps.evaluated
        restore_convolutions(network)
        return metrics, network


@contextmanager
def _channel_warnings_off() -> Iterator[None]:
    """Without timm's warning that images have one channel and not three."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Trainer:
    def __init__(self, recipe: TrainingRecipe, task: Task, run: Run, world: World) -> None:
        self.recipe, self.task, self.kept, self.world = recipe, task, run, world
        if recipe.amp and world.first and world.device.type == "cpu" and get_cpu_capability() == "AVX2":
            _logger.warning(
                f"amp: {recipe.amp} is emulated by this processor, which has no AVX-512, and makes a training several "
                "times as long; leave it out"
            )
        state = run.load()
        torch.manual_seed(recipe.seed)
        network = task.create()
        if state is None:
            for note in task.start(network):
                if world.first:
                    _logger.warning(note)
        self.batches = task.batches(world.device)
        self.parts = Parts(
            len(self.batches), recipe.batch_size, recipe.accumulation, recipe.seed, world.rank, world.size
        )
        self.steps = Steps(recipe, task, network, self.parts, world)
        if state is not None:
            run.restore(self.steps, state)

    def run(self, on_step: Callable, on_epoch: Callable, should_stop: Callable[[], bool]) -> Any:
        metrics, steps = self.kept.metrics, self.steps
        while steps.done < steps.total:
            row = self._epoch(on_step, should_stop)
            every = self.recipe.evaluate_every
            if steps.done == steps.total or (every and row["epoch"] % every == 0):
                self.world.share_buffers(steps.evaluated)
                metrics = self.task.evaluate(steps.evaluated, self.world)
                row |= metrics.row
            self.kept.add(row, metrics, steps.evaluated)
            self.kept.save(steps)
            on_epoch(row)
        self.kept.finish(steps.evaluated)
        return metrics

    def _epoch(self, on_step: Callable, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train to the end of the epoch that the step lies in; its line of metrics."""
        steps = self.steps
        number, first = divmod(steps.done, self.parts.steps)
        steps.train()
        rate, start = steps.rate, time.perf_counter()
        batches = iter(self.batches.epoch(self.parts, number, first))
        last = min(self.parts.steps, steps.total - number * self.parts.steps)
        for done in range(first + 1, last + 1):
            steps.step(batches)
            self.kept.begin()  # not before: what cannot do a step leaves nothing behind
            speed = (done - first) * self.recipe.batch_size / (time.perf_counter() - start)
            on_step(Progress(number, steps.done, steps.total, speed))
            look = done % _LOOK_EVERY == 0 or done == last
            if look:
                steps.check_finite(f"epoch {number + 1}, step {done}")
            if done < last:
                stop = (look or self.world.size == 1) and self._agreed(should_stop())
                if stop or (self.recipe.checkpoint_steps and done % self.recipe.checkpoint_steps == 0):
                    self.kept.save(steps)
                if stop:
                    raise KeyboardInterrupt
        loss = float(self.world.sum(steps.loss)) / last / self.parts.accumulation / self.world.size
        steps.loss.zero_()
        return {
            "epoch": number + 1,
            "learning_rate": rate,
            "train_loss": loss,
            "images_per_second": speed,
            "seconds": time.perf_counter() - start,
        }

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was told to stop."""
        if self.world.size == 1:
            return stop
        return bool(self.world.sum(torch.tensor(float(stop), device=self.world.device)))
