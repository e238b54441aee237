"""Convolutions whose kernels are larger than their images: what a network's last stages compute on small images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class SmallImageConv2d(nn.Conv2d):
    """A convolution that computes the same in less time on a CPU where images are smaller than its kernel.

    oneDNN has no quick gradient of such weights: a depthwise kernel of 3x3 pixels takes 10 to 100 times as long on
    images of 2x2 or 1x1 pixels as on larger ones. So taps that only ever meet the padding are cut off, and images
    that a depthwise kernel is still larger than are padded on one side, where their outputs are left out again.
    """

    @classmethod
    def replace(cls, network: nn.Module) -> None:
        """Let a network's convolutions be computed in this way, where they are padded by half of an odd kernel."""
        for module in network.modules():
            if type(module) is nn.Conv2d and _is_centred(module):
                module.__class__ = cls

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As nn.Conv2d's: images of shape (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        height, width = input.shape[-2:]
        weight, padding = self.weight, self.kernel_size[0] // 2
        cut = padding - (max(height, width) - 1)
        if cut > 0:
            weight, padding = weight[..., cut:-cut, cut:-cut], padding - cut
        kernel, stride = weight.shape[-1], self.stride[0]
        missing = kernel - min(height, width) if self.groups > 1 else 0
        if missing > 0:
            input = functional.pad(input, (0, missing, 0, missing))
        output = functional.conv2d(input, weight, self.bias, stride, padding, 1, self.groups)
        return output[..., : -(-height // stride), : -(-width // stride)] if missing > 0 else output


def _is_centred(convolution: nn.Conv2d) -> bool:
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
