"""The pyramid pooling module of PSPNet (Zhao et al., CVPR 2017, section 3.2 and Figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from .layers import resize

BINS = (1, 2, 3, 6)


class PyramidPooling(nn.Module):
    """Features, and beside them their means over 1x1, 2x2, 3x3 and 6x6 regions, each with a quarter of the channels.

    In training a batch needs two images: batch norm has but one value of each image and channel at 1x1.

    Args:
        channels: Of the features.

    Attributes:
        out_channels: Of the output: twice `channels` where 4 divides them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // len(BINS)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), Conv2dNormActivation(channels, quarter, 1)) for bins in BINS
        )
        self.out_channels = channels + len(BINS) * quarter

    def forward(self, features: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, out_channels, h, w)."""
        levels = [resize(level(features), features.shape[-2:]) for level in self.levels]
        return torch.cat([features, *levels], dim=1)
