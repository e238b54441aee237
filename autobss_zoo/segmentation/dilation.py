"""Denser features from the weights of a classifier (the a trous algorithm)."""

from __future__ import annotations

from typing import Any

from torch import nn


def dilate(backbone: Any, output_stride: int) -> None:
    """Replace a ResNet's strides beyond `output_stride` by dilation of the convolutions after them, in place.

    At the positions that the strides would have kept, the features do not change. timm's `output_stride` makes the same
    network only where the strided stages also widen: elsewhere it has no convolution in their shortcuts, for which a
    classifier has weights; and it takes all strides to be in the 3x3 convolutions.

    Args:
        backbone: timm's ResNet.
        output_stride: The largest that remains.
    """
    dilation = 1
    for stage in backbone.feature_info:
        if stage["reduction"] <= output_stride:
            continue
        stage["reduction"] = output_stride
        for block in backbone.get_submodule(stage["module"]):
            for conv in (child for child in block.children() if isinstance(child, nn.Conv2d)):
                conv.dilation = (dilation, dilation)
                conv.padding = tuple(side // 2 * dilation for side in conv.kernel_size)
                dilation *= conv.stride[0]
                conv.stride = (1, 1)
            if block.downsample is not None:
                block.downsample[0].stride = (1, 1)
