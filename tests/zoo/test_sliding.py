"""Prediction by sliding window."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autobss_zoo.segmentation import predict


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Pixelwise(nn.Module):
    """Logits of each pixel alone, and of nothing else; remembers the shapes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)
        self.shapes = []

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        self.shapes.append(tuple(batch.shape))
        return {"out": self.layer(batch)}


class Placed(nn.Module):
    """Logits that depend on the place in the crop, which neither overlaps nor mirroring leave as they are."""

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        rows = torch.linspace(-1, 2, batch.shape[-2])[:, None]
        columns = torch.linspace(0, 3, batch.shape[-1]) ** 2
        return {"out": torch.stack([batch[:, 0] + rows, batch[:, 1] * columns, batch[:, 2] + rows * columns], dim=1)}


@pytest.mark.parametrize("size", [(20, 20), (21, 20), (50, 33), (7, 9), (12, 44), (61, 8)])
@pytest.mark.parametrize("flip", [True, False])
def test_windows_change_nothing_where_pixels_are_alone(size, flip):
    torch.manual_seed(0)
    model = Pixelwise().eval()
    image = images(3, *size)
    probabilities = predict(model, image, crop=20, flip=flip)
    with torch.no_grad():
        expected = model.layer(image[None]).softmax(1)[0]
    torch.testing.assert_close(probabilities, expected)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(size))


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((20, 20), [0], [0]),
        ((21, 34), [0, 1], [0, 14]),
        ((50, 49), [0, 14, 28, 30], [0, 14, 28, 29]),
        ((13, 30), [0], [0, 10]),
        ((9, 12), [0], [0]),
    ],
)
@pytest.mark.parametrize("flip", [True, False])
def test_overlapping_crops_are_averaged(size, rows, columns, flip):
    """Crops of 20 pixels every 14, zeros around what is smaller, the larger half of them after it."""
    image, model = images(3, *size), Placed().eval()
    top, left = ((max(20 - side, 0)) // 2 for side in size)
    canvas = torch.zeros(3, *(max(side, 20) for side in size))
    canvas[:, top : top + size[0], left : left + size[1]] = image
    votes: dict[tuple[int, int], list[Tensor]] = {}
    for row in rows:
        for column in columns:
            crop = canvas[None, :, row : row + 20, column : column + 20]
            found = [model(crop)["out"].softmax(1)[0]]
            if flip:
                found.append(model(crop.flip(3))["out"].softmax(1)[0].flip(2))
            for y in range(20):
                for x in range(20):
                    votes.setdefault((row + y, column + x), []).extend(one[:, y, x] for one in found)
    expected = torch.empty(3, *size)
    for y in range(size[0]):
        for x in range(size[1]):
            expected[:, y, x] = torch.stack(votes[top + y, left + x]).mean(0)
    torch.testing.assert_close(predict(model, image, crop=20, flip=flip), expected)


def test_crops_are_batched():
    model = Pixelwise().eval()
    predict(model, images(3, 50, 49), crop=20, flip=False)  # 4 x 4 crops
    assert model.shapes == [(8, 3, 20, 20)] * 2


def test_stride_rate():
    model = Pixelwise().eval()
    predict(model, images(3, 20, 40), crop=20, flip=False, stride_rate=0.5)
    assert model.shapes == [(3, 3, 20, 20)]


@pytest.mark.parametrize(("size", "resized_to"), [((30, 50), (24, 40)), ((25, 10), (40, 16)), ((40, 40), (40, 40))])
def test_longer_side_becomes_the_base_size(size, resized_to):
    torch.manual_seed(0)
    model = Pixelwise().eval()
    image = images(3, *size)
    probabilities = predict(model, image, crop=40, base_size=40, flip=False)
    with torch.no_grad():
        smaller = F.interpolate(image[None], resized_to, mode="bilinear")
        expected = F.interpolate(model.layer(smaller).softmax(1), size, mode="bilinear")[0]
    assert model.shapes == [(1, 3, 40, 40)]
    torch.testing.assert_close(probabilities, expected)


def test_base_size_interpolates_between_pixel_centres():
    model = Pixelwise().eval()
    with torch.no_grad():
        model.layer.weight.zero_()[0, 0] = 1
        model.layer.bias.zero_()
    ramp = torch.arange(8.0).expand(3, 8, 8)
    probabilities = predict(model, ramp, crop=4, base_size=4, flip=False)
    # Columns of the half size lie midway between two pixels: 0.5, 2.5, 4.5, 6.5.
    logits = torch.stack([torch.tensor([0.5, 2.5, 4.5, 6.5]), *torch.zeros(3, 4)])
    p = logits.softmax(0)[0]
    mixed = [p[0], *(w * p[i] + (1 - w) * p[i + 1] for i in range(3) for w in (0.75, 0.25)), p[3]]
    torch.testing.assert_close(probabilities[0], torch.stack(mixed).expand(8, 8))
