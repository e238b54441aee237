"""What a step of a training does: gradients, optimizer, schedule and average, with a state to go on from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import convert_sync_batchnorm
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import TrainingError
from .convolutions import replace_convolutions
from .data.batches import Parts, mix
from .processes import World
from .recipe import TrainingRecipe
from .task import Task


class Steps:
    """The steps of a training.

    Args:
        recipe, task: What is trained.
        network: The task's.
        parts: How steps divide into what this process computes.
        world: The processes and devices.

    Attributes:
        network: Without the average, and without what makes it parallel or compiles it.
        done, total: Steps.
        loss: Summed over this process's parts since somebody set it to zero.

    Raises:
        ValueError: If batch norms cannot be synchronised here.
    """

    def __init__(self, recipe: TrainingRecipe, task: Task, network: nn.Module, parts: Parts, world: World) -> None:
        self._recipe, self._task, self._parts, self._world = recipe, task, parts, world
        self.network = _placed(network, recipe, world)
        self._ema = ModelEmaV3(self.network, recipe.ema_decay) if recipe.ema_decay is not None else None
        self._model = _parallel(self.network, recipe, world)
        self._amp = getattr(torch, recipe.amp) if recipe.amp else None
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=recipe.amp == "float16")
        self._optimizer = _optimizer(recipe, task.parameters(self.network))
        self.total = recipe.iterations or (recipe.epochs or 0) * parts.steps
        self._schedule = _schedule(recipe, self._optimizer, self.total, parts.steps)
        self.done, self.loss = 0, torch.zeros((), device=world.device)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return (self._ema.module if self._ema else self.network).eval()

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._optimizer.param_groups[0]["lr"]

    def train(self) -> None:
        """Make ready to learn, after an evaluation."""
        self._model.train()

    def step(self, batches: Iterator[Any]) -> None:
        """Learn from as many batches as a step has parts."""
        self._seed(mix(self._recipe.seed, self.done, self._world.rank))  # of dropout and the like
        for part in range(1, self._parts.accumulation + 1):
            batch = next(batches)
            alone = self._world.size > 1 and part < self._parts.accumulation
            with self._model.no_sync() if alone else nullcontext():
                with torch.autocast(self._world.device.type, self._amp, enabled=self._amp is not None):
                    loss = self._task.loss(self._model, batch)
                self._scaler.scale(loss / self._parts.accumulation).backward()
            self.loss += loss.detach()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()
        self.done += 1
        self._schedule.step_update(self.done)
        if self._ema:
            self._ema.update(self.network, self.done)

    def _seed(self, number: int) -> None:
        if self._world.device.type == "cpu":  # torch.manual_seed takes 0.25 ms, for GPUs that are not there
            torch.default_generator.manual_seed(number)
        else:
            torch.manual_seed(number)

    def check_finite(self, where: str) -> None:
        """Raise TrainingError unless every process's losses and the weights are finite."""
        losses = float(self._world.sum(self.loss.clone()))
        weights = torch.stack([p.detach().abs().max() for p in self.network.parameters()])
        if not (math.isfinite(losses) and bool(weights.isfinite().all())):
            recipe = self._recipe
            raise TrainingError(
                f"{where}: the loss is no longer finite; lower learning_rate ({recipe.learning_rate:g})"
                f" or lengthen the warmup ({recipe.warmup_iterations or recipe.warmup_epochs:g})"
            )

    def state_dict(self) -> dict[str, Any]:
        """What to go on from."""
        return {
            "step": self.done,
            "loss": self._world.sum(self.loss.clone()) / self._world.size,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
            "task": self._task.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` has given."""
        self.done, self.loss = state["step"], state["loss"].to(self._world.device)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self._task.load_state_dict(state.get("task", {}))
        if self._ema:
            self._ema.module.load_state_dict(state["ema"])
        self._schedule.step_update(self.done)


def _placed(network: nn.Module, recipe: TrainingRecipe, world: World) -> nn.Module:
    """The network on the device, in its memory format."""
    if recipe.sync_bn and world.size > 1:
        if world.device.type != "cuda":
            raise ValueError("sync_bn: synchronised batch norms need GPUs; leave it out on a CPU")
        network = convert_sync_batchnorm(network)
    if world.device.type == "cpu":
        replace_convolutions(network)
    layout: Any = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return network.to(world.device).to(memory_format=layout)


def _parallel(network: nn.Module, recipe: TrainingRecipe, world: World) -> Any:
    """The network as it is called in training: compiled, and one of several processes' where there are some."""
    model: Any = torch.compile(network) if recipe.compile else network
    if world.size == 1:
        return model
    return DistributedDataParallel(model, [world.device] if world.device.type == "cuda" else None)


def _optimizer(recipe: TrainingRecipe, parameters: Any) -> torch.optim.Optimizer:
    return create_optimizer_v2(
        parameters,
        recipe.optimizer,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        filter_bias_and_bn=False,
    )


def _schedule(recipe: TrainingRecipe, optimizer: torch.optim.Optimizer, total: int, per_epoch: int) -> Any:
    """timm's schedule, which changes the rate step by step."""
    unit = per_epoch if recipe.epochs else 1
    return create_scheduler_v2(
        optimizer,
        recipe.schedule,
        total,
        min_lr=recipe.min_learning_rate,
        decay_milestones=[mark * unit for mark in recipe.milestones],
        decay_epochs=(recipe.decay_epochs or 0) * per_epoch,
        decay_rate=0.9 if recipe.schedule == "poly" else recipe.decay_rate,  # the power
        warmup_epochs=recipe.warmup_iterations or recipe.warmup_epochs * per_epoch,  # type: ignore[arg-type]
        step_on_epochs=False,
        updates_per_epoch=1,
    )[0]
