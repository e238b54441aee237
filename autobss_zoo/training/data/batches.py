"""Batches of images, from memory or from files.

Every random choice is a function of the seed, the epoch and the place in it, so that a training which starts in the
middle of an epoch sees what it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from .sources import Images

Channels = Sequence[float]


class Batches(Protocol):
    """Training images: len() is their number."""

    def __len__(self) -> int: ...

    def epoch(self, parts: Parts, number: int, first_step: int) -> Iterator[Any]:
        """This process's parts of an epoch's steps from `first_step` on."""


class Parts:
    """How steps divide into what each process computes at a time.

    Args:
        n: Number of training images.
        batch_size: Images a step, over all processes and accumulated gradients.
        accumulation: Parts that a process computes a step's gradients in.
        seed: Of the order of the images.
        rank, world: This process's number, and how many there are.

    Raises:
        ValueError: If they do not divide.
    """

    def __init__(
        self, n: int, batch_size: int, accumulation: int = 1, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        shares = accumulation * world
        if batch_size % shares:
            parts = f"accumulation {accumulation} x {world} processes"
            raise ValueError(f"batch_size: expected a multiple of {parts}, got {batch_size}")
        if batch_size > n:
            raise ValueError(f"batch_size: expected at most the {n} training images, got {batch_size}")
        self.n, self.batch, self.seed, self.rank = n, batch_size, seed, rank
        self.accumulation, self.size = accumulation, batch_size // shares
        self.steps = n // batch_size

    def indices(self, epoch: int, first_step: int) -> Iterator[Tensor]:
        """The images of each part of each step, in order; each epoch leaves out its last n % batch_size images."""
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(mix(self.seed, epoch)))
        start = self.rank * self.accumulation * self.size
        for step in range(first_step, self.steps):
            own = order[step * self.batch + start :][: self.accumulation * self.size]
            yield from own.split(self.size)


def mix(*numbers: int) -> int:
    """One 62-bit seed from several numbers."""
    mixed = 0
    for number in numbers:  # the steps of SplitMix64, public domain
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return mixed >> 2


class MemoryBatches:
    """Batches of images that are kept on the device and augmented there, a whole batch at a time.

    One gather takes each image's pixels from where its random shift and mirroring put them.

    Args:
        images: The training images.
        mean, std: To normalise by, in units of the largest pixel value.
        device: Where they are kept.
        shift: Images move at random by up to this share of their side.
        flip: Whether images are mirrored at random.
        seed: Of the augmentation.
        channels_last: Deliver images with their channels last.
    """

    def __init__(
        self,
        images: Images,
        mean: Channels,
        std: Channels,
        device: torch.device,
        *,
        shift: float = 0.0,
        flip: bool = False,
        seed: int = 0,
        channels_last: bool = False,
    ) -> None:
        self._side = images.images.shape[-1]
        self._most = round(shift * self._side)
        self._flip, self._seed = flip, seed
        padded = functional.pad(images.images, (self._most,) * 4)
        # Pixels with their channels last: the gather then copies whole pixels, and batches have the faster format.
        self._pixels = padded.permute(0, 2, 3, 1).contiguous().to(device)
        self._labels = images.labels.to(device)
        self._normalise = Normalise(mean, std, device, channels_last)

    def __len__(self) -> int:
        return len(self._labels)

    def epoch(self, parts: Parts, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As in Batches."""
        device, side = self._labels.device, self._side
        ramp = torch.arange(side, device=device)
        generator = torch.Generator(device)
        for place, chosen in enumerate(parts.indices(number, first_step), start=first_step * parts.accumulation):
            chosen = chosen.to(device, non_blocking=True)
            generator.manual_seed(mix(self._seed, number, place, parts.rank))
            draw = torch.randint(0, 2 * self._most + 1, (2, len(chosen), 1), generator=generator, device=device)
            down, across = ramp + draw[0], ramp + draw[1]
            if self._flip:
                mirrored = torch.rand((len(chosen), 1), generator=generator, device=device) < 0.5
                across = torch.where(mirrored, across.flip(1), across)
            pixels = self._pixels[chosen[:, None, None], down[:, :, None], across[:, None, :]]
            yield self._normalise(pixels.permute(0, 3, 1, 2)), self._labels[chosen]


class Normalise:
    """uint8 images of shape (n, c, h, w) to floats, by a mean and a standard deviation for each channel."""

    def __init__(self, mean: Channels, std: Channels, device: torch.device, channels_last: bool) -> None:
        middle, spread = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
        self._scale, self._offset = 1 / (255 * spread), -middle / spread
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """The images as normalised floats of the same shape, in the memory format that was asked for."""
        return images.float().mul_(self._scale).add_(self._offset).contiguous(memory_format=self._format)


def memory_evaluation(
    images: Images, mean: Channels, std: Channels, device: torch.device, channels_last: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in memory, in order and as they are: normalised images, and labels."""
    normalise = Normalise(mean, std, device, channels_last)
    size = max(1, math.ceil(512 * 28 * 28 / images.images[0, 0].numel()))
    for pixels, labels in zip(images.images.split(size), images.labels.split(size), strict=True):
        yield normalise(pixels.to(device)), labels.to(device)


def resized(images: Images, side: int) -> Images:
    """Images of another size, by bilinear interpolation."""
    if images.images.shape[-1] == side:
        return images
    scaled = functional.interpolate(images.images.float(), (side, side), mode="bilinear", antialias=True)
    return Images(scaled.round().clamp(0, 255).byte(), images.labels)
