"""Data sets: where each is found, what it holds, and how its training images are divided."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.data import DEFAULT_CROP_PCT
from torch import Tensor

from ...errors import DataError


class Images(NamedTuple):
    """Images in memory.

    Attributes:
        images: uint8 of shape (n, channels, side, side).
        labels: int64 of shape (n,).
    """

    images: Tensor
    labels: Tensor


class Splits(NamedTuple):
    """A data set's images to train on and to test on: Images in memory, or timm's ImageDataset of a folder."""

    train: Any
    test: Any


@dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        load: Reads it from a folder of the user's, or from its own place when that is None.
        in_chans, input_size: Of its images, in channels and pixels.
        classes: Their names; None where the folders name them.
        mean, std: Of the training images' channels, in units of the largest pixel value.
        in_memory: Whether it is kept in memory; otherwise its images are files in a folder for each class.
        title, licence: For the cards of networks that are trained on it.
    """

    load: Callable[[Path | None], Splits]
    in_chans: int
    input_size: int
    classes: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    in_memory: bool
    title: str
    licence: str

    def read_as(self, in_chans: int) -> Source:
        """The same images with 1 or 3 channels; as in timm, grey images have the means of the channels' statistics."""
        if in_chans == self.in_chans:
            return self
        mean, std = (in_chans * (sum(values) / len(values),) for values in (self.mean, self.std))
        return replace(self, in_chans=in_chans, mean=mean, std=std)

    def configuration(self, classes: tuple[str, ...], side: int) -> dict[str, Any]:
        """What timm's configuration of a network says of the images it was trained on, with a side in pixels.

        It is stated in full, as a published network's own configuration is of other images.
        """
        crop_pct, interpolation = (1.0, "bilinear") if self.in_memory else (DEFAULT_CROP_PCT, "bicubic")
        return {
            "input_size": (self.in_chans, side, side),
            "mean": self.mean,
            "std": self.std,
            "crop_pct": crop_pct,
            "crop_mode": "center",
            "interpolation": interpolation,
            "num_classes": len(classes),
            "label_names": classes,
        }


def _digits(folder: Path | None) -> Splits:
    from sklearn.datasets import load_digits

    if folder is not None:
        raise DataError(f"data_dir: the digits come with scikit-learn, not from {folder}; leave it out")
    data = load_digits()
    images = torch.tensor(np.round(data.images * (255 / 16)), dtype=torch.uint8)[:, None]
    everything = Images(images, torch.tensor(data.target))
    return Splits(*divide(everything, 0.2))


_FASHION_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_FASHION_FOLDERS = (Path("/usr/share/datasets/fashion-mnist"), Path("/usr/share/dataset-fashion-mnist"))
_FASHION_HELP = "Debian's package dataset-fashion-mnist has the files, and torchvision downloads them"


def _fashion_mnist(folder: Path | None) -> Splits:
    for place in _FASHION_FOLDERS if folder is None else (folder, folder / "FashionMNIST" / "raw"):
        if (place / f"{_FASHION_FILES['train'][0]}.gz").is_file():
            return Splits(
                *(Images(*(_idx(place / f"{name}.gz") for name in _FASHION_FILES[s])) for s in _FASHION_FILES)
            )
    from torchvision.datasets import FashionMNIST

    parts = [_download(FashionMNIST, train, folder, _FASHION_HELP) for train in (True, False)]
    return Splits(*(Images(part.data[:, None], part.targets) for part in parts))


def _idx(path: Path) -> Tensor:
    """The array in a compressed IDX file of bytes: images of shape (n, 1, h, w), or int64 labels of shape (n,)."""
    try:
        content = gzip.decompress(path.read_bytes())
        sizes = np.frombuffer(content, ">i4", content[3], offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + sizes.nbytes).reshape(sizes)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path}: broken or incomplete ({error}); {_FASHION_HELP}") from None
    array = torch.from_numpy(values.copy())
    return array[:, None] if array.ndim == 3 else array.long()


def _cifar10(folder: Path | None) -> Splits:
    from torchvision.datasets import CIFAR10

    help_ = "torchvision downloads cifar-10-python.tar.gz and unpacks it as cifar-10-batches-py"
    parts = [_download(CIFAR10, train, folder, help_) for train in (True, False)]
    return Splits(*(Images(torch.from_numpy(p.data).permute(0, 3, 1, 2), torch.tensor(p.targets)) for p in parts))


