"""Single-scale prediction by sliding window, the test protocol of PSPNet's and PSANet's authors."""

from __future__ import annotations

from itertools import product
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_BATCH = 8  # crops at once


@torch.inference_mode()
def predict(
    model: nn.Module,
    image: Tensor,
    *,
    crop: int,
    base_size: int | None = None,
    flip: bool = True,
    stride_rate: float = 2 / 3,
) -> Tensor:
    """Predict the class probabilities of each pixel of one image.

    The image is resized, padded around to one crop at least with zeros, which are the mean colour of a normalised
    image, and cut into overlapping crops; where they overlap, their probabilities are averaged.

    Args:
        model: In eval mode, on the image's device; returns logits of a batch of images as "out".
        image: (3, h, w), normalised.
        crop: Side of the crops in pixels, the training's.
        base_size: The longer side that the image is resized to; None keeps its size.
        flip: Whether to average with the mirrored crops' probabilities.
        stride_rate: From one crop to the next, as a part of `crop`; the last crop of a row ends with the image.

    Returns:
        Probabilities of shape (classes, h, w).

    Raises:
        ValueError: If the model is in training mode.
    """
    if model.training:
        raise ValueError("predict: expected a model in eval mode")
    size = image.shape[-2:]
    if base_size is not None:
        image = _resize(image, [max(round(side * base_size / max(size)), 1) for side in size])
    height, width = image.shape[-2:]
    missing_rows, missing_columns = max(crop - height, 0), max(crop - width, 0)
    top, left = missing_rows // 2, missing_columns // 2
    padded = F.pad(image, (left, missing_columns - left, top, missing_rows - top))

    stride = ceil(crop * stride_rate)
    corners = list(product(*(_starts(side, crop, stride) for side in padded.shape[-2:])))
    crops = torch.stack([padded[:, y : y + crop, x : x + crop] for y, x in corners])
    probabilities = torch.cat([_probabilities(model, batch, flip) for batch in crops.split(_BATCH)])
    total = probabilities.new_zeros(probabilities.shape[1], *padded.shape[-2:])
    counts = torch.zeros_like(total[0])
    for (y, x), part in zip(corners, probabilities, strict=True):
        total[:, y : y + crop, x : x + crop] += part
        counts[y : y + crop, x : x + crop] += 1
    return _resize((total / counts)[:, top : top + height, left : left + width], size)


def _starts(side: int, crop: int, stride: int) -> list[int]:
    """Where crops begin so that they cover `side`: each a stride after the one before, the last at the end."""
    return [min(start, side - crop) for start in range(0, side - crop + stride, stride)]


def _probabilities(model: nn.Module, crops: Tensor, flip: bool) -> Tensor:
    probabilities = model(crops)["out"].softmax(1)
    if flip:
        probabilities = (probabilities + model(crops.flip(-1))["out"].softmax(1).flip(-1)) / 2
    return probabilities


def _resize(image: Tensor, size: list[int] | torch.Size) -> Tensor:
    """Resize (c, h, w) as image libraries do, by pixels' areas: corners are not aligned."""
    return F.interpolate(image[None], size=list(size), mode="bilinear")[0]
