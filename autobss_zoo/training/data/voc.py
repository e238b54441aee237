"""Images with a class for each pixel, in the format of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import DataError
from .samples import read_image

IGNORED = 255
"""The class of pixels that are neither learnt nor judged, such as objects' borders."""

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

LAYOUT = (
    "JPEGImages/, SegmentationClass/ (or SegmentationClassAug/) and ImageSets/Segmentation/<part>.txt, as VOC2012 has "
    "them; labels.txt with a class in each line where they are not VOC's"
)


class VocImages:
    """The images of a part, such as "train", by number, with their masks.

    A line of the part's list is a name, or the paths of an image and its mask, as lists of train_aug have them. Masks
    of names are taken from SegmentationClassAug where it has them, and else from SegmentationClass.

    Args:
        folder: VOC2012's, or one that it lies in.
        part: The list's name.

    Attributes:
        classes: Their names; VOC's where labels.txt states no others.
        pairs: Files of images and of their masks.

    Raises:
        DataError: If a file is missing; it is named.
    """

    def __init__(self, folder: str | None, part: str) -> None:
        if folder is None:
            raise DataError(f"data_dir: expected a folder with {LAYOUT}; got none: --data-dir names it")
        places = [Path(folder), Path(folder) / "VOC2012", Path(folder) / "VOCdevkit" / "VOC2012"]
        root = next((place for place in places if (place / "ImageSets" / "Segmentation").is_dir()), None)
        if root is None:
            raise DataError(f"{folder}: expected a folder with {LAYOUT}")
        self.path = root / "ImageSets" / "Segmentation" / f"{part}.txt"
        if not self.path.is_file():
            known = ", ".join(sorted(path.stem for path in self.path.parent.glob("*.txt"))) or "none"
            raise DataError(f"{self.path}: there is no such list of images; there are: {known}")
        self.pairs = [_pair(root, line.split()) for line in _lines(self.path)]
        if not self.pairs:
            raise DataError(f"{self.path}: names no images")
        if missing := [path for pair in self.pairs for path in pair if not path.is_file()]:
            raise DataError(f"{missing[0]}: is missing, and {len(missing) - 1} more files that {self.path.name} names")
        labels = root / "labels.txt"
        self.classes = tuple(_lines(labels)) if labels.is_file() else CLASSES
        if not 0 < len(self.classes) <= IGNORED:
            raise DataError(f"{labels}: expected 1 to {IGNORED} classes, one in each line, got {len(self.classes)}")

    def read(self, number: int) -> tuple[Tensor, Tensor]:
        """An image, uint8 of shape (3, h, w), and its pixels' classes, uint8 of shape (h, w), 255 where ignored.

        Raises:
            DataError: If one of the two is broken, or they do not fit.
        """
        path, place = self.pairs[number]
        image = read_image(path)
        try:
            with Image.open(place) as file:
                mask = torch.from_numpy(np.array(file))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's kinds
            raise DataError(f"{place}: broken mask ({error})") from None
        if mask.dtype != torch.uint8 or mask.shape != image.shape[1:]:
            expected = f"a class for each of the {image.shape[2]}x{image.shape[1]} pixels"
            raise DataError(f"{place}: expected {expected}, got {mask.dtype} of shape {tuple(mask.shape)}")
        highest = int(mask[mask != IGNORED].max()) if bool((mask != IGNORED).any()) else 0
        if highest >= len(self.classes):
            raise DataError(f"{place}: has class {highest}, but there are {len(self.classes)} (0 the background)")
        return image, mask


def _lines(path: Path) -> list[str]:
    """A file's lines that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    return [line.strip() for line in lines if line.strip()]


def _pair(root: Path, words: list[str]) -> tuple[Path, Path]:
    if len(words) > 1:
        return root / words[0].lstrip("/"), root / words[1].lstrip("/")
    masks = [root / place / f"{words[0]}.png" for place in ("SegmentationClassAug", "SegmentationClass")]
    images = [root / "JPEGImages" / f"{words[0]}{suffix}" for suffix in (".jpg", ".png")]
    return next(filter(Path.is_file, images), images[0]), next(filter(Path.is_file, masks), masks[-1])
