"""How well pixels are classified: mIoU, mAcc and aAcc."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class MeanIoU:
    """Counts of pixels by class, those that are ignored left out.

    Attributes:
        right: Pixels of each class that were recognised.
        predicted: Pixels that were taken for each class.
        truth: Pixels of each class.
        images: How many were evaluated.
        left_out: Broken images, which are not among them.
    """

    right: tuple[int, ...]
    predicted: tuple[int, ...]
    truth: tuple[int, ...]
    images: int
    left_out: int

    metric: ClassVar[str] = "mIoU"

    @property
    def iou(self) -> list[float | None]:
        """Percent of each class's pixels, true or predicted, that are both; None where there are none."""
        unions = (p + t - r for r, p, t in zip(self.right, self.predicted, self.truth, strict=True))
        return [100 * r / union if union else None for r, union in zip(self.right, unions, strict=True)]

    @property
    def row(self) -> dict[str, float]:
        """The line of metrics in percent.

        mIoU is the mean of the classes' iou, mAcc the mean share of a class's pixels that are recognised, aAcc the
        share of all pixels. Means are over the classes that there are.
        """
        recognised = [r / t for r, t in zip(self.right, self.truth, strict=True) if t]
        return {
            "mIoU": _mean([iou for iou in self.iou if iou is not None]),
            "mAcc": 100 * _mean(recognised),
            "aAcc": 100 * sum(self.right) / max(sum(self.truth), 1),
        }

    @property
    def text(self) -> str:
        """It in a line, for people."""
        return ", ".join(f"{name} {value:.2f}%" for name, value in self.row.items()) + f", of {self.images:,} images"

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {**asdict(self), **self.row, "iou": self.iou}


def _mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def confusion(truth: Tensor, predicted: Tensor, number: int) -> Tensor:
    """Pixels by true (rows) and predicted class (columns), int64 of shape (number, number).

    Args:
        truth: Classes of any shape; what is no class from 0 to number - 1 is left out.
        predicted: Classes of the same shape, each from 0 to number - 1.
        number: Of the classes.
    """
    truth = truth.long()
    judged = (truth >= 0) & (truth < number)
    pairs = truth[judged] * number + predicted[judged].long()
    return torch.bincount(pairs, minlength=number * number).reshape(number, number)
