"""Pictures of predictions beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from ...errors import DataError
from ...files import replacing

_MOST = 8


def write_pictures(chosen: Sequence[int], draw: Callable[[int], tuple[str, Tensor, Tensor]], folder: Path) -> None:
    """Write pictures of the first images.

    Args:
        chosen: Numbers of the images.
        draw: Gives an image's name, the truth and the prediction; an image for which it raises DataError has none.
        folder: Where to; made if it does not exist.
    """
    for number in chosen[:_MOST]:
        try:
            name, truth, prediction = draw(number)
        except DataError:  # evaluation has named it
            continue
        side_by_side(truth, prediction, folder / f"{name}.png")


def side_by_side(truth: Tensor, prediction: Tensor, path: Path) -> None:
    """Write two pictures, uint8 of shape (3, h, w), beside each other as PNG."""
    gap = torch.full((3, truth.shape[1], 8), 255, dtype=torch.uint8)
    pixels = torch.cat([truth, gap, prediction], dim=2).permute(1, 2, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(pixels.numpy()).save(temporary, format="PNG")


def draw_objects(image: Tensor, objects: Mapping[str, Tensor], names: Sequence[str], first_label: int) -> Tensor:
    """An image with its boxes, their classes (and scores), and masks where there are any.

    Args:
        image: uint8 of shape (3, h, w).
        objects: boxes, labels, and perhaps scores and masks, as torchvision's detectors take and return them.
        names: Of the classes.
        first_label: Label of the first class.
    """
    labels = [names[label - first_label] for label in objects["labels"].tolist()]
    colours: list = [_colour(label) for label in objects["labels"].tolist()]
    if "scores" in objects:
        labels = [f"{name} {score:.2f}" for name, score in zip(labels, objects["scores"].tolist(), strict=True)]
    if not labels:
        return image
    if "masks" in objects:
        masks = objects["masks"].reshape(-1, *image.shape[1:]) > (0.5 if "scores" in objects else 0)
        image = draw_segmentation_masks(image, masks, alpha=0.5, colors=colours)
    return draw_bounding_boxes(image, objects["boxes"], labels, colors=colours, width=2)


def draw_classes(image: Tensor, classes: Tensor, number: int) -> Tensor:
    """An image, uint8 of shape (3, h, w), under the colours of its pixels' classes, shape (h, w); 0 shows through."""
    masks = classes == torch.arange(1, number)[:, None, None]
    return draw_segmentation_masks(image, masks, alpha=0.6, colors=[_colour(c) for c in range(1, number)])


def _colour(label: int) -> tuple[int, int, int]:
    """A colour of a label: PASCAL VOC's colour map, whose bits are those of the label, spread over the channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (label >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
