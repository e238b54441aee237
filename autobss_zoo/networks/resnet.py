"""timm's ResNet with any stem, and with blocks of any width inside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import cycle
from typing import Any

from timm.layers import create_aa, get_act_layer, get_norm_layer
from timm.models.resnet import BasicBlock, Bottleneck, ResNet, downsample_avg, downsample_conv
from torch import Tensor, nn

__all__ = ["BasicBlock", "CodedBottleneck", "CodedResNet", "blocks_in_turn", "bottlenecks"]

# Arguments of timm's class that would make another family.
_FIXED = {"stem_type", "stem_width", "replace_stem_pool", "cardinality", "base_width", "block_reduce_first"}


class CodedBottleneck(Bottleneck):
    """timm's bottleneck with a width of its own, where timm's is always a quarter of the output.

    Args:
        inplanes, planes: Input and output channels.
        width: Channels of the 3x3 convolution, the code's B.
        first: Of the first 1x1 convolution; `width` when None.
        stride_first: Stride in the first 1x1 convolution (v1) and not in the 3x3 (v1.5).
        *args, **kwargs: As in timm's class.
    """

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, *args, width: int, first: int | None = None, stride_first=False, **kwargs
    ) -> None:
        kwargs["base_width"] = 64 * (width + 0.5) / planes  # timm floors planes * base_width / 64
        super().__init__(inplanes, planes, *args, **kwargs)
        if first not in (None, width):
            _replace_between(self, first, **kwargs)
        if stride_first:  # under anti-aliasing neither has a stride: the blur after the 3x3 has it
            self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class CodedBasicBlock(BasicBlock):
    """timm's basic block with a width of its own between its two convolutions.

    Args:
        inplanes, planes: Input and output channels.
        width: Channels between the convolutions.
        *args, **kwargs: As in timm's class.
    """

    def __init__(self, inplanes: int, planes: int, *args, width: int, **kwargs) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        if width != planes:
            _replace_between(self, width, **kwargs)
            if kwargs.get("aa_layer") and not isinstance(self.aa, nn.Identity):
                self.aa = create_aa(kwargs["aa_layer"], channels=width, stride=2, **_place(kwargs))


def _replace_between(block: Any, width: int, norm_layer: Any = nn.BatchNorm2d, **kwargs: Any) -> None:
    """Replace a block's first two convolutions and what is between them by ones with `width` channels between."""
    before, after = block.conv1, block.conv2
    block.conv1, block.bn1 = _like(before, out_channels=width, **_place(kwargs)), norm_layer(width, **_place(kwargs))
    block.conv2 = _like(after, in_channels=width, **_place(kwargs))


