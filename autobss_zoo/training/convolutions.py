"""Convolutions that a CPU computes badly, computed otherwise."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_FEW = 1 << 13  # pixels of a batch, of which a product of matrices is at least as quick as a convolution


def replace_convolutions(network: nn.Module) -> None:
    """Let a network's convolutions compute the same in ways that suit a CPU; weights and their names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            if _is_centred(module):
                module.__class__ = SmallImageConv2d
            elif module.kernel_size == (1, 1) and module.padding == (0, 0):
                module.__class__ = PointConv2d


def restore_convolutions(network: nn.Module) -> None:
    """Make them ordinary ones again, which those who export a network or count its MACs expect."""
    for module in network.modules():
        if type(module) in (SmallImageConv2d, PointConv2d):
            module.__class__ = nn.Conv2d


class PointConv2d(nn.Conv2d):
    """A 1x1 convolution, computed of those pixels alone that it reads, and quickly where they are few.

    In the gradient of its weights with a stride oneDNN writes past its memory where there are fewer input channels than
    its blocks have, 8 with AVX2 (uxlfoundation/oneDNN#6035).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As nn.Conv2d's: images of shape (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        if self.stride != (1, 1):
            input = input[..., :: self.stride[0], :: self.stride[1]].clone()
        return _points(input, self.weight, self.bias, self.groups)


class SmallImageConv2d(nn.Conv2d):
    """A convolution that computes the same in less time on a CPU where images are smaller than its kernel.

    oneDNN has no quick gradient of such weights: a depthwise kernel of 3x3 pixels takes 10 to 100 times as long on
    images of 2x2 or 1x1 pixels as on larger ones. So taps that only ever meet the padding are cut off, and images
    that a depthwise kernel is still larger than are padded on one side, where their outputs are left out again.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As nn.Conv2d's: images of shape (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        height, width = input.shape[-2:]
        weight, padding = self.weight, self.kernel_size[0] // 2
        cut = padding - (max(height, width) - 1)
        if cut > 0:
            weight, padding = weight[..., cut:-cut, cut:-cut], padding - cut
        kernel, stride = weight.shape[-1], self.stride[0]
        if kernel == 1:
            return _points(input, weight, self.bias, self.groups)
        missing = kernel - min(height, width) if self.groups > 1 else 0
        if missing > 0:
            input = functional.pad(input, (0, missing, 0, missing))
        output = functional.conv2d(input, weight, self.bias, stride, padding, 1, self.groups)
        if missing > 0:  # a clone, since what follows takes twice as long where there are gaps between pixels
            output = output[..., : -(-height // stride), : -(-width // stride)].clone()
        return output


def _points(pixels: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, groups: int) -> torch.Tensor:
    """A 1x1 convolution without a stride, of few pixels without oneDNN, whose every call takes 0.1 to 0.5 ms."""
    n, channels, height, width = pixels.shape
    if groups == 1 and n * height * width <= _FEW and pixels.is_contiguous(memory_format=torch.channels_last):
        return functional.linear(pixels.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    if groups == channels == len(weight) and height == width == 1:
        scaled = pixels * weight.view(-1, 1, 1)
        return scaled if bias is None else scaled + bias.view(-1, 1, 1)
    return functional.conv2d(pixels, weight, bias, groups=groups)


def _is_centred(convolution: nn.Conv2d) -> bool:
    """Whether a convolution is padded by half of an odd kernel."""
    kernel = convolution.kernel_size[0]
    return (
        kernel > 1
        and kernel % 2 == 1
        and convolution.kernel_size == (kernel, kernel)
        and convolution.padding == (kernel // 2, kernel // 2)
        and convolution.stride[0] == convolution.stride[1]
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
    )
