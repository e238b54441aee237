"""ResNets with basic blocks (ResNet18) and with bottlenecks (ResNet50), on timm's ResNet.

AutoBSS, appendix B.2.1 and Figure 5: a 7x7 stem and a max-pool (stage 1), four stages of residual blocks (2-5), pooling
and a linear layer (stage 6). ResNet18's stem is as wide as C2; ResNet50's is always 64 wide.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from timm.layers import get_act_layer, get_norm_layer
from timm.models.resnet import BasicBlock, Bottleneck, ResNet, downsample_avg, downsample_conv
from torch import nn

from ..codes import Code, Field
from ..cost import Cost, conv_bn, linear
from .family import Family, halved

_STAGES = range(2, 6)
# Arguments of timm's class that would make another family.
_FIXED = {"stem_type", "stem_width", "replace_stem_pool", "cardinality", "base_width", "block_reduce_first"}


class CodedBottleneck(Bottleneck):
    """timm's bottleneck with a width of its own, where timm's is always a quarter of the output.

    Args:
        inplanes, planes: Input and output channels.
        width: Channels of the 3x3 convolution, the code's B.
        stride_first: Stride in the first 1x1 convolution (v1) and not in the 3x3 (v1.5).
        *args, **kwargs: As in timm's class.
    """

    expansion = 1

    def __init__(self, inplanes: int, planes: int, *args, width: int, stride_first: bool = False, **kwargs) -> None:
        kwargs["base_width"] = 64 * (width + 0.5) / planes  # timm floors planes * base_width / 64
        super().__init__(inplanes, planes, *args, **kwargs)
        if stride_first:  # under anti-aliasing neither has a stride: the blur after the 3x3 has it
            self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class CodedResNet(ResNet):
    """timm's ResNet with any stem width, and optionally the stem for small images.

    Args:
        block: Block class of each stage.
        layers, channels: Blocks and `planes` of each stage.
        stem: Channels of the stem.
        small: A 3x3 stem of stride 1 without max-pool, so that the output stride is 8 and not 32.
        **kwargs: As in timm's class.
    """

    def __init__(self, block, layers, channels, stem: int = 64, small: bool = False, output_stride=None, **kwargs):
        for fixed in sorted(_FIXED & kwargs.keys()):
            raise TypeError(f"{fixed} is fixed by the family of the code")
        shrink = 4 if small else 1  # timm counts strides from a stem and max-pool of 4
        if output_stride is None:
            output_stride = 32 // shrink
        if output_stride * shrink not in (8, 16, 32):
            raise ValueError(
                f"output_stride: expected {8 // shrink}, {16 // shrink} or {32 // shrink}, got {output_stride!r}"
            )
        super().__init__(block, layers, channels=channels, output_stride=output_stride * shrink, **kwargs)
        if small or stem != 64:
            self._replace_stem(block[0], channels[0], stem, small, **kwargs)
        if small:
            infos: Any = self.feature_info
            for info in infos:
                info["reduction"] = max(info["reduction"] // 4, 1)

    def _replace_stem(
        self, block, planes, stem, small, in_chans=3, act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d, aa_layer=None,
        avg_down=False, block_args=None, zero_init_last=True, device=None, dtype=None, **kwargs,
    ):  # fmt: skip
        dd = {"device": device, "dtype": dtype}
        norm_layer, act_layer = get_norm_layer(norm_layer), get_act_layer(act_layer)
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(in_chans, stem, kernel, stride, kernel // 2, bias=False, **dd)
        self.bn1 = norm_layer(stem, **dd)
        if small:
            self.maxpool = nn.Identity()
        elif aa_layer is not None and not issubclass(aa_layer, nn.AvgPool2d):
            self.maxpool = nn.Sequential(nn.MaxPool2d(3, 1, 1), aa_layer(channels=stem, stride=2, **dd))
        downsample = None
        if stem != planes * block.expansion:
            make = downsample_avg if avg_down else downsample_conv
            downsample = make(stem, planes * block.expansion, kernel_size=1, norm_layer=norm_layer, **dd)
        # Only the first block sees the stem's width.
        self.layer1[0] = block(
            stem, planes, 1, downsample, act_layer=act_layer, norm_layer=norm_layer, aa_layer=aa_layer,
            **(block_args or {}), **dd,
        )  # fmt: skip
        self.feature_info[0]["num_chs"] = stem
        self.init_weights(zero_init_last=zero_init_last)


@dataclass(frozen=True)
class ResNetFamily(Family):
    """Common to both kinds of block.

    Attributes:
        stem: Channels of the stem; C2 when None.
    """

    stem: int | None = None

    first_conv = "conv1"
    classifier = "fc"

    def _network(self, code: Code, blocks: list, stem: int, **kwargs) -> nn.Module:
        return CodedResNet(blocks, code.layers, code.channels, stem=stem, small=self.small, **kwargs)

    def _stage_costs(self, codes: np.ndarray, size: int, in_chans: int, num_classes: int) -> list[tuple[str, Cost]]:
        channels, layers = codes[:4], codes[4:8]
        inputs = channels[0] if self.stem is None else self.stem
        side = size if self.small else halved(size)
        stages = [("stage1", conv_bn(in_chans, inputs, 3 if self.small else 7, side))]
        if not self.small:
            side = halved(side)  # the max-pool
        for i, outputs in enumerate(channels):
            stride = 1 if i == 0 else 2
            before, side = side, halved(side, stride)
            shortcut = conv_bn(inputs, outputs, 1, side) * ((inputs != outputs) | (stride == 2))
            first = self._block_cost(codes, i, inputs, before, side)
            others = self._block_cost(codes, i, outputs, side, side) * (layers[i] - 1)
            stages.append((f"stage{i + 2}", first + shortcut + others))
            inputs = outputs
        return [*stages, ("stage6", linear(inputs, num_classes))]

    @abstractmethod
    def _block_cost(self, codes: np.ndarray, i: int, inputs, side_in: int, side: int) -> Cost:
        """Cost of a block of the `i`-th stage without its shortcut; sides of its input and output."""


@dataclass(frozen=True)
class BasicResNet(ResNetFamily):
    """ResNet with basic blocks: {C2..C5, L2..L5}."""

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("C", _STAGES, 1, 16384), Field("L", _STAGES, 1, 256)

    def build(self, code: Code, **kwargs) -> nn.Module:
        stem = code.channels[0] if self.stem is None else self.stem
        return self._network(code, [BasicBlock] * 4, stem, **kwargs)

    def _block_cost(self, codes, i, inputs, side_in, side) -> Cost:
        return conv_bn(inputs, codes[i], 3, side) + conv_bn(codes[i], codes[i], 3, side)


@dataclass(frozen=True)
class BottleneckResNet(ResNetFamily):
    """ResNet with bottlenecks: {C2..C5, L2..L5, B2..B5}.

    Attributes:
        stride_first: Stride in the first 1x1 convolution of a stage (v1: detection) and not in the 3x3 (v1.5).
    """

    stem: int = 64
    stride_first: bool = False

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("C", _STAGES, 1, 16384), Field("L", _STAGES, 1, 256), Field("B", _STAGES, 1, 16384)

    def build(self, code: Code, **kwargs) -> nn.Module:
        blocks = []
        for width in code.bottlenecks:
            block = partial(CodedBottleneck, width=width, stride_first=self.stride_first)
            block.expansion = CodedBottleneck.expansion  # type: ignore[attr-defined]  # timm reads it off the class
            blocks.append(block)
        return self._network(code, blocks, self.stem, **kwargs)

    def _block_cost(self, codes, i, inputs, side_in, side) -> Cost:
        outputs, width = codes[i], codes[8 + i]
        first_side = side if self.stride_first else side_in
        return conv_bn(inputs, width, 1, first_side) + conv_bn(width, width, 3, side) + conv_bn(width, outputs, 1, side)


_RESNET18 = (64, 128, 256, 512, 2, 2, 2, 2)
_RESNET50 = (256, 512, 1024, 2048, 3, 4, 6, 3, 64, 128, 256, 512)

BasicResNet("resnet18", "resnet18", _RESNET18)
BottleneckResNet("resnet50", "resnet50", _RESNET50)
BottleneckResNet("resnet50_v1", "resnet50", _RESNET50, stride_first=True)
# Hand-made codes of the small versions: a quarter and an eighth of the full widths, 35 and 21 million MACs at 32x32.
BasicResNet("resnet18_small", "resnet18", (16, 32, 64, 128, 2, 2, 2, 2), input_size=32, small=True)
BottleneckResNet(
    "resnet50_small", "resnet50", (32, 64, 128, 256, 3, 4, 6, 3, 8, 16, 32, 64), input_size=32, small=True, stem=16
)