def _like(conv: nn.Conv2d, **changes: Any) -> nn.Conv2d:
    """A convolution like another one but for some arguments."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    return nn.Conv2d(**{**{name: getattr(conv, name) for name in names}, "bias": False, **changes})


def _place(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"device": kwargs.get("device"), "dtype": kwargs.get("dtype")}


class CodedResNet(ResNet):
    """timm's ResNet with any stem, up to four stages, and the right strides where the stem has another.

    Args:
        block: Block class of each stage.
        layers, channels: Blocks and `planes` of each stage.
        stem: Channels of the stem.
        reduction: Stride of the stem: 4 is timm's 7x7 convolution and max-pool; 2 or 1 are a 3x3 convolution of that
            stride, for small images.
        **kwargs: As in timm's class.
    """

    def __init__(self, block, layers, channels, stem: int = 64, reduction: int = 4, output_stride=None, **kwargs):
        for fixed in sorted(_FIXED & kwargs.keys()):
            raise TypeError(f"{fixed} is fixed by the family of the code")
        shrink = 4 // reduction  # timm counts strides from a stem and max-pool of 4
        if output_stride is None:
            output_stride = 32 // shrink
        if output_stride * shrink not in (8, 16, 32):
            raise ValueError(
                f"output_stride: expected {8 // shrink}, {16 // shrink} or {32 // shrink}, got {output_stride!r}"
            )
        super().__init__(block, layers, channels=channels, output_stride=output_stride * shrink, **kwargs)
        for number in range(len(layers) + 1, 5):
            self.add_module(f"layer{number}", nn.Sequential())
        if reduction < 4 or stem != 64:
            self._replace_stem(block[0], channels[0], stem, reduction, **kwargs)
        if reduction < 4:
            infos: Any = self.feature_info
            for info in infos:
                info["reduction"] = max(info["reduction"] // shrink, 1)
            infos[0]["reduction"] = reduction

    def _replace_stem(
        self, block, planes, stem, reduction, in_chans=3, act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d, aa_layer=None,
        avg_down=False, block_args=None, zero_init_last=True, device=None, dtype=None, **kwargs,
    ):  # fmt: skip
        dd = {"device": device, "dtype": dtype}
        norm_layer, act_layer = get_norm_layer(norm_layer), get_act_layer(act_layer)
        kernel, stride = (7, 2) if reduction == 4 else (3, reduction)
        self.add_module("conv1", nn.Conv2d(in_chans, stem, kernel, stride, kernel // 2, bias=False, **dd))
        self.bn1 = norm_layer(stem, **dd)
        if reduction < 4:
            self.add_module("maxpool", nn.Identity())
        elif aa_layer is not None and not issubclass(aa_layer, nn.AvgPool2d):
            self.maxpool = nn.Sequential(nn.MaxPool2d(3, 1, 1), aa_layer(channels=stem, stride=2, **dd))
        downsample = None
        if stem != planes * block.expansion:
            make = downsample_avg if avg_down else downsample_conv
            downsample = make(stem, planes * block.expansion, kernel_size=1, norm_layer=norm_layer, **dd)
        # Only the first block sees the stem's width.
        first: Any = self.layer1
        first[0] = block(
            stem, planes, 1, downsample, act_layer=act_layer, norm_layer=norm_layer, aa_layer=aa_layer,
            **(block_args or {}), **dd,
        )  # fmt: skip
        self.feature_info[0]["num_chs"] = stem
        self.init_weights(zero_init_last=zero_init_last)

    def parts(self) -> list[nn.Module]:
        """As of `Family.parts`."""
        pool = [] if isinstance(self.maxpool, nn.Identity) else [self.maxpool]
        blocks = [block for number in range(1, 5) for block in getattr(self, f"layer{number}")]
        stem = nn.Sequential(self.conv1, self.bn1, self.act1)
        return [stem, *pool, *blocks, nn.Sequential(self.global_pool, self.fc)]

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, *args: Any, **kwargs: Any
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """As in timm's class; by default the stages that there are."""
        return super().forward_intermediates(
            x, list(range(len(self.feature_info))) if indices is None else indices, *args, **kwargs
        )


def blocks_in_turn(widths: Sequence[tuple[int, ...]]) -> Any:
    """A block class of a stage, as timm's ResNet takes it, whose blocks have the widths in turn.

    Args:
        widths: Of each block: between the convolutions of a basic block, or of the first 1x1 and the 3x3 convolution of
            a bottleneck.
    """
    if len(widths[0]) == 1:
        return _InTurn(CodedBasicBlock, [{"width": width} for (width,) in widths])
    return _InTurn(CodedBottleneck, [{"first": first, "width": width} for first, width in widths])


class _InTurn:
    """A class of blocks, each of which gets the next width; after the last the first again, which timm builds anew."""

    def __init__(self, block: Any, widths: Sequence[dict[str, int]]) -> None:
        self.expansion, self._block, self._widths = block.expansion, block, cycle(widths)

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Module:
        return self._block(*args, **next(self._widths), **kwargs)


def bottlenecks(widths: Sequence[int], stride_first: bool) -> list[Any]:
    """A block class for each stage, as timm's ResNet takes them.

    Args:
        widths: Of the stages' 3x3 convolutions.
        stride_first: As of `CodedBottleneck`.
    """
    blocks: list[Any] = [partial(CodedBottleneck, width=width, stride_first=stride_first) for width in widths]
    for block in blocks:
        block.expansion = CodedBottleneck.expansion  # timm reads it off the class
    return blocks
