"""Samples that worker processes read, each with a seed of its own; broken ones are named and passed over."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...errors import DataError
from .batches import Parts, mix

_logger = logging.getLogger(__name__)
_TRIES = 20


class Reader(Dataset):
    """Samples by (position, seed): augmented with the seed, or as they are to be evaluated where it is None.

    Args:
        read: Gives the sample of a number, or raises DataError where it is broken. Whatever is random in it uses the
            global generators of random, numpy and torch, which are set for it.
        chosen: The numbers of the samples, by position.
        broken: What stands for a broken sample in evaluation.
    """

    def __init__(self, read: Callable[[int], Any], chosen: np.ndarray, broken: Any = None) -> None:
        self._read, self._chosen, self._broken = read, chosen, broken

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, key: tuple[int, int | None]) -> Any:
        position, seed = key
        if seed is None:
            try:
                return self._read(int(self._chosen[position]))
            except DataError as error:
                _logger.warning("%s; it is left out", error)
                return self._broken
        state = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            for further in range(_TRIES):
                try:
                    return self._read(int(self._chosen[(position + further) % len(self._chosen)]))
                except DataError as error:
                    _logger.warning("%s; the next one takes its place", error)
            raise DataError(f"{_TRIES} images in a row are broken: copy the data again")
        finally:
            random.setstate(state[0])
            np.random.set_state(state[1])
            torch.set_rng_state(state[2])


def check_readable(read: Callable[[int], Any], chosen: Sequence[int], where: Any) -> None:
    """Raise DataError unless one of the chosen samples can be read; `where` is what they are from, for the error."""
    first = "there are none"
    for tried, number in enumerate(chosen):
        try:
            read(number)
            return
        except DataError as error:
            first = first if tried else str(error)
    raise DataError(f"{where}: none of {len(chosen)} images can be read: {first}")


class _Keys:
    """A batch sampler whose epoch and first step can be set, for one loader and its workers to serve all epochs."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.epoch, self.first_step = parts, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for chosen in self.parts.indices(self.epoch, self.first_step):
            yield [(index, mix(self.parts.seed, self.epoch, index)) for index in chosen.tolist()]

    def __len__(self) -> int:
        return (self.parts.steps - self.first_step) * self.parts.accumulation


class SampleBatches:
    """Training batches of samples; as `batches.Batches`.

    Args:
        reader: The samples.
        collate: Makes a batch of a list of samples.
        deliver: Brings a loader's batches to the device.
        workers: Processes that read.
        device: Where batches are needed.
    """

    def __init__(
        self,
        reader: Reader,
        collate: Callable[[list], Any],
        deliver: Callable[[Iterable[Any]], Iterable[Any]],
        workers: int,
        device: torch.device,
    ) -> None:
        self._reader, self._deliver = reader, deliver
        self._options = collate, workers, device
        self._loader: Any = None

    def __len__(self) -> int:
        return len(self._reader)

    def epoch(self, parts: Parts, number: int, first_step: int) -> Iterator[Any]:
        """As in Batches."""
        if self._loader is None:
            self._keys = _Keys(parts)
            self._loader = make_loader(self._reader, self._keys, *self._options)
        self._keys.epoch, self._keys.first_step = number, first_step
        try:
            yield from self._deliver(self._loader)
        except DataError as error:  # a worker process's ends a traceback
            raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None


def evaluation_loader(
    reader: Reader, collate: Callable[[list], Any], workers: int, device: torch.device, batch_size: int = 1
) -> DataLoader:
    """The samples in order, as they are to be evaluated."""
    keys = [[(i, None) for i in part.tolist()] for part in torch.arange(len(reader)).split(batch_size)]
    return make_loader(reader, keys, collate, workers, device)


def make_loader(
    reader: Reader, keys: Any, collate: Callable[[list], Any], workers: int, device: torch.device
) -> DataLoader:
    """torch's loader of the samples that `keys` names, batch by batch."""
    return DataLoader(
        reader,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # not the global one, which a step's dropout and the like draw from
    )


def read_image(path: Path) -> Tensor:
    """A file's image, uint8 of shape (3, h, w).

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with Image.open(path) as file:
            return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's kinds
        raise DataError(f"{path}: broken image ({error})") from None