def _download(dataset: Any, train: bool, folder: Path | None, help_: str) -> Any:
    """A torchvision data set, downloaded where it is missing."""
    root = folder or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "autobss-zoo"
    try:
        return dataset(str(root), train=train, download=True)
    except Exception as error:  # the network's, the disk's or pickle's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{root}: cannot read or download {dataset.__name__} ({reason}); {help_}") from error


def _imagenet(folder: Path | None) -> Splits:
    splits = _imagefolder(folder)
    if (found := len(splits.train.reader.class_to_idx)) != 1000:
        raise DataError(f"{folder}: expected ImageNet's 1000 classes, got {found}; other images are data=imagefolder")
    return splits


def _imagefolder(folder: Path | None) -> Splits:
    from timm.data import ImageDataset

    layout = "with train/<class>/*.jpg and val/<class>/*.jpg"
    if folder is None:
        raise DataError(f"data_dir: expected a folder {layout}, got none: --data-dir names it")
    parts = []
    for names in (("train",), ("val", "validation", "test")):
        place = next((folder / name for name in names if (folder / name).is_dir()), None)
        if place is None:
            raise DataError(
                f"{folder}: there is no {' or '.join(names)} folder; expected one {layout}. ImageNet's images are had "
                "from its own site after registration, and its validation images are sorted into folders of classes"
            )
        try:
            parts.append(ImageDataset(str(place)))
        except RuntimeError:  # timm's, when it finds no image
            raise DataError(f"{place}: there are no images in it; expected a folder {layout}") from None
    train, test = parts
    if odd := train.reader.class_to_idx.keys() ^ test.reader.class_to_idx.keys():
        raise DataError(f"{folder}: only one of its two parts has the class {sorted(odd)[0]}; expected one {layout}")
    return Splits(train, test)


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

SOURCES: dict[str, Source] = {
    "digits": Source(
        _digits, 1, 16, tuple("0123456789"), (0.3054,), (0.3187,), True,
        "scikit-learn's handwritten digits (1,797 images of 8x8; a fifth to test)", "CC BY 4.0",
    ),
    "fashion_mnist": Source(
        _fashion_mnist, 1, 28, _FASHION, (0.2860,), (0.3530,), True, "Fashion-MNIST (60,000 and 10,000 images)", "MIT",
    ),
    "cifar10": Source(
        _cifar10, 3, 32, _CIFAR10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), True,
        "CIFAR-10 (50,000 and 10,000 images)", "none stated",
    ),
    "imagenet": Source(
        _imagenet, 3, 224, None, *_IMAGENET, False, "ImageNet (ILSVRC 2012)", "for non-commercial research",
    ),
    "imagefolder": Source(_imagefolder, 3, 224, None, *_IMAGENET, False, "a folder of images", "of its owner"),
}  # fmt: skip


@cache
def load(name: str, folder: str | None = None) -> Splits:
    """A data set by its name.

    Args:
        name: Of SOURCES.
        folder: Where it is; its own place when None.

    Raises:
        DataError: If it is missing or broken; the message says where to get it.
    """
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"{folder}: there is no such folder of data")
    return SOURCES[name].load(Path(folder) if folder is not None else None)


def indices(labels: Tensor, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Divide images into two parts with the classes in proportion.

    Args:
        labels: Of shape (n,).
        share: Of the second part, in (0, 1).
        seed: Of the draw.

    Returns:
        The indices of both, ascending.

    Raises:
        DataError: If a part would have no image of some class.
    """
    from sklearn.model_selection import train_test_split

    try:
        parts = train_test_split(np.arange(len(labels)), test_size=share, random_state=seed, stratify=labels.numpy())
    except ValueError as error:
        raise DataError(f"cannot keep {share:.3g} of {len(labels)} images apart: {error}") from None
    return torch.from_numpy(np.sort(parts[0])), torch.from_numpy(np.sort(parts[1]))


def divide(images: Images, share: float) -> tuple[Images, Images]:
    """Two parts of images in memory, as `indices` divides them."""
    first, second = (Images(images.images[part], images.labels[part]) for part in indices(images.labels, share))
    return first, second
