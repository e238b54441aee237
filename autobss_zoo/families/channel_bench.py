"""The networks of Channel-Bench-Macro (BCNetV2, section 6, Tables 2 and 3): seven widths, for images of 32x32 pixels.

A stem of stride 2, two stages and a head. The published file's keys are digits of 1 to 4, each that many quarters of
the widest channels; MobileNet's costs equal the file's on all 16,384 keys. The ResNet follows Table 3, with a 1x1
shortcut where the width changes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .family import Family
from .plan import Basic, Block, Conv, InvertedResidual, Linear, Plan, Stage

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ChannelBench(Family):
    """Common to both; `original` are the widest channels."""

    places: ClassVar[tuple[str, ...]]
    block: ClassVar[type[Block]]

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        return (Field("W", "width", self.places),)

    def widths(self, digits: np.ndarray) -> np.ndarray:
        """Codes of the benchmark's keys: channels of the seven layers, integers of shape (n, 7).

        Args:
            digits: Integers of 1 to 4 of shape (n, 7).

        Raises:
            ValueError: If the digits have another shape or range.
        """
        digits = np.asarray(digits)
        if digits.ndim != 2 or digits.shape[1] != 7 or digits.min(initial=1) < 1 or digits.max(initial=4) > 4:
            raise ValueError(f"expected digits of 1 to 4 of shape (n, 7), got {digits.shape}: {digits!r}")
        return digits * np.array(self.original) // 4

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        width = dict(zip(self.places, elements["W"], strict=True))
        stages = [Stage("stem", (Conv(setting.in_chans, width["stem"], setting.input_size, 3, 2),), ("stem",))]
        for name, outputs in (("s1", width["stem"]), ("s2", width["s2.out"])):
            own = tuple(place for place in self.places if place.startswith(name))
            blocks: list[Block] = []
            for hidden in (width[place] for place in own if place != "s2.out"):
                before = blocks[-1] if blocks else stages[-1]
                stride = 2 if name == "s2" and not blocks else 1
                blocks.append(self.block(before.outputs, outputs, before.side_out, 3, stride, hidden))
            stages.append(Stage(name, tuple(blocks), own))
        return Plan((*stages, self._head(stages[-1], width, setting)))

    @abstractmethod
    def _head(self, last: Stage, width: Mapping[str, Any], setting: Setting) -> Stage:
        """What follows the last stage."""


@dataclass(frozen=True)
class ChannelBenchMobileNet(ChannelBench):
    """Inverted residuals: the stem's output, hidden widths, the second stage's output, and the last convolution's."""

    places = ("stem", "s1.e1", "s1.e2", "s2.e1", "s2.out", "s2.e2", "head")
    block = InvertedResidual

    first_conv = "conv_stem"
    classifier = "classifier"
    feature_cfg = {"flatten_sequential": True, "out_indices": (0, 1)}

    def _head(self, last: Stage, width: Mapping[str, Any], setting: Setting) -> Stage:
        conv = Conv(last.outputs, width["head"], last.side_out)
        return Stage("head", (conv, Linear(conv.outputs, setting.num_classes, conv.side_out)), ("head",))

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.mbconv import network_of

        stem, e1, e2, e3, out, e4, head = code
        stages = [
            [f"ir_r1_k3_s1_e{hidden / stem}_c{stem}" for hidden in (e1, e2)],
            [f"ir_r1_k3_s2_e{e3 / stem}_c{out}", f"ir_r1_k3_s1_e{e4 / out}_c{out}"],
        ]
        return network_of(stages, "relu", stem_size=stem, num_features=head, **kwargs)


@dataclass(frozen=True)
class ChannelBenchResNet(ChannelBench):
    """Basic blocks: the stem's output, widths in the middle of blocks, and the output of the second stage."""

    places = ("stem", "s1.m1", "s1.m2", "s2.m1", "s2.out", "s2.m2", "s2.m3")
    block = Basic

    first_conv = "conv1"
    classifier = "fc"
    feature_cfg = {"out_indices": (0, 1, 2)}

    def _head(self, last: Stage, width: Mapping[str, Any], setting: Setting) -> Stage:
        return Stage("head", (Linear(last.outputs, setting.num_classes, last.side_out),))

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.resnet import CodedResNet, basic_blocks

        stem, m1, m2, m3, out, m4, m5 = code
        blocks = basic_blocks([(m1, m2), (m3, m4, m5)])
        return CodedResNet(blocks, (2, 3), (stem, out), stem=stem, reduction=2, **kwargs)


FAMILIES = (
    ChannelBenchMobileNet("channel_bench_mobilenet", "mnv2", (128, 768, 768, 768, 256, 1536, 1024), 32, True),
    ChannelBenchResNet("channel_bench_resnet", "resnet18", (256, 256, 256, 512, 512, 512, 512), 32, True),
)
