"""Convolutions that a CPU computes badly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autobss_zoo import Code, Setting, TrainingRecipe, create_model, get_family, train
from autobss_zoo.cost import count_network
from autobss_zoo.training.convolutions import PointConv2d, SmallImageConv2d, replace_convolutions


@pytest.mark.parametrize(("groups", "outputs"), [(1, 8), (4, 8), (4, 4)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [(1, 1), (2, 2), (1, 2), (3, 2), (4, 4), (9, 9)])
def test_small_images_are_computed_as_by_a_convolution(
    side: tuple[int, int], kernel: int, stride: int, groups: int, outputs: int
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, outputs, kernel, stride, kernel // 2, groups=groups).double()
    small = copy.deepcopy(plain)
    replace_convolutions(small)
    assert type(small) is SmallImageConv2d
    images = torch.randn(3, 4, *side, dtype=torch.double)
    compare(plain, small, images)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [(1, 1), (7, 8), (96, 96)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, (1, 2)])
def test_points_are_computed_as_by_a_convolution(
    stride: int | tuple[int, int], groups: int, side: tuple[int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 4 if groups == 4 else 6, 1, stride, groups=groups).double().to(memory_format=layout)
    points = copy.deepcopy(plain)
    replace_convolutions(points)
    assert type(points) is PointConv2d
    compare(plain, points, torch.randn(3, 4, *side, dtype=torch.double).contiguous(memory_format=layout))


@pytest.mark.parametrize("channels", range(1, 10))
def test_gradients_of_few_channels_are_right_and_write_nowhere_else(channels: int) -> None:
    """oneDNN's own end in damaged memory, in most runs in a crash."""
    torch.manual_seed(0)
    points = nn.Conv2d(channels, 12, 1, 2, bias=False).to(memory_format=torch.channels_last)
    replace_convolutions(points)
    for _ in range(5):
        images = torch.randn(64, channels, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
        output = points(images)
        weights = torch.randn_like(output)
        points.zero_grad()
        (output * weights).sum().backward()
        expected = torch.einsum("nohw,nihw->oi", weights.double(), images.detach()[..., ::2, ::2].double())
        assert points.weight.grad is not None
        torch.testing.assert_close(points.weight.grad[..., 0, 0].double(), expected, rtol=1e-4, atol=1e-2)


def compare(plain: nn.Conv2d, other: nn.Conv2d, images: torch.Tensor) -> None:
    """Outputs and all gradients of two convolutions."""
    outputs = []
    for convolution in (plain, other):
        own = images.clone().requires_grad_()
        output = convolution(own)
        output.square().sum().backward()
        outputs.append((output, own.grad, convolution.weight.grad, convolution.bias.grad))
    for expected, got in zip(*outputs, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 1, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ],
    ids=["unpadded", "padded 1x1", "dilated", "not square", "same", "circular"],
)
def test_other_convolutions_stay(convolution: nn.Conv2d) -> None:
    replace_convolutions(convolution)
    assert type(convolution) is nn.Conv2d


def test_a_network_keeps_its_weights_and_outputs() -> None:
    code = "mnv2_small{12,16,32,48,80,160,2,3,4,3,3,1,6,6,6,6,6,6}"
    network = create_model(code, in_chans=1, num_classes=10).eval()
    images = torch.randn(2, 1, 7, 7)
    with torch.no_grad():
        expected, weights = network(images), network.state_dict()
        replace_convolutions(network)
        torch.testing.assert_close(network(images), expected)
    assert network.state_dict().keys() == weights.keys()


def test_a_trained_network_has_ordinary_ones() -> None:
    """Of which 3x3 kernels on single pixels count as they do in the closed form and in an exported graph."""
    code = Code.parse("resnet50_small{8,16,32,64,1,1,1,2,2,4,8,16}")
    recipe = {"base": "small/digits", "model": str(code), "input_size": 8, "epochs": 1, "warmup_epochs": 0}
    _, network = train(TrainingRecipe.load(recipe, {"train_images": 64})[0])
    setting = Setting(input_size=8, in_chans=1, num_classes=10)
    assert count_network(network, setting) == get_family(code.family).cost(code, setting)
