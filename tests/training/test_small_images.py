"""Convolutions of images that are smaller than their kernels."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autobss_zoo import create_model
from autobss_zoo.training.small_images import SmallImageConv2d


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("side", [(1, 1), (2, 2), (1, 2), (3, 2), (4, 4), (9, 9)])
def test_it_computes_what_a_convolution_computes(side: tuple[int, int], kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 8, kernel, stride, kernel // 2, groups=groups).double()
    small = copy.deepcopy(plain)
    SmallImageConv2d.replace(small)
    assert type(small) is SmallImageConv2d
    images = torch.randn(3, 4, *side, dtype=torch.double)
    outputs = []
    for convolution in (plain, small):
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
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    ],
    ids=["unpadded", "1x1", "dilated", "not square", "same", "circular"],
)
def test_other_convolutions_stay(convolution: nn.Conv2d) -> None:
    SmallImageConv2d.replace(convolution)
    assert type(convolution) is nn.Conv2d


def test_a_network_keeps_its_weights_and_outputs() -> None:
    code = "mnv2_small{12,16,32,48,80,160,2,3,4,3,3,1,6,6,6,6,6,6}"
    network = create_model(code, in_chans=1, num_classes=10).eval()
    images = torch.randn(2, 1, 7, 7)
    with torch.no_grad():
        expected, weights = network(images), network.state_dict()
        SmallImageConv2d.replace(network)
        torch.testing.assert_close(network(images), expected)
    assert network.state_dict().keys() == weights.keys()
