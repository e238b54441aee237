"""The loop that trains a classifier: on one device, or on those of every process that torchrun starts."""

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
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import RecipeError, TrainingError
from ..models import create_model
from .batches import Parts, mix
from .evaluation import Accuracy, evaluate
from .images import Prepared, prepare
from .processes import World
from .recipe import TrainingRecipe
from .run import Run

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
) -> tuple[Accuracy, nn.Module]:
    """Train a network in full, going on where a training in the same folder was interrupted.

    The same recipe gives the same weights on the same machine, however often it is interrupted. Into the folder go
    the recipe, metrics.csv, the whole state (last.pt), the network that was evaluated best (best/), and at the end
    the trained one (last/) and result.json.

    Args:
        recipe: What to do.
        folder: Where to keep it; nothing is kept when None.
        world: This process and its device; alone, on a GPU where there is one, when None.
        tensorboard: Also log for TensorBoard.
        on_step, on_epoch: Called with the progress after each step, and with each epoch's line of metrics.
        should_stop: Whether to keep the state and raise KeyboardInterrupt; asked after each step.

    Returns:
        The accuracy after the last epoch, of the holdout where there is one and else of the test set, and the
        trained network in evaluation mode.

    Raises:
        DataError: If the data are missing or broken.
        TrainingError: If the loss is no longer finite, or the folder holds another training.
        ValueError: If the batch size and the processes do not fit.
        KeyboardInterrupt: If it was told to stop.
    """
    world = world or World(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _channel_warnings_off():
        data = prepare(recipe)
        trainer = _Trainer(recipe, data, Run(folder, recipe, world, tensorboard), world)
        accuracy = trainer.run(on_step, on_epoch, should_stop)
        return accuracy, trainer.result


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


def create(recipe: TrainingRecipe, data: Prepared) -> nn.Module:
    """The untrained network, with the preprocessing of the data in its configuration."""
    torch.manual_seed(recipe.seed)
    try:
        return create_model(
            recipe.model,
            num_classes=len(data.classes),
            in_chans=data.source.in_chans,
            pretrained_cfg_overlay=data.configuration,
            **recipe.model_args,
        )
    except TypeError as error:
        raise RecipeError(f"model_args: {recipe.model} cannot be built with {recipe.model_args}: {error}") from error


class _Trainer:
    def __init__(self, recipe: TrainingRecipe, data: Prepared, run: Run, world: World) -> None:
        self.recipe, self.data, self.kept, self.world = recipe, data, run, world
        device = world.device
        network = create(recipe, data)
        if recipe.grad_checkpointing:
            network.set_grad_checkpointing(True)  # type: ignore[operator]
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
        self.batches = self.data.batches(recipe, device)
        self.parts = Parts(len(self.batches), recipe, world.rank, world.size)
        self.optimizer = create_optimizer_v2(
            self.network,
            recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=False,
        )
        schedule, _ = create_scheduler_v2(
            self.optimizer,
            recipe.schedule,
            recipe.epochs,
            warmup_epochs=recipe.warmup_epochs,  # type: ignore[arg-type]
            step_on_epochs=False,
            updates_per_epoch=self.parts.steps,
        )
        assert schedule is not None
        self.schedule = schedule
        self.criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self.step, self.loss = 0, torch.zeros((), device=device)

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and kept."""
        return (self.ema.module if self.ema else self.network).eval()

    def run(self, on_step: Callable, on_epoch: Callable, should_stop: Callable[[], bool]) -> Accuracy:
        state = self.kept.load()
        if state:
            self._restore(state)
        accuracy = self.kept.accuracy
        while self.step < self.recipe.epochs * self.parts.steps:
            row = self._epoch(on_step, should_stop)
            epoch, every = row["epoch"], self.recipe.evaluate_every
            last = epoch == self.recipe.epochs
            if last or (every and epoch % every == 0):
                accuracy = self.evaluate()
                row |= {"loss": accuracy.loss, "top1": accuracy.top1, "top5": accuracy.top5}
            self.kept.add(row, accuracy, self.result)
            self._save()
            on_epoch(row)
        assert accuracy is not None
        self.kept.finish(accuracy, self.result)
        return accuracy

    def evaluate(self) -> Accuracy:
        """On the holdout, or on the test set where there is none."""
        self.world.share_buffers(self.result)
        batches = self.data.evaluation(self.recipe, self.world)
        return evaluate(self.result, batches, self.world)

    def _epoch(self, on_step: Callable, should_stop: Callable[[], bool]) -> dict[str, Any]:
        """Train to the end of the epoch that the step lies in; its line of metrics."""
        number, first = divmod(self.step, self.parts.steps)
        self.model.train()
        rate, start = self.optimizer.param_groups[0]["lr"], time.perf_counter()
        batches = iter(self.batches.epoch(self.parts, number, first))
        for done in range(first + 1, self.parts.steps + 1):
            self._step(batches)
            speed = (done - first) * self.recipe.batch_size / (time.perf_counter() - start)
            on_step(Progress(number, self.step, self.recipe.epochs * self.parts.steps, speed))
            look = done % _LOOK_EVERY == 0 or done == self.parts.steps
            if look:
                self._check_finite(f"epoch {number + 1}, step {done}")
            if done < self.parts.steps:
                stop = (look or self.world.size == 1) and self._agreed(should_stop())
                if stop or (self.recipe.checkpoint_steps and done % self.recipe.checkpoint_steps == 0):
                    self._save()
                if stop:
                    raise KeyboardInterrupt
        loss = float(self.world.sum(self.loss)) / self.parts.steps / self.parts.accumulation / self.world.size
        self.loss.zero_()
        return {
            "epoch": number + 1,
            "learning_rate": rate,
            "train_loss": loss,
            "images_per_second": speed,
            "seconds": time.perf_counter() - start,
        }

    def _step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        torch.manual_seed(mix(self.recipe.seed, self.step, self.world.rank))  # of dropout and the like
        for part in range(1, self.parts.accumulation + 1):
            images, labels = next(batches)
            alone = self.world.size > 1 and part < self.parts.accumulation
            with self.model.no_sync() if alone else nullcontext():
                with torch.autocast(self.world.device.type, self.amp, enabled=self.amp is not None):
                    loss = self.criterion(self.model(images), labels)
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
                f" or lengthen warmup_epochs ({self.recipe.warmup_epochs:g})"
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
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.loss = state["step"], state["loss"].to(self.world.device)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.schedule.step_update(self.step)
