"""How well a network classifies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import DataError
from ..processes import World


@dataclass(frozen=True)
class Accuracy:
    """Counts of a classification.

    Attributes:
        right, right5: Images whose class was the first answer, or among the first five.
        images: How many were classified.
        left_out: Broken images, which are not among them.
        loss: Mean cross-entropy.
    """

    right: int
    right5: int
    images: int
    left_out: int
    loss: float

    metric: ClassVar[str] = "top1"

    @property
    def top1(self) -> float:
        """Percent of the images whose class was the first answer."""
        return 100 * self.right / self.images

    @property
    def top5(self) -> float:
        """Percent of the images whose class was among the first five answers."""
        return 100 * self.right5 / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of top1 for other images of the same kind, in percent (Wilson's)."""
        from scipy.stats import binomtest

        bounds = binomtest(self.right, self.images).proportion_ci(method="wilson")
        return 100 * bounds.low, 100 * bounds.high

    @property
    def row(self) -> dict[str, float]:
        """Its figures for a line of metrics."""
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5}

    @property
    def text(self) -> str:
        """It in a line, for people."""
        low, high = self.interval
        return (
            f"top-1 {self.top1:.2f}% (95% interval {low:.2f} to {high:.2f}%), top-5 {self.top5:.2f}%,"
            f" loss {self.loss:.4f}, of {self.images:,} images"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {**asdict(self), "top1": self.top1, "top5": self.top5, "interval": list(self.interval)}


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], world: World) -> Accuracy:
    """Classify images, those of every process together, in full precision.

    Args:
        model: A classifier; it is left in evaluation mode.
        batches: This process's images of shape (n, c, h, w) on the device, and labels of shape (n,), -1 where the image
            is broken.
        world: The processes.

    Raises:
        DataError: If there is no image that is not broken.
    """
    model.eval()
    total = torch.zeros(5, dtype=torch.float64, device=world.device)
    with torch.inference_mode():
        for images, labels in batches:
            logits, good = model(images), labels >= 0
            first = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
            losses = nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
            counts = first[:, 0].sum(), first.sum(), good.sum(), (~good).sum(), losses
            total += torch.stack([c.double() for c in counts])
    right, right5, images_, left_out, loss = world.sum(total).tolist()
    if not images_:
        raise DataError(f"none of {int(left_out)} images to evaluate on can be read")
    return Accuracy(int(right), int(right5), int(images_), int(left_out), loss / images_)
