"""MobileNetV1, and MobileNetV2 with the stem and the head in the code, on timm's EfficientNet.

The networks that "A Gradient-based Architecture HyperParameter Optimization Approach" (2020), Tables 1 and 2, searches
and rescales uniformly. MobileNetV1's codes are {C1..C6, L2..L6}, MobileNetV2's {C1..C9, L2..L8}: C1 is the stem, C9 the
last 1x1 convolution. This MobileNetV2 has a 1x1 convolution also in the block of expansion 1: with it the tables' MACs
are reproduced (313.6M at full width), without it (300.8M) none of them is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .mbconv import OnEfficientNet
from .plan import Block, Conv, DepthwiseSeparable, InvertedResidual, Linear, Plan, Stage

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class MobileNet(OnEfficientNet):
    """A stem, stages of blocks with depthwise convolutions, and a head.

    Attributes:
        strides: Of the stages.
        expansions: Of the stages' inverted residuals; None for MobileNetV1's blocks, after which no 1x1 convolution
            comes before the pooling.
    """

    strides: tuple[int, ...] = (1, 2, 2, 2, 2)
    expansions: tuple[int, ...] | None = None

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        last = len(self.strides) + 1
        widths = range(1, last + 1 if self.expansions is None else last + 2)
        return Field("C", "channels", tuple(widths), scales=True), Field(
            "L", "blocks", tuple(range(2, last + 1)), high=256
        )

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.mbconv import network_of

        stem, *widths = code.channels
        stages = list(zip(code.layers, self.strides, widths, strict=False))
        if self.expansions is None:
            texts, head = [[f"dsa_r{n}_k3_s{s}_c{c}"] for n, s, c in stages], 0
        else:
            expanded = zip(stages, self.expansions, strict=True)
            texts, head = [[f"ir_r{n}_k3_s{s}_e{e}_c{c}"] for (n, s, c), e in expanded], widths[-1]
        return network_of(texts, "relu6", stem_size=stem, num_features=head, small=self.small, **kwargs)

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        stem, *widths = elements["C"]
        conv = Conv(setting.in_chans, stem, setting.input_size, 3, 1 if self.small else 2)
        stages = [Stage("stage1", (conv,), ("C1",))]
        for place, (outputs, times, stride) in enumerate(zip(widths, elements["L"], self.strides, strict=False), 2):
            blocks = self._blocks(place, stages[-1], outputs, stride, times)
            stages.append(Stage(f"stage{place}", blocks, self.layout.at(place)))
        last, place = stages[-1], len(stages) + 1
        if self.expansions is None:
            linear = Linear(last.outputs, setting.num_classes, last.side_out)
            return Plan((*stages, Stage(f"stage{place}", (linear,))))
        head = Conv(last.outputs, widths[-1], last.side_out), Linear(widths[-1], setting.num_classes, last.side_out)
        return Plan((*stages, Stage(f"stage{place}", head, (f"C{place}",))))

    def _blocks(self, place: int, before: Stage, outputs: Any, stride: int, times: Any) -> tuple[Block, Block]:
        """A stage's first block, and those after it."""
        inputs, side = before.outputs, before.side_out
        if self.expansions is None:
            return DepthwiseSeparable(inputs, outputs, side, 3, stride).repeated(times)
        expansion = self.expansions[place - 2]
        first = InvertedResidual(inputs, outputs, side, 3, stride, inputs * expansion)
        return first.repeated(times, hidden=outputs * expansion)


_MNV1 = (32, 64, 128, 256, 512, 1024, 1, 2, 2, 6, 2)
_SMALL_MNV1 = (16, 32, 64, 128, 256, 512, 1, 2, 2, 6, 2)
_MNV2 = (32, 16, 24, 32, 64, 96, 160, 320, 1280, 1, 2, 3, 4, 3, 3, 1)

FAMILIES = (
    MobileNet("mnv1", "mnv1", _MNV1),
    MobileNet("mnv1_small", "mnv1", _SMALL_MNV1, input_size=32, small=True),
    MobileNet("mnv2_channels", "mnv2", _MNV2, strides=(1, 2, 2, 2, 1, 2, 1), expansions=(1, 6, 6, 6, 6, 6, 6)),
)
