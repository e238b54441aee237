"""ResNets with basic blocks (ResNet18) and with bottlenecks (ResNet50), on timm's ResNet.

AutoBSS, appendix B.2.1 and Figure 5: a 7x7 stem and a max-pool (stage 1), four stages of residual blocks (2-5), pooling
and a linear layer (stage 6). ResNet18's stem is as wide as C2; ResNet50's is 64 wide;
resnet50_channels has its width in the code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from ..errors import CodeError
from .family import Family
from .plan import Basic, Block, Bottleneck, BottleneckV1, Conv, Linear, MaxPool, Plan, Stage

if TYPE_CHECKING:
    from torch import nn

_STAGES = tuple(range(2, 6))


class OnResNet(Family):
    """Networks of timm's ResNet class."""

    first_conv = "conv1"
    classifier = "fc"


def levels_of(family: Family, code: Code, network: str) -> list[int]:
    """The output channels of the four stages of a ResNet, which a network for detection or segmentation stands on.

    Raises:
        CodeError: If the code is of no such ResNet; it names the `network`.
    """
    if isinstance(family.inner, OnResNet) and len(stages := family.plan(code).stages[1:-1]) == len(_STAGES):
        return [int(stage.outputs) for stage in stages]
    raise CodeError(f"{network}: expected a code of a ResNet of four stages, such as resnet50{{...}}, got {code}")


@dataclass(frozen=True)
class ResNetFamily(OnResNet):
    """Common to both kinds of block.

    Attributes:
        stem: Channels of the stem; the code's first width when None.
    """

    stem: int | None = None

    @property
    @abstractmethod
    def block(self) -> type[Block]:
        """The kind of block."""

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        channels = elements["C"]
        inputs = channels[0] if self.stem is None else self.stem
        kernel, stride = (3, 1) if self.small else (7, 2)
        stem: list[Block] = [Conv(setting.in_chans, inputs, setting.input_size, kernel, stride)]
        if not self.small:
            stem.append(MaxPool(inputs, inputs, stem[-1].side_out, 3, 2))
        stages = [Stage("stage1", tuple(stem), self.layout.at(1))]
        channels = channels[-len(_STAGES) :]
        widths = elements.get("B", channels)
        for place, outputs, times, hidden in zip(_STAGES, channels, elements["L"], widths, strict=True):
            first = self.block(inputs, outputs, stages[-1].side_out, 3, 1 if place == 2 else 2, hidden)
            stages.append(Stage(f"stage{place}", first.repeated(times), self.layout.at(place)))
            inputs = outputs
        head = Linear(inputs, setting.num_classes, stages[-1].side_out)
        return Plan((*stages, Stage("stage6", (head,))))


@dataclass(frozen=True)
class BasicResNet(ResNetFamily):
    """ResNet with basic blocks: {C2..C5, L2..L5}."""

    block = Basic

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        return Field("C", "channels", _STAGES, scales=True), Field("L", "blocks", _STAGES, high=256)

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.resnet import BasicBlock, CodedResNet

        stem = code.channels[0] if self.stem is None else self.stem
        fixed = {"stem": stem, "reduction": 1 if self.small else 4}
        return CodedResNet([BasicBlock] * 4, code.layers, code.channels, **fixed, **kwargs)


@dataclass(frozen=True)
class BottleneckResNet(ResNetFamily):
    """ResNet with bottlenecks: {C2..C5, L2..L5, B2..B5}, and C1, the stem's width, before them where none is fixed.

    Attributes:
        stride_first: Stride in the first 1x1 convolution of a stage (v1: detection) and not in the 3x3 (v1.5).
    """

    stem: int | None = 64
    stride_first: bool = False

    monotone = False  # the first shortcut needs no convolution where C2 is as wide as the stem

    @property
    @override
    def block(self) -> type[Block]:
        return BottleneckV1 if self.stride_first else Bottleneck

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        widths = _STAGES if self.stem else (1, *_STAGES)
        bottleneck = Field("B", "bottleneck", _STAGES, part_of="C")
        return Field("C", "channels", widths, scales=True), Field("L", "blocks", _STAGES, high=256), bottleneck

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.resnet import CodedResNet, bottlenecks

        stem = code.channels[0] if self.stem is None else self.stem
        fixed = {"stem": stem, "reduction": 1 if self.small else 4}
        blocks = bottlenecks(code.bottlenecks, self.stride_first)
        return CodedResNet(blocks, code.layers, code.channels[-len(_STAGES) :], **fixed, **kwargs)


_RESNET18 = (64, 128, 256, 512, 2, 2, 2, 2)
_RESNET50 = (256, 512, 1024, 2048, 3, 4, 6, 3, 64, 128, 256, 512)
# Hand-made codes of the small versions: a quarter and an eighth of the full widths, 35 and 21 million MACs at 32x32.
_SMALL18 = (16, 32, 64, 128, 2, 2, 2, 2)
_SMALL50 = (32, 64, 128, 256, 3, 4, 6, 3, 8, 16, 32, 64)

FAMILIES = (
    BasicResNet("resnet18", "resnet18", _RESNET18),
    BottleneckResNet("resnet50", "resnet50", _RESNET50),
    BottleneckResNet("resnet50_v1", "resnet50", _RESNET50, stride_first=True),
    BottleneckResNet("resnet50_channels", "resnet50", (64, *_RESNET50), stem=None),
    BasicResNet("resnet18_small", "resnet18", _SMALL18, input_size=32, small=True),
    BottleneckResNet("resnet50_small", "resnet50", _SMALL50, input_size=32, small=True, stem=16),
)
