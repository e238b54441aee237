"""The loop that trains a network: on one device, or on those of every process that torchrun starts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.layers import convert_sync_batchnorm
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import TrainingError
from .data.batches import Parts, mix
from .processes import World
from .recipe import TrainingRecipe
from .run import Run
from .task import Task

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
    the trained one (last/) and result.json.

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
        TrainingError: If the loss is no longer finite, or the folder holds another training.
        ValueError: If the batch size and the processes do not fit.
        KeyboardInterrupt: If it was told to stop.
    """
    world = world or World(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _channel_warnings_off():
        task = recipe.prepare()
        trainer = _Trainer(recipe, task, Run(folder, task, world, tensorboard), world)
        metrics = trainer.run(on_step, on_epoch, should_stop)
        return metrics, trainer.evaluated


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
        device = world.device
        torch.manual_seed(recipe.seed)
        network = task.create()
        if recipe.sync_bn and world.size > 1:
            if device.type != "cuda":
                raise ValueError("sync_bn: synchronised batch norms need GPUs; leave it out on a CPU")
            network = convert_sync_batchnorm(network)
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device).to(memory_format=layout)
        self.ema = ModelEmaV3(self.network, recipe.ema_decay) if recipe.ema_decay is not None else None
        model: Any = torch.compile(self.network) if recipe.compile else self.network
        if world.size > 1:
            model = DistributedDataParallel(model, [device] if device.type == "cuda" else None)
        self.model = model
        self.amp = getattr(torch, recipe.amp) if recipe.amp else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "float16")
        self.batches = task.batches(device)
        self.parts = Parts(
            len(self.batches), recipe.batch_size, recipe.accumulation, recipe.seed, world.rank, world.size
        )
        self.optimizer = create_optimizer_v2(
            task.parameters(self.network),
            recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=False,
        )
        self.steps = recipe.iterations or (recipe.epochs or 0) * self.parts.steps
        schedule, _ = create_scheduler_v2(
            self.optimizer,
            recipe.schedule,
            self.steps,
            decay_milestones=list(recipe.milestones),
            decay_rate=0.9 if recipe.schedule == "poly" else 0.1,  # the power, and the factor of "multistep"
            warmup_epochs=recipe.warmup_iterations or recipe.warmup_epochs * self.parts.steps,  # type: ignore[arg-type]
            step_on_epochs=False,
            updates_per_epoch=1,
        )
        assert schedule is not None
        self.schedule = schedule
        self.step, self.loss = 0, torch.zeros((), device=device)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return (self.ema.module if self.ema else self.network).eval()

    def run(self, on_step: Callable, on_epoch: Callable, should_stop: Callable[[], bool]) -> Any:
        state = self.kept.load()
        if state:
            self._restore(state)
        metrics = self.kept.metrics
        while self.step < self.steps:
            row = self._epoch(on_step, should_stop)
            every = self.recipe.evaluate_every
            if self.step == self.steps or (every and row["epoch"] % every == 0):
                self.world.share_buffers(self.evaluated)
                metrics = self.task.evaluate(self.evaluated, self.world)
                row |= metrics.row
            self.kept.add(row, metrics, self.evaluated)
            self._save()
            on_epoch(row)
        self.kept.finish(self.evaluated)
        return metrics

    def _epoch(self, on_step: Callable, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train to the end of the epoch that the step lies in; its line of metrics."""
        number, first = divmod(self.step, self.parts.steps)
        self.model.train()
        rate, start = self.optimizer.param_groups[0]["lr"], time.perf_counter()
        batches = iter(self.batches.epoch(self.parts, number, first))
        last = min(self.parts.steps, self.steps - number * self.parts.steps)
        for done in range(first + 1, last + 1):
            self._step(batches)
            speed = (done - first) * self.recipe.batch_size / (time.perf_counter() - start)
            on_step(Progress(number, self.step, self.steps, speed))
            look = done % _LOOK_EVERY == 0 or done == last
            if look:
                self._check_finite(f"epoch {number + 1}, step {done}")
            if done < last:
                stop = (look or self.world.size == 1) and self._agreed(should_stop())
                if stop or (self.recipe.checkpoint_steps and done % self.recipe.checkpoint_steps == 0):
                    self._save()
                if stop:
                    raise KeyboardInterrupt
        loss = float(self.world.sum(self.loss)) / last / self.parts.accumulation / self.world.size
        self.loss.zero_()
        return {
            "epoch": number + 1,
            "learning_rate": rate,
            "train_loss": loss,
            "images_per_second": speed,
            "seconds": time.perf_counter() - start,
        }

    def _step(self, batches: Iterator[Any]) -> None:
        torch.manual_seed(mix(self.recipe.seed, self.step, self.world.rank))  # of dropout and the like
        for part in range(1, self.parts.accumulation + 1):
            batch = next(batches)
            alone = self.world.size > 1 and part < self.parts.accumulation
            with self.model.no_sync() if alone else nullcontext():
                with torch.autocast(self.world.device.type, self.amp, enabled=self.amp is not None):
                    loss = self.task.loss(self.model, batch)
                self.scaler.scale(loss / self.parts.accumulation).backward()
            self.loss += loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        self.schedule.step_update(self.step)
        if self.ema:
            self.ema.update(self.network, self.step)

    def _check_finite(self, where: str) -> None:
        """Raise TrainingError unless every process's losses and the weights are finite."""
        losses = float(self.world.sum(self.loss.clone()))
        weights = torch.stack([p.detach().abs().max() for p in self.network.parameters()])
        if not (math.isfinite(losses) and bool(weights.isfinite().all())):
            raise TrainingError(
                f"{where}: the loss is no longer finite; lower learning_rate ({self.recipe.learning_rate:g})"
                f" or lengthen the warmup ({self.recipe.warmup_iterations or self.recipe.warmup_epochs:g})"
            )

    def _agreed(self, stop: bool) -> bool:
        """Whether any process was told to stop."""
        if self.world.size == 1:
            return stop
        return bool(self.world.sum(torch.tensor(float(stop), device=self.world.device)))

    def _save(self) -> None:
        self.kept.save(
            {
                "step": self.step,
                "loss": self.world.sum(self.loss.clone()) / self.world.size,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "ema": self.ema.module.state_dict() if self.ema else None,
                "task": self.task.state_dict(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.loss = state["step"], state["loss"].to(self.world.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.task.load_state_dict(state.get("task", {}))
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.schedule.step_update(self.step)
