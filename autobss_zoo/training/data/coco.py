"""Images with objects in COCO's format: an annotation file that is checked, and the images it names."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from .coco_format import flaw_of, problems_of
from .samples import read_image

_logger = logging.getLogger(__name__)

_LEAST = 0.01  # pixels: what is thinner can vanish when the image is resized

LAYOUTS = (
    "annotations/instances_train*.json with the images in train*/, and the same for val; or train/ and valid/, each "
    "with its images and _annotations.coco.json"
)


PARTS = {"train": ("train",), "val": ("val", "valid", "test")}
"""What the parts of a folder can be called."""


def load_part(folder: str | None, part: str) -> CocoImages:
    """The images of a folder's part, "train" or "val".

    Raises:
        DataError: If they are not there, or broken.
    """
    if folder is None:
        raise DataError(f"data_dir: expected a folder with {LAYOUTS}; got none: --data-dir names it")
    if not (root := Path(folder)).is_dir():
        raise DataError(f"{folder}: there is no such folder of data")
    return CocoImages(*_find(root, PARTS[part]))


def load_splits(folder: str | None) -> tuple[CocoImages, CocoImages]:
    """The training and the validation images of a folder.

    Raises:
        DataError: If they are not there, broken, or do not fit each other.
    """
    train, val = (load_part(folder, part) for part in PARTS)
    years = {digits for images in (train, val) if (digits := "".join(filter(str.isdigit, images.path.stem)))}
    if len(years) > 1:  # images of one may be the other's
        raise DataError(f"{folder}: {train.path.name} and {val.path.name} are of different years")
    if train.categories != val.categories:
        odd = sorted(map(str, set(train.categories.items()) ^ set(val.categories.items())))
        raise DataError(f"{folder}: its two parts have not the same categories: {odd[0]} is in only one")
    return train, val


def _find(root: Path, names: tuple[str, ...]) -> tuple[Path, Path]:
    """A part's annotation file and folder of images; of several years the last."""
    for name in names:
        found = sorted((root / "annotations").glob(f"instances_{name}*.json"), reverse=True)
        for file in found:
            part = file.stem.removeprefix("instances_")
            for place in (root / part, root / "images" / part):
                if place.is_dir():
                    return file, place
        if found:
            raise DataError(f"{root}: there is no folder {part} with the images of {found[-1].name}")
        if (file := root / name / "_annotations.coco.json").is_file():
            return file, file.parent
    raise DataError(f"{root}: there is no part {names[0]}; expected {LAYOUTS}")


