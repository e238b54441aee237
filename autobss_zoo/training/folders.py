"""Images in folders: read and augmented by timm's transforms in worker processes."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import ImageDataset, create_transform
from timm.data.loader import PrefetchLoader, fast_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError
from .batches import Parts, mix
from .recipe import TrainingRecipe

_logger = logging.getLogger(__name__)
_TRIES = 20


def labels_of(images: ImageDataset) -> Tensor:
    """The labels of a folder's images, shape (n,)."""
    return torch.tensor([label for _, label in images.reader.samples])


class _Reader(Dataset):
    """Samples by (position, seed): augmented with the seed, or as they are to be evaluated where it is None."""

    def __init__(self, images: ImageDataset, chosen: np.ndarray, transform: Any) -> None:
        self._images, self._chosen, self._transform = images, chosen, transform

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, key: tuple[int, int | None]) -> tuple[np.ndarray, int]:
        position, seed = key
        if seed is None:
            try:
                return self._read(position)
            except DataError as error:
                _logger.warning("%s; it is left out", error)
                return self._transform(Image.new("RGB", (64, 64))), -1
        state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(seed)  # timm's transforms use all three
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            for further in range(_TRIES):
                try:
                    return self._read((position + further) % len(self._chosen))
                except DataError as error:
                    _logger.warning("%s; the next one takes its place", error)
            raise DataError(f"{_TRIES} images in a row are broken: copy the data again")
        finally:
            random.setstate(state[0])
            np.random.set_state(state[1])
            torch.set_rng_state(state[2])

    def _read(self, position: int) -> tuple[np.ndarray, int]:
        number = int(self._chosen[position])
        try:
            file, label = self._images.reader[number]
            with file:
                image = Image.open(file).convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's kinds
            raise DataError(f"{self._images.filename(number, absolute=True)}: broken image ({error})") from None
        return self._transform(image), label


class _Keys:
    """A batch sampler whose epoch and first step can be set, for one loader and its workers to serve all epochs."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.epoch, self.first_step = parts, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for chosen in self.parts.indices(self.epoch, self.first_step):
            yield [(index, mix(self.parts.seed, self.epoch, index)) for index in chosen.tolist()]

    def __len__(self) -> int:
        return (self.parts.steps - self.first_step) * self.parts.accumulation


class FolderBatches:
    """Training batches of images in folders; as `batches.Batches`.

    Args:
        images: The training images.
        chosen: Which of them to train on.
        config: What the network expects, as `timm.data.resolve_data_config` gives it.
        recipe: With crop_scale, flip, auto_augment, workers and channels_last.
        device: Where batches are needed.
    """

    def __init__(
        self,
        images: ImageDataset,
        chosen: Tensor,
        config: Mapping[str, Any],
        recipe: TrainingRecipe,
        device: torch.device,
    ) -> None:
        transform = create_transform(
            config["input_size"],
            is_training=True,
            use_prefetcher=True,
            scale=recipe.crop_scale,
            hflip=0.5 if recipe.flip else 0.0,
            color_jitter=None,  # type: ignore[arg-type]
            auto_augment=recipe.auto_augment,
            interpolation=config["interpolation"],
            mean=config["mean"],
        )
        self._reader = _Reader(images, chosen.numpy(), transform)
        self._config, self._recipe, self._device = config, recipe, device
        self._loader: Any = None

    def __len__(self) -> int:
        return len(self._reader)

    def epoch(self, parts: Parts, number: int, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As in Batches."""
        if self._loader is None:
            self._keys = _Keys(parts)
            self._loader = _loader(self._reader, self._keys, self._config, self._device, self._recipe.workers)
        self._keys.epoch, self._keys.first_step = number, first_step
        layout = torch.channels_last if self._recipe.channels_last else torch.contiguous_format
        for pixels, labels in self._loader:
            yield pixels.contiguous(memory_format=layout), labels


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
    transform = create_transform(
        config["input_size"],
        use_prefetcher=True,
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
    )
    keys = [[(i, None) for i in part.tolist()] for part in torch.arange(len(chosen)).split(batch_size)]
    yield from _loader(_Reader(images, chosen.numpy(), transform), keys, config, device, workers)


def _loader(reader: _Reader, keys: Any, config: Mapping[str, Any], device: torch.device, workers: int) -> Any:
    loader = DataLoader(
        reader,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=fast_collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
    return PrefetchLoader(loader, config["mean"], config["std"], device=device)
