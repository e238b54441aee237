"""MobileNetV2 and EfficientNet, on timm's EfficientNet.

AutoBSS, section 4.1, appendix B.2.1 and Table 7: a 3x3 stem (stage 1), a fixed stage of blocks without expansion (2),
six coded stages of inverted residuals (3-8), a 1x1 convolution, pooling and a linear layer (9). Codes are
{C3..C8, L3..L8, T3..T8}. No width is rounded: the papers' parameter counts leave no other reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .family import Family
from .plan import Block, Conv, InvertedResidual, Linear, Plan, Stage

if TYPE_CHECKING:
    from torch import nn

_STAGES = tuple(range(3, 9))
_STRIDES = (2, 2, 2, 1, 2, 1)


def squeezed(hidden: Any, expansion: Any) -> Any:
    """The channels to which squeeze-excite reduces hidden ones: a quarter of the block's inputs, as timm rounds it."""
    return np.rint(hidden * (0.25 / expansion)).astype(np.int64)


class OnEfficientNet(Family):
    """Networks of timm's EfficientNet class."""

    first_conv = "conv_stem"
    classifier = "classifier"

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        return {"flatten_sequential": True}


@dataclass(frozen=True)
class MBConvFamily(OnEfficientNet):
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

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        least = 4 if self.squeeze_excite else 1  # of which a quarter is left
        channels = Field("C", "channels", _STAGES, low=least, scales=True)
        return channels, Field("L", "blocks", _STAGES, high=256), Field("T", "expansion", _STAGES, high=64)

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.mbconv import network_of

        squeeze = "_se0.25" if self.squeeze_excite else ""
        stages = [[f"ds_r{self.fixed_layers}_k3_s1_c{self.fixed}{squeeze}"]]
        for c, n, t, k, s in zip(code.channels, code.layers, code.expansions, self.kernels, _STRIDES, strict=True):
            # A block without expansion has no expanding convolution.
            block = "ds" if t == 1 else "ir"
            stages.append([f"{block}_r{n}_k{k}_s{s}_e{t}_c{c}{squeeze}"])
        fixed = {"stem_size": self.stem, "num_features": self.head, "small": self.small}
        return network_of(stages, self.act_layer, **fixed, **kwargs)

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        stem = Conv(setting.in_chans, self.stem, setting.input_size, 3, 1 if self.small else 2)
        blocks = self._blocks(self.stem, self.fixed, 1, self.fixed_layers, stem.side_out, 3, 1)
        stages = [Stage("stage1", (stem,)), Stage("stage2", blocks)]
        fields = (elements["C"], elements["T"], elements["L"])
        for place, outputs, expansion, times, kernel, stride in zip(
            _STAGES, *fields, self.kernels, _STRIDES, strict=True
        ):
            last = stages[-1]
            blocks = self._blocks(last.outputs, outputs, expansion, times, last.side_out, kernel, stride)
            stages.append(Stage(f"stage{place}", blocks, self.layout.at(place)))
        last = stages[-1]
        head = Conv(last.outputs, self.head, last.side_out), Linear(self.head, setting.num_classes, last.side_out)
        return Plan((*stages, Stage("stage9", head)))

    def _blocks(
        self, inputs: Any, outputs: Any, expansion: Any, times: Any, side: Any, kernel: int, stride: int
    ) -> tuple[Block, Block]:
        """A stage's first block, and those after it."""

        def inside(channels: Any) -> dict[str, Any]:
            hidden = channels * expansion
            return {"hidden": hidden, "squeeze_excite": squeezed(hidden, expansion) if self.squeeze_excite else 0}

        first = InvertedResidual(inputs, outputs, side, kernel, stride, **inside(inputs), expands=expansion > 1)
        return first.repeated(times, **inside(outputs))


_MNV2 = (24, 32, 64, 96, 160, 320, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)
_COMPRESSED = (16, 20, 40, 56, 96, 192, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)
_B0 = (24, 40, 80, 112, 192, 320, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6)
_B1 = (24, 40, 80, 112, 192, 320, 3, 3, 4, 4, 5, 2, 6, 6, 6, 6, 6, 6)
_B2 = (24, 48, 88, 120, 208, 352, 3, 3, 4, 4, 5, 2, 6, 6, 6, 6, 6, 6)
_B3 = (32, 48, 96, 136, 232, 384, 3, 3, 5, 5, 6, 2, 6, 6, 6, 6, 6, 6)
_B4 = (32, 56, 112, 160, 272, 448, 4, 4, 6, 6, 8, 2, 6, 6, 6, 6, 6, 6)
_B5 = (40, 64, 128, 176, 304, 512, 5, 5, 7, 7, 9, 3, 6, 6, 6, 6, 6, 6)
_SMALL_MNV2 = (12, 16, 32, 48, 80, 160, 2, 3, 4, 3, 3, 1, 6, 6, 6, 6, 6, 6)
_SMALL_B0 = (12, 20, 40, 56, 96, 160, 2, 2, 3, 3, 4, 1, 6, 6, 6, 6, 6, 6)
_SMALL_B1 = (12, 20, 40, 56, 96, 160, 3, 3, 4, 4, 5, 2, 6, 6, 6, 6, 6, 6)

_efficientnet = partial(MBConvFamily, kernels=(3, 5, 3, 5, 5, 3), squeeze_excite=True, act_layer="swish")
# Half of the full widths, the fixed parts included.
_small: dict[str, Any] = {"input_size": 32, "small": True, "stem": 16, "fixed": 8, "head": 640}

FAMILIES = (
    MBConvFamily("mnv2", "mnv2", _MNV2),
    # The model compression experiment's stem and stage 2 are x0.6 wide.
    MBConvFamily("mnv2_compressed", "mnv2", _COMPRESSED, stem=16, fixed=12),
    MBConvFamily("mnv2_small", "mnv2", _SMALL_MNV2, **_small),
    _efficientnet("efficientnet_b0", "efficientnet_b0", _B0),
    _efficientnet("efficientnet_b0_small", "efficientnet_b0", _SMALL_B0, **_small),
    _efficientnet("efficientnet_b1", "efficientnet_b1", _B1, input_size=240, fixed_layers=2),
    # The paper's searched and random codes of EfficientNet-B1 have a stage 2 of one block.
    _efficientnet("efficientnet_b1_searched", "efficientnet_b1", _B1, input_size=240),
    # Compound scaling (Tan and Le, 2019) also scales the fixed parts, all to multiples of 8.
    _efficientnet("efficientnet_b2", "efficientnet_b2", _B2, input_size=260, fixed_layers=2, head=1408),
    _efficientnet(
        "efficientnet_b3", "efficientnet_b3", _B3, input_size=300, stem=40, fixed=24, fixed_layers=2, head=1536
    ),
    _efficientnet(
        "efficientnet_b4", "efficientnet_b4", _B4, input_size=380, stem=48, fixed=24, fixed_layers=2, head=1792
    ),
    _efficientnet(
        "efficientnet_b5", "efficientnet_b5", _B5, input_size=456, stem=48, fixed=24, fixed_layers=3, head=2048
    ),
    _efficientnet("efficientnet_b1_small", "efficientnet_b1", _SMALL_B1, fixed_layers=2, **_small),
)