class CocoImages:
    """The images of an annotation file, with their objects.

    Args:
        annotations: The file.
        images: The folder that its names of files are in.

    Attributes:
        api: pycocotools' index of the file.
        categories: Names by identity, ascending.
        ids: Identities of the images, ascending.
        with_objects: Those with an object to learn from: not a crowd, and with an area inside the image.

    Raises:
        DataError: If the file is broken, or an image is missing; it names which.
    """

    def __init__(self, annotations: Path, images: Path) -> None:
        self.path, self.folder = annotations, images
        content = self._read()
        from pycocotools.coco import COCO

        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
            self.api = COCO()
            self.api.dataset = content
            self.api.createIndex()
        self.categories: dict[int, str] = {c["id"]: c["name"] for c in sorted(content["categories"], key=_id)}
        self._labels = {category: label for label, category in enumerate(self.categories)}
        self.ids: list[int] = sorted(self.api.imgs)
        self.with_objects = [number for number in self.ids if self._objects(number)]
        every = [a for a in content["annotations"] if not a["iscrowd"]]
        if flat := [a for a in every if not _has_area(self._corners(a))]:
            _logger.warning(
                "%s: %d boxes have no area inside their images and are left out of training; the first is of "
                "annotation %s",
                self.path, len(flat), flat[0]["id"],
            )  # fmt: skip

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the categories, in the order of their labels."""
        return tuple(self.categories.values())

    def image(self, number: int) -> Tensor:
        """An image by its identity, uint8 of shape (3, h, w).

        Raises:
            DataError: If it cannot be read, or is not of the size that the annotations say.
        """
        facts = self.api.imgs[number]
        path = self.folder / facts["file_name"]
        image = read_image(path)
        if (size := tuple(image.shape[1:])) != (facts["height"], facts["width"]):
            stated = f"{facts['height']}x{facts['width']}"
            raise DataError(f"{path}: is {size[0]}x{size[1]} pixels high and wide, but {self.path.name} says {stated}")
        return image

    def target(self, number: int, first_label: int = 0, masks: bool = False) -> dict[str, Tensor]:
        """What is to be learnt of an image, as torchvision's detectors take it.

        Args:
            number: The image's identity.
            first_label: Label of the first category.
            masks: Whether masks are wanted.

        Returns:
            boxes, float32 of shape (n, 4), as corners in pixels; labels, int64 of shape (n,); and masks, uint8 of shape
            (n, h, w). Crowds and boxes without an area inside the image are left out.

        Raises:
            DataError: If a mask is broken.
        """
        objects = self._objects(number)
        target = {
            "boxes": torch.tensor([self._corners(o) for o in objects], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([self._labels[o["category_id"]] + first_label for o in objects], dtype=torch.int64),
        }
        if masks:
            facts = self.api.imgs[number]
            empty = np.zeros((0, facts["height"], facts["width"]), np.uint8)
            target["masks"] = torch.from_numpy(np.stack([self._mask(o) for o in objects]) if objects else empty)
        return target

    def check_masks(self, every: bool = False) -> None:
        """Raise DataError unless every object has a mask to learn.

        Args:
            every: Check crowds and boxes without an area, too: what is evaluated needs their masks.
        """
        for number in self.ids:
            for found in self.api.imgToAnns[number] if every else self._objects(number):
                if not found.get("segmentation"):
                    raise DataError(
                        f"{self.path}: annotation {found['id']} has no segmentation, which a maskrcnn learns from; "
                        "a fasterrcnn or retinanet needs none"
                    )
                self._check_mask(found)

    def _check_mask(self, found: dict[str, Any]) -> None:
        if flaw := flaw_of(found, self.api.imgs[found["image_id"]]):
            raise DataError(f"{self.path}: annotation {found['id']}: broken segmentation ({flaw})")

    def _mask(self, found: dict[str, Any]) -> np.ndarray:
        self._check_mask(found)
        try:
            return self.api.annToMask(found)
        except Exception as error:  # pycocotools' kinds
            raise DataError(f"{self.path}: annotation {found['id']}: broken segmentation ({error})") from None

    def _objects(self, number: int) -> list[dict[str, Any]]:
        """An image's objects to learn from."""
        return [o for o in self.api.imgToAnns[number] if not o["iscrowd"] and _has_area(self._corners(o))]

    def _corners(self, found: dict[str, Any]) -> tuple[float, float, float, float]:
        """An object's box inside its image: left, top, right, bottom."""
        facts = self.api.imgs[found["image_id"]]
        left, top, width, height = found["bbox"]
        return (
            max(left, 0.0),
            max(top, 0.0),
            min(left + width, float(facts["width"])),
            min(top + height, float(facts["height"])),
        )

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.path}: broken annotation file ({error}); copy it again") from None
        if problem := next(problems_of(content), None):
            raise DataError(f"{self.path}: broken annotation file: {problem}")
        for found in content["annotations"]:  # what COCO's own files always have
            if found.get("iscrowd") is None:
                found["iscrowd"] = 0
            if found.get("area") is None:
                found["area"] = found["bbox"][2] * found["bbox"][3]
        there = {path.name for path in self.folder.iterdir()}
        names = [facts["file_name"] for facts in content["images"]]
        if missing := [n for n in names if n not in there and not (self.folder / n).is_file()]:
            raise DataError(
                f"{self.folder / missing[0]}: this image of {self.path.name} is missing, and {len(missing) - 1} more"
            )
        return content


def _id(entry: dict[str, Any]) -> int:
    return entry["id"]


def _has_area(corners: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = corners
    return min(right - left, bottom - top) >= _LEAST
