"""MobileNetV2 and EfficientNet, on timm's EfficientNet.

AutoBSS, section 4.1, appendix B.2.1 and Table 7: a 3x3 stem (stage 1), a fixed stage of blocks without expansion (2),
six coded stages of inverted residuals (3-8), a 1x1 convolution, pooling and a linear layer (9). Codes are
{C3..C8, L3..L8, T3..T8}. No width is rounded: the papers' parameter counts leave no other reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from timm.layers import DropPath, create_aa, create_conv2d, get_act_layer, get_norm_act_layer
from timm.models._efficientnet_blocks import InvertedResidual
from timm.models._efficientnet_builder import decode_arch_def, efficientnet_init_weights
from timm.models.efficientnet import EfficientNet
from torch import nn

from ..codes import Code, Field
from ..cost import Cost, conv_bn, linear
from .family import Family, halved

_STAGES = range(3, 9)
_STRIDES = (2, 2, 2, 1, 2, 1)


class ExactInvertedResidual(InvertedResidual):
    """timm's inverted residual with exactly `in_chs * exp_ratio` hidden channels.

    timm rounds them to a multiple of 8: 28 x 3 = 84 becomes 88.
    """

    def __init__(
        self, in_chs, out_chs, exp_ratio, dw_kernel_size=3, stride=1, dilation=1, pad_type="", noskip=False,
        act_layer=nn.ReLU, norm_layer=nn.BatchNorm2d, aa_layer=None, se_layer=None, drop_path_rate=0.0,
        device=None, dtype=None, **fixed,
    ):  # fmt: skip
        nn.Module.__init__(self)
        dd = {"device": device, "dtype": dtype}
        hidden = round(in_chs * exp_ratio)
        norm_act = get_norm_act_layer(norm_layer, act_layer)
        use_aa = aa_layer is not None and stride > 1
        self.has_skip = in_chs == out_chs and stride == 1 and not noskip
        self.conv_s2d = self.bn_s2d = None
        self.conv_pw = create_conv2d(in_chs, hidden, 1, padding=pad_type, **dd)
        self.bn1 = norm_act(hidden, inplace=True, **dd)
        self.conv_dw = create_conv2d(
            hidden, hidden, dw_kernel_size, stride=1 if use_aa else stride, dilation=dilation, groups=hidden,
            padding=pad_type, **dd,
        )  # fmt: skip
        self.bn2 = norm_act(hidden, inplace=True, **dd)
        self.aa = create_aa(aa_layer, channels=hidden, stride=stride, enable=use_aa, **dd)
        self.se = se_layer(hidden, act_layer=act_layer, **dd) if se_layer else nn.Identity()
        self.conv_pwl = create_conv2d(hidden, out_chs, 1, padding=pad_type, **dd)
        self.bn3 = norm_act(out_chs, apply_act=False, **dd)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()


class CodedMBConvNet(EfficientNet):
    """timm's EfficientNet with exact hidden widths, and optionally a stem of stride 1 for small images."""

    def __init__(self, block_args, small: bool = False, output_stride=None, **kwargs) -> None:
        shrink = 2 if small else 1  # timm counts strides from a stem of 2
        output_stride = 32 // shrink if output_stride is None else output_stride
        if output_stride * shrink not in (2, 4, 8, 16, 32):
            valid = ", ".join(str(s // shrink) for s in (2, 4, 8, 16, 32))
            raise ValueError(f"output_stride: expected one of {valid}, got {output_stride!r}")
        super().__init__(block_args, round_chs_fn=int, output_stride=output_stride * shrink, **kwargs)
        # timm's builder has completed each dict of block_args in place to the arguments of its block.
        stages: Any = self.blocks
        for stage, stage_args in zip(stages, block_args, strict=True):
            for i, args in enumerate(stage_args):
                hidden = round(args["in_chs"] * args.get("exp_ratio", 1))
                if isinstance(stage[i], InvertedResidual) and stage[i].conv_pw.out_channels != hidden:
                    stage[i] = ExactInvertedResidual(**args)
                    efficientnet_init_weights(stage[i])
        if small:
            self.conv_stem.stride = (1, 1)
            for info in self.feature_info:
                info["reduction"] //= 2


@dataclass(frozen=True)
class MBConvFamily(Family):
    """MobileNetV2 and EfficientNet.

    Attributes:
        stem: Channels of the stem.
        fixed: Channels of the fixed stage 2.
        fixed_layers: Blocks of the fixed stage 2.
        head: Channels of the last 1x1 convolution.
        kernels: Depthwise kernels of the stages 3-8.
        squeeze_excite: Whether blocks squeeze and excite, at a quarter of their INPUT channels.
        act_layer: timm's name of the activation.
    """

    stem: int = 32
    fixed: int = 16
    fixed_layers: int = 1
    head: int = 1280
    kernels: tuple[int, ...] = (3,) * 6
    squeeze_excite: bool = False
    act_layer: str = "relu6"

    first_conv = "conv_stem"
    classifier = "classifier"
    feature_cfg = {"flatten_sequential": True}

    @property
    def fields(self) -> tuple[Field, ...]:
        least = 4 if self.squeeze_excite else 1  # of which a quarter is left
        return Field("C", _STAGES, least, 16384), Field("L", _STAGES, 1, 256), Field("T", _STAGES, 1, 64)

    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        squeeze = "_se0.25" if self.squeeze_excite else ""
        stages = [[f"ds_r{self.fixed_layers}_k3_s1_c{self.fixed}{squeeze}"]]
        for c, n, t, k, s in zip(code.channels, code.layers, code.expansions, self.kernels, _STRIDES, strict=True):
            # A block without expansion has no expanding convolution.
            block = "ds" if t == 1 else "ir"
            stages.append([f"{block}_r{n}_k{k}_s{s}_e{t}_c{c}{squeeze}"])
        kwargs["act_layer"] = get_act_layer(kwargs.get("act_layer") or self.act_layer)
        norm = {k[3:]: kwargs.pop(k) for k in ("bn_momentum", "bn_eps") if kwargs.get(k) is not None}
        if norm:
            kwargs["norm_layer"] = partial(kwargs.get("norm_layer") or nn.BatchNorm2d, **norm)
        return CodedMBConvNet(
            decode_arch_def(stages), stem_size=self.stem, num_features=self.head, small=self.small, **kwargs
        )

    def _stage_costs(self, codes: np.ndarray, size: int, in_chans: int, num_classes: int) -> list[tuple[str, Cost]]:
        channels, layers, expansions = codes[:6], codes[6:12], codes[12:]
        side = size if self.small else halved(size)
        stages = [("stage1", conv_bn(in_chans, self.stem, 3, side))]
        first = self._block_cost(self.stem, self.fixed, 1, 3, side, side)
        others = self._block_cost(self.fixed, self.fixed, 1, 3, side, side) * (self.fixed_layers - 1)
        stages.append(("stage2", first + others))
        inputs: Any = self.fixed
        for i, (outputs, kernel, stride) in enumerate(zip(channels, self.kernels, _STRIDES, strict=True)):
            before, side = side, halved(side, stride)
            first = self._block_cost(inputs, outputs, expansions[i], kernel, before, side)
            others = self._block_cost(outputs, outputs, expansions[i], kernel, side, side) * (layers[i] - 1)
            stages.append((f"stage{i + 3}", first + others))
            inputs = outputs
        head = conv_bn(inputs, self.head, 1, side) + linear(self.head, num_classes)
        return [*stages, ("stage9", head)]

    def _block_cost(self, inputs, outputs, expansion, kernel: int, side_in: int, side: int) -> Cost:
        hidden = inputs * expansion
        cost = conv_bn(hidden, hidden, kernel, side, depthwise=True) + conv_bn(hidden, outputs, 1, side)
        cost += conv_bn(inputs, hidden, 1, side_in) * (expansion > 1)
        if self.squeeze_excite:
            squeezed = np.rint(hidden * (0.25 / expansion)).astype(np.int64)  # as timm rounds
            cost += linear(hidden, squeezed) + linear(squeezed, hidden)
        return cost


_MNV2 = (24, 32, 64, 96, 160, 320, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)
_B0 = (24, 40, 80, 112, 192, 320, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6)
_B1 = (24, 40, 80, 112, 192, 320, 3, 3, 4, 4, 5, 2, 6, 6, 6, 6, 6, 6)
_SMALL_MNV2 = (12, 16, 32, 48, 80, 160, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)
_SMALL_B0 = (12, 20, 40, 56, 96, 160, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6)
_SMALL_B1 = (12, 20, 40, 56, 96, 160, 3, 3, 4, 4, 5, 2, 6, 6, 6, 6, 6, 6)

_efficientnet = partial(MBConvFamily, kernels=(3, 5, 3, 5, 5, 3), squeeze_excite=True, act_layer="swish")
# Half of the full widths, the fixed parts included.
_small: dict[str, Any] = {"input_size": 32, "small": True, "stem": 16, "fixed": 8, "head": 640}

MBConvFamily("mnv2", "mnv2", _MNV2)
# The model compression experiment's stem and stage 2 are x0.6 wide.
MBConvFamily(
    "mnv2_compressed", "mnv2", (16, 20, 40, 56, 96, 192, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6), stem=16, fixed=12
)
MBConvFamily("mnv2_small", "mnv2", _SMALL_MNV2, **_small)
_efficientnet("efficientnet_b0", "efficientnet_b0", _B0)
_efficientnet("efficientnet_b0_small", "efficientnet_b0", _SMALL_B0, **_small)
_efficientnet("efficientnet_b1", "efficientnet_b1", _B1, input_size=240, fixed_layers=2)
# The paper's searched and random codes of EfficientNet-B1 have a stage 2 of one block.
_efficientnet("efficientnet_b1_searched", "efficientnet_b1", _B1, input_size=240)
_efficientnet("efficientnet_b1_small", "efficientnet_b1", _SMALL_B1, fixed_layers=2, **_small)
