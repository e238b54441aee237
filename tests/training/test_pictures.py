"""Pictures of predictions beside the truth."""

import numpy as np
import pytest
import torch
from PIL import Image

from autobss_zoo.training.tasks.pictures import draw_classes, draw_objects, side_by_side

WIDTH, HEIGHT = 40, 32


def grey(height=HEIGHT, width=WIDTH, value=100):
    return torch.full((3, height, width), value, dtype=torch.uint8)


def test_two_pictures_are_written_beside_each_other(tmp_path):
    path = tmp_path / "new" / "folder" / "picture.png"
    for left, right in ((10, 20), (30, 40)):  # the second time it is replaced
        side_by_side(grey(value=left), grey(value=right), path)
        with Image.open(path) as file:
            assert (file.format, file.mode, file.size) == ("PNG", "RGB", (2 * WIDTH + 8, HEIGHT))
            pixels = np.asarray(file)
        assert (pixels[:, :WIDTH] == left).all()
        assert (pixels[:, -WIDTH:] == right).all()
        assert [p.name for p in path.parent.iterdir()] == ["picture.png"]


def test_classes_are_drawn_in_vocs_colours_and_the_background_shows_through():
    classes = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    places = {1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for row, label in enumerate(places):
        classes[4 * row : 4 * row + 4, :20] = label
    classes[20:24, :20] = 255
    for chosen in (classes, classes.long()):
        picture = draw_classes(grey(), chosen, 21)
        assert (picture.dtype, picture.shape) == (torch.uint8, (3, HEIGHT, WIDTH))
        for row, colour in enumerate(places.values()):
            expected = 0.4 * 100 + 0.6 * torch.tensor(colour)
            assert (picture[:, 4 * row + 1, 5] - expected).abs().max() <= 1
        assert (picture[:, 20:] == 100).all()
        assert (picture[:, :, 20:] == 100).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_objects_are_drawn_with_and_without_masks(dtype):
    masks = torch.zeros(2, 60, 200, dtype=dtype)
    masks[0, 30:50, 10:80] = 1
    objects = {"boxes": torch.tensor([[10.0, 10, 80, 50], [100, 10, 180, 55]]), "labels": torch.tensor([1, 2])}
    if dtype == torch.float32:
        masks = masks[:, None] * 0.9 + 0.05  # as detectors return them
        objects["scores"] = torch.tensor([0.9, 0.6])
    image = grey(60, 200)
    plain = draw_objects(image, objects, ("cat", "dog"), 1)
    full = draw_objects(image, {**objects, "masks": masks}, ("cat", "dog"), 1)
    assert plain.shape == full.shape == (3, 60, 200)
    assert plain[:, 50, 40].tolist() == [128, 0, 0]  # the boxes' lower edges
    assert plain[:, 55, 140].tolist() == [0, 128, 0]
    assert plain[:, 40, 70].tolist() == plain[:, 40, 170].tolist() == [100, 100, 100]
    assert (full[:, 40, 70] - torch.tensor([114.0, 50, 50])).abs().max() <= 1
    assert full[:, 40, 170].tolist() == [100, 100, 100]
    assert not torch.equal(draw_objects(image, objects, ("dog", "cat"), 1), plain)
    first = {**objects, "labels": objects["labels"] - 1}
    assert draw_objects(image, first, ("cat", "dog"), 0)[:, 55, 140].tolist() == [128, 0, 0]
    assert (image == 100).all()


def test_without_objects_an_image_is_drawn_as_it_is():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    for further in ({}, {"masks": torch.zeros(0, HEIGHT, WIDTH)}, {"scores": torch.zeros(0)}):
        assert torch.equal(draw_objects(grey(), {**nothing, **further}, ("cat",), 1), grey())
