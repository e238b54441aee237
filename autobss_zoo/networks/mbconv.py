"""timm's EfficientNet with exact hidden widths: inverted residuals as the papers have them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.layers import DropPath, create_aa, create_conv2d, get_act_layer, get_norm_act_layer
from timm.models.efficientnet import EfficientNet
from torch import nn

from ..timm_private import InvertedResidual, SqueezeExcite, decode_arch_def, efficientnet_init_weights

HARD_SQUEEZE_EXCITE = partial(SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU)
"""Squeeze-excite with a ReLU and an h-sigmoid, an argument `se_layer` of networks."""


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

    def parts(self) -> list[nn.Module]:
        """As of `Family.parts`."""
        stages: Any = self.blocks
        blocks = [block for stage in stages for block in stage]
        head = [] if isinstance(self.conv_head, nn.Identity) else [nn.Sequential(self.conv_head, self.bn2)]
        classifier = nn.Sequential(self.global_pool, self.classifier)
        return [nn.Sequential(self.conv_stem, self.bn1), *blocks, *head, classifier]


def network_of(stages: Sequence[Sequence[str]], activation: str, **kwargs: Any) -> CodedMBConvNet:
    """A network from timm's texts.

    Args:
        stages: The blocks of each stage as `decode_arch_def` reads them, e.g. "ir_r2_k3_s2_e6_c24". An expansion that
            is no integer, hidden / inputs, gives exactly the hidden width.
        activation: timm's name of it, unless the arguments have an act_layer.
        **kwargs: Of the class, and bn_momentum and bn_eps.
    """
    kwargs["act_layer"] = get_act_layer(kwargs.get("act_layer") or activation)
    norm = {key[3:]: kwargs.pop(key) for key in ("bn_momentum", "bn_eps") if kwargs.get(key) is not None}
    if norm:
        kwargs["norm_layer"] = partial(kwargs.get("norm_layer") or nn.BatchNorm2d, **norm)
    return CodedMBConvNet(decode_arch_def(stages), **kwargs)
