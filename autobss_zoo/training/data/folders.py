"""Images in folders: read and augmented by timm's transforms in worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from PIL import Image
from timm.data import ImageDataset, create_transform
from timm.data.loader import PrefetchLoader, fast_collate
from torch import Tensor

from ...errors import DataError
from .samples import Reader, SampleBatches, evaluation_loader


def labels_of(images: ImageDataset) -> Tensor:
    """The labels of a folder's images, shape (n,)."""
    return torch.tensor([label for _, label in images.reader.samples])


MODES = {1: "L", 3: "RGB"}
"""Pillow's modes by what networks take, in channels; as timm's input_img_mode."""


class FolderImages:
    """A folder's images with their labels, by number, transformed where a transform is given.

    Args:
        images: The folder.
        in_chans: 1 for grey images, 3 for colour.
        transform: One of timm's.
    """

    def __init__(self, images: ImageDataset, in_chans: int, transform: Any = lambda image: image) -> None:
        self._images, self._mode, self._transform = images, MODES[in_chans], transform

    def read(self, number: int) -> tuple[Any, int]:
        """An image and its label.

        Raises:
            DataError: If the image is broken.
        """
        try:
            file, label = self._images.reader[number]
            with file:
                image = Image.open(file).convert(self._mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's kinds
            raise DataError(f"{self._images.filename(number, absolute=True)}: broken image ({error})") from None
        return self._transform(image), label


def folder_batches(
    images: ImageDataset,
    chosen: Tensor,
    config: Mapping[str, Any],
    device: torch.device,
    *,
    crop_scale: tuple[float, float],
    flip: bool,
    auto_augment: str | None,
    channels_last: bool,
    workers: int,
) -> SampleBatches:
    """Training batches of images in folders: normalised images, and labels.

    Args:
        images: The training images.
        chosen: Which of them to train on.
        config: What the network expects, as `timm.data.resolve_data_config` gives it.
        device: Where batches are needed.
        crop_scale: Smallest and largest share of an image that RandomResizedCrop keeps.
        flip: Whether images are mirrored at random.
        auto_augment: timm's name of a policy.
        channels_last: Deliver images with their channels last.
        workers: Processes that read images.
    """
    transform = create_transform(
        config["input_size"],
        is_training=True,
        use_prefetcher=True,
        scale=crop_scale,
        hflip=0.5 if flip else 0.0,
        color_jitter=None,  # type: ignore[arg-type]
        auto_augment=auto_augment,
        interpolation=config["interpolation"],
        mean=config["mean"],
    )
    channels = config["input_size"][0]
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def deliver(loader: Any) -> Iterable[tuple[Tensor, Tensor]]:
        for pixels, labels in PrefetchLoader(loader, config["mean"], config["std"], channels, device):
            yield pixels.contiguous(memory_format=layout), labels

    reader = Reader(FolderImages(images, channels, transform).read, chosen.numpy())
    return SampleBatches(reader, fast_collate, deliver, workers, device)


def folder_evaluation(
    images: ImageDataset,
    chosen: Tensor,
    config: Mapping[str, Any],
    device: torch.device,
    batch_size: int = 256,
    workers: int = 4,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images resized and centre-cropped (ImageNet's standard protocol), in order; broken ones have the label -1.

    Args:
        images: The images.
        chosen: Which of them.
        config: input_size, interpolation, crop_pct, crop_mode, mean and std, as `timm.data.resolve_data_config` gives.
        device: Where batches are needed.
        batch_size: Images at a time.
        workers: Processes that read them.
    """
    transform: Any = create_transform(
        config["input_size"],
        use_prefetcher=True,
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )
    channels = config["input_size"][0]
    broken = transform(Image.new(MODES[channels], (64, 64))), -1
    reader = Reader(FolderImages(images, channels, transform).read, chosen.numpy(), broken)
    loader = evaluation_loader(reader, fast_collate, workers, device, batch_size)
    yield from PrefetchLoader(loader, config["mean"], config["std"], channels, device)
