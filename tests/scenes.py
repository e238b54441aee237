"""A small but real task: textured discs, squares and triangles in cluttered scenes, in COCO's and in VOC's format."""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("disc", "square", "triangle")


def texture(generator, side):
    """Stripes, checks or speckles in two colours, uint8 of shape (side, side, 3)."""
    y, x = np.mgrid[:side, :side]
    period, angle = generator.integers(4, 10), generator.uniform(0, math.pi)
    kind = generator.integers(3)
    if kind == 0:
        chosen = (x * math.cos(angle) + y * math.sin(angle)) // period % 2 == 0
    elif kind == 1:
        chosen = (x // period + y // period) % 2 == 0
    else:
        chosen = generator.random((side, side)) < 0.5
    dark, light = generator.integers(0, 120, 3), generator.integers(130, 256, 3)
    return np.where(chosen[..., None], dark, light).astype(np.uint8)


def outline(kind, centre, radius, angle):
    """The corners of a shape as an array of shape (n, 2)."""
    corners = {"disc": 24, "square": 4, "triangle": 3}[kind]
    turns = angle + np.arange(corners) * 2 * math.pi / corners
    return np.stack([centre[0] + radius * np.cos(turns), centre[1] + radius * np.sin(turns)], 1)


def scene(generator, width, height):
    """An image, and its objects as (class, outline, mask), none of which hides another."""
    side = max(width, height)
    low = Image.fromarray(generator.integers(60, 200, (5, 5, 3)).astype(np.uint8))
    image = low.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(12):  # clutter
        ends = generator.integers(0, side, 4).tolist()
        pen.line(ends, fill=tuple(generator.integers(0, 256, 3).tolist()), width=int(generator.integers(1, 3)))
    objects, taken = [], np.zeros((height, width), bool)
    wanted = generator.integers(1, 4)
    for _ in range(50):
        if len(objects) == wanted:
            break
        label = int(generator.integers(len(CLASSES)))
        radius = generator.uniform(0.14, 0.26) * min(width, height)
        centre = generator.uniform(radius, width - radius), generator.uniform(radius, height - radius)
        corners = outline(CLASSES[label], centre, radius, generator.uniform(0, math.pi))
        mask = Image.new("L", (width, height))
        ImageDraw.Draw(mask).polygon([tuple(c) for c in corners], fill=255)
        covered = np.asarray(mask) > 0
        if (covered & taken).any():
            continue
        taken |= covered
        image.paste(Image.fromarray(texture(generator, side)).crop((0, 0, width, height)), mask=mask)
        objects.append((label, corners, covered))
    return image, objects


def scenes(number, seed, side):
    generator = np.random.default_rng(seed)
    for _ in range(number):
        yield scene(generator, *(int(generator.integers(side * 3 // 4, side + 1)) for _ in range(2)))


def write_coco(root, train=240, val=60, side=128, empty=0):
    """A folder in COCO's format; the first `empty` training images have no objects."""
    for part, number, seed in (("train2017", train, 0), ("val2017", val, 1)):
        content = {"images": [], "annotations": [], "categories": []}
        content["categories"] = [{"id": 10 * i + 5, "name": name} for i, name in enumerate(CLASSES)]
        (root / part).mkdir(parents=True)
        for index, (image, objects) in enumerate(scenes(number, seed, side)):
            name = f"{index:04d}.png"
            image.save(root / part / name)
            facts = {"id": 100 + index, "file_name": name, "width": image.width, "height": image.height}
            content["images"].append(facts)
            for label, corners, covered in objects if part != "train2017" or index >= empty else []:
                low, high = corners.min(0), corners.max(0)
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": 100 + index,
                        "category_id": 10 * label + 5,
                        "bbox": [*low.tolist(), *(high - low).tolist()],
                        "segmentation": [corners.ravel().tolist()],
                        "area": int(covered.sum()),
                        "iscrowd": 0,
                    }
                )
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return root


def write_voc(root, train=160, val=40, side=97):
    """A folder in VOC's format, whose masks have a border of 255 as VOC's have."""
    for part, number, seed in (("train", train, 2), ("val", val, 3)):
        names = []
        for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for index, (image, objects) in enumerate(scenes(number, seed, side)):
            names.append(f"{part}_{index:04d}")
            image.save(root / "JPEGImages" / f"{names[-1]}.jpg", quality=95)
            classes = np.zeros((image.height, image.width), np.uint8)
            for label, corners, covered in objects:
                classes[covered] = label + 1
                border = Image.new("L", image.size)
                ImageDraw.Draw(border).line([tuple(c) for c in [*corners, corners[0]]], fill=255, width=2)
                classes[np.asarray(border) > 0] = 255
            mask = Image.fromarray(classes)
            mask.putpalette(list(range(256)) * 3)
            mask.save(root / "SegmentationClass" / f"{names[-1]}.png")
        (root / "ImageSets/Segmentation" / f"{part}.txt").write_text("\n".join(names) + "\n")
    (root / "labels.txt").write_text("\n".join(("background", *CLASSES)) + "\n")
    return Path(root)
