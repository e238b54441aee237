"""Whether annotations in COCO's format are whole: pycocotools trusts them, and crashes or draws at random otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

_FURTHEST = 100_000  # pixels: pycocotools crashes on polygons with corners far beyond


def _is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def flaw_of(found: dict[str, Any], image: dict[str, Any]) -> str | None:
    """Why pycocotools could not draw an annotation's mask, or would draw a wrong one or crash; None where it can."""
    segmentation, height, width = found.get("segmentation"), image["height"], image["width"]
    if isinstance(segmentation, list):
        parts = [part if isinstance(part, list) else [] for part in segmentation]
        if not parts or len(parts[0]) < 6 or not all(parts):
            return "expected polygons of at least three points"
        if not all(_is_number(x) and abs(x) <= _FURTHEST for part in parts for x in part):
            return "the corners of a polygon are not numbers, or are far outside the image"
        return None
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        return "expected polygons or run lengths"
    if segmentation["size"] != [height, width]:
        return f"it is of an image of {segmentation['size']}, but the image's height and width are {[height, width]}"
    runs = segmentation["counts"]
    runs = runs if isinstance(runs, list) else _runs(runs)
    if not all(isinstance(run, int) and run >= 0 for run in runs) or sum(runs) != height * width:
        return f"its run lengths do not add up to the {height * width} pixels"
    return None


def _runs(text: str | bytes) -> list[int]:
    """The run lengths of pycocotools' compressed form; none where it is broken.

    Each is stated, from the third on by its difference to the last but one, in digits of five bits, least first, of
    characters from "0" on whose sixth bit says that another digit follows.
    """
    digits = text if isinstance(text, bytes) else str(text).encode()
    runs: list[int] = []
    value, shift = 0, 0
    for digit in (byte - 48 for byte in digits):
        if not 0 <= digit < 64:
            return []
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        value -= (digit & 16) >> 4 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return [] if shift else runs


_KEYS = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
}


def problems_of(content: Any) -> Iterator[str]:
    """What is wrong with an annotation file."""
    for part, keys in _KEYS.items():
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list):
            yield f"expected a list of {part}, got {type(entries).__name__}"
            return
        if flaw := next(filter(None, (_malformed(entry, part, keys) for entry in entries)), None):
            yield flaw
            return
        if len({entry["id"] for entry in entries}) < len(entries):
            yield f"two of its {part} have the same id"
    for name in ("images", "categories"):
        if not content[name]:
            yield f"there are no {name}"
    for entry in content["images"]:
        if not all(isinstance(entry[key], int) and entry[key] > 0 for key in ("height", "width")):
            yield f"image {entry['id']} has no size: {entry['height']}x{entry['width']}"
    images, categories = ({entry["id"] for entry in content[part]} for part in ("images", "categories"))
    for entry in content["annotations"]:
        yield from _problems_of_annotation(entry, images, categories)


def _malformed(entry: Any, part: str, keys: tuple[str, ...]) -> str | None:
    """Why nothing more can be said of an entry of a part; None where it has its keys, of the right kinds."""
    if absent := [key for key in keys if not isinstance(entry, dict) or key not in entry]:
        return f"one of its {part} has no {absent[0]}: {str(entry)[:80]}"
    for key in keys:
        if (key == "id" or key.endswith("_id")) and not isinstance(entry[key], int):
            return f"the {key} of one of its {part} is not a whole number: {str(entry)[:80]}"
        if key.endswith("name") and not isinstance(entry[key], str):
            return f"the {key} of one of its {part} is not text: {str(entry)[:80]}"
    return None


def _problems_of_annotation(entry: dict[str, Any], images: set[int], categories: set[int]) -> Iterator[str]:
    """What is wrong with an annotation that has its keys, in a file with images and categories of these ids."""
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        yield f"the bbox of annotation {entry['id']} is not four finite numbers: {str(box)[:80]}"
    if (area := entry.get("area")) is not None and not _is_number(area):
        yield f"the area of annotation {entry['id']} is not a finite number: {str(area)[:80]}"
    if (crowd := entry.get("iscrowd")) not in (None, 0, 1):
        yield f"the iscrowd of annotation {entry['id']} is neither 0 nor 1: {str(crowd)[:80]}"
    if entry["image_id"] not in images:
        yield f"annotation {entry['id']} is of image {entry['image_id']}, which is not there"
    if entry["category_id"] not in categories:
        yield f"annotation {entry['id']} is of category {entry['category_id']}, which is not there"
