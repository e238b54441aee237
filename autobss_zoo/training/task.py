"""What the training loop asks of a task: its network, batches, loss and score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..hub import save_pretrained
from .data.batches import Batches
from .processes import World


class Metrics(Protocol):
    """How good a network is: a dataclass that JSON can hold."""

    metric: ClassVar[str]
    """The name of the score, as in `row`."""

    @property
    def row(self) -> dict[str, float]:
        """Its figures for a line of metrics."""

    @property
    def text(self) -> str:
        """It in a line, for people."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""


def score(metrics: Metrics) -> float:
    """The figure that networks are compared by, in percent: more is better."""
    return metrics.row[metrics.metric]


class Task(ABC):
    """A recipe with its data.

    Attributes:
        recipe: The recipe.
        metrics: The class of what it evaluates to.
        train_indices, eval_indices: Which images to train on and to evaluate on.
        on: Where the latter are from: "holdout", or "test" where there is none.
    """

    metrics: ClassVar[Any]
    train_indices: Any
    eval_indices: Any

    def __init__(self, recipe: Any, on: str) -> None:
        self.recipe, self.on = recipe, on

    @abstractmethod
    def create(self) -> nn.Module:
        """The untrained network."""

    def start(self, network: nn.Module) -> tuple[str, ...]:
        """Give the untrained network the weights that the recipe begins with, if any.

        It is asked once, when a training begins, and not when one goes on.

        Returns:
            What the user should know of it, a line each.

        Raises:
            WeightsError: If there are no such weights, or they are of another network.
        """
        return ()

    @abstractmethod
    def batches(self, device: torch.device) -> Batches:
        """To train on."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch, a scalar."""

    @abstractmethod
    def evaluate(self, network: nn.Module, world: World) -> Any:
        """How good the network is, by every process's images together. It is left in evaluation mode."""

    def parameters(self, network: nn.Module) -> Any:
        """The network, or groups of its parameters with an lr_scale each, for timm's optimizers."""
        return network

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write the network into a folder of a run; one that is no network of this zoo in a form of the task's own."""
        save_pretrained(network, folder)

    def state_dict(self) -> dict[str, Any]:
        """What the task itself has to go on from, tensors and plain values; kept in each checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` has given."""
        return

    def draw(self, network: nn.Module, folder: Path, world: World) -> None:
        """Write pictures of predictions beside the truth, where the task has such."""
        return
