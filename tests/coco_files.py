"""Small folders in COCO's format, whole and broken, for tests."""

import json

import numpy as np
from PIL import Image

from autobss_zoo.training.data.coco import CocoImages

WIDTH, HEIGHT = 40, 32
SQUARE = [4.0, 6.0, 16.0, 6.0, 16.0, 20.0, 4.0, 20.0]


def annotation(number, image=7, category=9, bbox=(4, 6, 12, 14), **further):
    found = {"id": number, "image_id": image, "category_id": category, "bbox": list(bbox)}
    return {**found, "segmentation": [SQUARE], "iscrowd": 0, "area": 168, **further}


def content(*annotations, names=("a.png", "b.png"), without=()):
    """An annotation file's content: images 7 and 3, and two categories whose ids are neither sorted nor contiguous."""
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in zip((7, 3), names, strict=False)
    ]
    categories = [{"id": 90, "name": "dog"}, {"id": 9, "name": "cat"}]
    found = {"images": images, "categories": categories, "annotations": list(annotations or [annotation(1)])}
    return {key: value for key, value in found.items() if key not in without}


def pixels(seed=0, width=WIDTH, height=HEIGHT):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_part(file, folder, found):
    """An annotation file and its images."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found))
    for number, facts in enumerate(found["images"]):
        path = folder / facts["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(number)).save(path)


def write(root, found):
    """The images of one part, with any annotation file."""
    write_part(root / "found.json", root / "images", content())
    (root / "found.json").write_text(found if isinstance(found, str) else json.dumps(found))
    return CocoImages(root / "found.json", root / "images")
