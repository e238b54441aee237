"""Networks whose codes are the widths of their layers, one for all that have to be equally wide.

BCNetV2, section 3 (tied layers) and the published widths; its Channel-Bench-Macro (section 6, Tables 2 and 3); and
ProxylessNAS (arXiv:1812.00332), the network for phones. A code has the stem's width, of each stage the widths inside
of each block and, after those of the first, its output's, which all its blocks share, and where there is one the width
of the last 1x1 convolution. The depths are fixed. A shortcut is where actual widths let it be.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .family import Family
from .mbconv import OnEfficientNet, squeezed
from .plan import Basic, Block, Conv, InvertedResidual, Linear, MaxPool, Plan, Stage, UnevenBottleneck, UnpaddedPool
from .resnet import OnResNet

if TYPE_CHECKING:
    from torch import nn


class Stack(NamedTuple):
    """A stage of blocks.

    Attributes:
        name: The stage's name, which begins its widths' names.
        kernels: Of its blocks.
        stride: Of the first block.
        inside: Whether its blocks have widths inside; those of an inverted residual without expansion have none.
        outside: Whether its output has a width; it is the stem's where it has none.
    """

    name: str
    kernels: tuple[int, ...]
    stride: int = 1
    inside: bool = True
    outside: bool = True


@dataclass(frozen=True)
class Widths(Family):
    """Networks of stages of blocks, whose codes are widths.

    Attributes:
        stages: The stages.
    """

    stages: tuple[Stack, ...] = ()

    inside: ClassVar[tuple[str, ...]]
    """What the widths inside of a block are called; the block's number follows."""

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        return (Field("W", "width", self._places, low=self._least, scales=True),)

    @property
    def _places(self) -> tuple[str, ...]:
        return tuple(place for stack in self.stages for place in self._own(stack))

    @property
    def _least(self) -> int:
        return 1

    def _own(self, stack: Stack) -> tuple[str, ...]:
        """The names of a stage's widths."""
        places: list[str] = []
        for number in range(1, len(stack.kernels) + 1):
            if stack.inside:
                places += [f"{stack.name}.{letter}{number}" for letter in self.inside]
            if number == 1 and stack.outside:
                places.append(f"{stack.name}.out")
        return tuple(places)

    def of_groups(self, counts: np.ndarray, groups: int = 20) -> np.ndarray:
        """Codes whose layers keep some groups of the hand-made network's channels: ceil(count * width / groups).

        BCNetV2, section 3.1.

        Args:
            counts: Integers of 1 to `groups` of shape (n, m).
            groups: Into how many the channels of a layer are divided.

        Returns:
            Codes, integers of shape (n, m).

        Raises:
            ValueError: If the counts have another shape or range.
        """
        counts, m = np.asarray(counts), len(self.original)
        if counts.ndim != 2 or counts.shape[1] != m or counts.min(initial=1) < 1 or counts.max(initial=1) > groups:
            raise ValueError(f"expected counts of 1 to {groups} of shape (n, {m}), got {counts.shape}: {counts!r}")
        return -(-counts * np.array(self.original) // groups)


@dataclass(frozen=True)
class WithStem(Widths):
    """A stem, stages of blocks and a head.

    Attributes:
        reduction: The stride of the stem, its max-pool included.
    """

    reduction: int = 2

    head: ClassVar[tuple[str, ...]] = ()
    """The name of the last convolution's width, where there is one."""

    @property
    @override
    def _places(self) -> tuple[str, ...]:
        return "stem", *super()._places, *self.head

    def widths(self, values: Sequence[Any]) -> tuple[dict[str, Any], list[tuple[Stack, Any, list[tuple[Any, ...]]]]]:
        """The widths by name, and of each stage the output's and each block's widths inside."""
        named = dict(zip(self._places, values, strict=True))
        return named, [
            (
                stack,
                named[f"{stack.name}.out" if stack.outside else "stem"],
                [
                    tuple(named[f"{stack.name}.{letter}{number}"] for letter in self.inside) if stack.inside else ()
                    for number in range(1, len(stack.kernels) + 1)
                ],
            )
            for stack in self.stages
        ]

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        named, found = self.widths(elements["W"])
        stages = [Stage("stem", tuple(self._stem(named["stem"], setting)), ("stem",))]
        for stack, outputs, inside in found:
            blocks: list[Block] = []
            for number, (kernel, own) in enumerate(zip(stack.kernels, inside, strict=True)):
                before = blocks[-1] if blocks else stages[-1]
                stride = 1 if number else stack.stride
                blocks.append(self._block(before.outputs, outputs, before.side_out, kernel, stride, own))
            stages.append(Stage(stack.name, tuple(blocks), self._own(stack)))
        last = stages[-1]
        head = [Conv(last.outputs, named[name], last.side_out) for name in self.head]
        outputs = head[-1].outputs if head else last.outputs
        linear = Linear(outputs, setting.num_classes, last.side_out)
        return Plan((*stages, Stage("head", (*head, linear), self.head)))

    def _stem(self, width: Any, setting: Setting) -> Iterator[Block]:
        stride = min(self.reduction, 2)
        kernel = 7 if self.reduction == 4 else 3
        conv = Conv(setting.in_chans, width, setting.input_size, kernel, stride)
        yield conv
        if self.reduction == 4:
            yield MaxPool(width, width, conv.side_out, 3, 2)

    @abstractmethod
    def _block(self, inputs: Any, outputs: Any, side: Any, kernel: int, stride: int, inside: tuple[Any, ...]) -> Block:
        """A block with some widths inside."""


@dataclass(frozen=True)
class InvertedWidths(OnEfficientNet, WithStem):
    """Inverted residuals: MobileNetV2, EfficientNet, ProxylessNAS.

    Attributes:
        act_layer: timm's name of the activation.
        squeeze_excite: Whether blocks squeeze and excite, at a quarter of their INPUT channels.
    """

    act_layer: str = "relu"
    squeeze_excite: bool = False

    inside = ("e",)
    head = ("head",)

    @property
    @override
    def _least(self) -> int:
        return 4 if self.squeeze_excite else 1  # of which a quarter is left

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        levels = 1 + sum(stack.stride > 1 for stack in self.stages)
        return {**super().feature_cfg, "out_indices": tuple(range(levels))}

    def _block(self, inputs: Any, outputs: Any, side: Any, kernel: int, stride: int, inside: tuple[Any, ...]) -> Block:
        (hidden,) = inside or (inputs,)
        reduced = squeezed(hidden, hidden / inputs) if self.squeeze_excite else 0
        return InvertedResidual(inputs, outputs, side, kernel, stride, hidden, reduced, expands=int(bool(inside)))

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.mbconv import network_of

        named, stages = self.widths(code.values)
        squeeze, inputs = "_se0.25" if self.squeeze_excite else "", named["stem"]
        texts: list[list[str]] = []
        for stack, outputs, inside in stages:
            texts.append([])
            for number, (kernel, own) in enumerate(zip(stack.kernels, inside, strict=True)):
                block = f"ir_e{own[0] / inputs}" if own else "ds"
                texts[-1].append(f"{block}_r1_k{kernel}_s{1 if number else stack.stride}_c{outputs}{squeeze}")
                inputs = outputs
        fixed = {"stem_size": named["stem"], "num_features": named["head"], "small": self.reduction == 1}
        return network_of(texts, self.act_layer, **fixed, **kwargs)


@dataclass(frozen=True)
class ResidualWidths(OnResNet, WithStem):
    """ResNets."""

    monotone = False  # a stage's first shortcut needs no convolution where widths happen to be equal

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        return {"out_indices": tuple(range(len(self.stages) + 1))}

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.resnet import CodedResNet, blocks_in_turn

        named, stages = self.widths(code.values)
        blocks = [blocks_in_turn(inside) for _, _, inside in stages]
        channels, depths = [outputs for _, outputs, _ in stages], [len(inside) for _, _, inside in stages]
        return CodedResNet(blocks, depths, channels, stem=named["stem"], reduction=self.reduction, **kwargs)


@dataclass(frozen=True)
class BasicWidths(ResidualWidths):
    """ResNets of basic blocks: of each the width between its convolutions."""

    inside = ("m",)

    def _block(self, inputs: Any, outputs: Any, side: Any, kernel: int, stride: int, inside: tuple[Any, ...]) -> Block:
        return Basic(inputs, outputs, side, kernel, stride, *inside)


@dataclass(frozen=True)
class BottleneckWidths(ResidualWidths):
    """ResNets of bottlenecks: of each the widths of its first 1x1 and of its 3x3 convolution."""

    inside = ("r", "m")

    def _block(self, inputs: Any, outputs: Any, side: Any, kernel: int, stride: int, inside: tuple[Any, ...]) -> Block:
        reduced, hidden = inside
        return UnevenBottleneck(inputs, outputs, side, kernel, stride, hidden, reduced=reduced)


@dataclass(frozen=True)
class PlainWidths(Widths):
    """VGG: convolutions, with a max-pool before each stage but the first, and one linear layer."""

    inside = ("c",)

    first_conv = "features.0"
    classifier = "head.fc"

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        return {"flatten_sequential": True, "out_indices": tuple(range(len(self.stages)))}

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        stages: list[Stage] = []
        widths, inputs, side = iter(elements["W"]), setting.in_chans, setting.input_size
        for stack in self.stages:
            blocks: list[Block] = [UnpaddedPool(inputs, inputs, side, 2, 2)] if stages else []
            for kernel in stack.kernels:
                side = blocks[-1].side_out if blocks else side
                blocks.append(Conv(inputs, next(widths), side, kernel))
                inputs = blocks[-1].outputs
            stages.append(Stage(stack.name, tuple(blocks), self._own(stack)))
        return Plan((*stages, Stage("head", (Linear(inputs, setting.num_classes, side),))))

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.vgg import CodedVGG

        widths = iter(code)
        return CodedVGG([[next(widths) for _ in stack.kernels] for stack in self.stages], **kwargs)


def _original(outputs: Sequence[int], inside: Sequence[Sequence[tuple[int, ...]]]) -> list[int]:
    """The widths of stages in the order of a code, from those of their outputs and inside of their blocks."""
    widths: list[int] = []
    for output, (first, *others) in zip(outputs, inside, strict=True):
        widths += [*first, output, *(width for block in others for width in block)]
    return widths


def _inverted(
    name: str, kernels: Sequence[Sequence[int]], outputs: Sequence[int], expansions: Any, **fixed: Any
) -> Any:
    """A family of inverted residuals and its small version, which has a stride of 2 only in the stages 3 and 5."""
    inputs = 16
    inside: list[list[tuple[int, ...]]] = [[()]]
    for output, stage in zip(outputs, expansions, strict=True):
        inside.append([(expansion * (output if number else inputs),) for number, expansion in enumerate(stage)])
        inputs = output
    for suffix, strides, size in (("", (2, 2, 2, 1, 2, 1), 224), ("_small", (1, 1, 2, 1, 2, 1), 32)):
        others = zip(kernels, strides, strict=True)
        stages = (Stack("s0", (3,), inside=False), *(Stack(f"s{i}", tuple(k), s) for i, (k, s) in enumerate(others, 1)))
        original = (32, *_original((16, *outputs), inside), 1280)
        small = bool(suffix)
        yield InvertedWidths(
            f"{name}_widths{suffix}", name, original, size, small, stages, reduction=1 if small else 2, **fixed
        )


def _residual(cls: Any, name: str, depths: Sequence[int], expansion: int, within: int) -> Iterator[Family]:
    """A ResNet's family and its small version."""
    base = (64, 128, 256, 512)
    stages = tuple(Stack(f"s{i}", (3,) * depth, 1 if i == 1 else 2) for i, depth in enumerate(depths, 1))
    inside = [[(width,) * within] * depth for width, depth in zip(base, depths, strict=True)]
    original = (64, *_original([expansion * width for width in base], inside))
    yield cls(f"{name}_widths", name, original, stages=stages, reduction=4)
    yield cls(f"{name}_widths_small", name, original, 32, True, stages=stages, reduction=1)


_MNV2 = [(3,) * n for n in (2, 3, 4, 3, 3, 1)]
_B0 = [(3, 3), (5, 5), (3, 3, 3), (5, 5, 5), (5, 5, 5, 5), (3,)]
_PROXYLESS = [(5, 3), (7, 3, 5, 5), (7, 5, 5, 5), (5, 5, 5, 5), (7, 7, 7, 7), (7,)]
_PROXYLESS_EXPANSIONS = [(3, 3), (3, 3, 3, 3), (6, 3, 3, 3), (6, 3, 3, 3), (6, 6, 3, 3), (6,)]
_VGG = [(64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4]


def _six(kernels: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    return [(6,) * len(stage) for stage in kernels]


_BENCH = (Stack("s1", (3, 3), outside=False), Stack("s2", (3, 3), 2))
_BENCH_RESNET = (Stack("s1", (3, 3), outside=False), Stack("s2", (3, 3, 3), 2))
_BENCH_PLAIN = tuple(Stack(f"s{i}", (3, 3), outside=False) for i in (1, 2, 3))
_BENCH_SIX = (Stack("s1", (3,), outside=False), Stack("s2", (3, 3), 2))

FAMILIES = (
    *_inverted("mnv2", _MNV2, (24, 32, 64, 96, 160, 320), _six(_MNV2)),
    *_inverted("efficientnet_b0", _B0, (24, 40, 80, 112, 192, 320), _six(_B0), squeeze_excite=True, act_layer="swish"),
    *_inverted("proxylessnas", _PROXYLESS, (32, 40, 80, 96, 192, 320), _PROXYLESS_EXPANSIONS, act_layer="relu6"),
    *_residual(BasicWidths, "resnet18", (2, 2, 2, 2), 1, 1),
    *_residual(BasicWidths, "resnet34", (3, 4, 6, 3), 1, 1),
    *_residual(BottleneckWidths, "resnet50", (3, 4, 6, 3), 4, 2),
    PlainWidths(
        "vgg19_widths",
        "vgg19",
        tuple(width for stage in _VGG for width in stage),
        32,
        True,
        tuple(Stack(f"s{i}", (3,) * len(stage), outside=False) for i, stage in enumerate(_VGG, 1)),
    ),
    # Their keys are digits of 1 to 4, each that many quarters of the widest channels, which these are.
    InvertedWidths("channel_bench_mobilenet", "mnv2", (128, 768, 768, 768, 256, 1536, 1024), 32, True, _BENCH),
    BasicWidths("channel_bench_resnet", "resnet18", (256, 256, 256, 512, 512, 512, 512), 32, True, _BENCH_RESNET),
    # Six widths, in networks so small that all of them can be trained.
    PlainWidths("width_bench_plain", "vgg19", (8, 8, 16, 16, 32, 32), 7, True, _BENCH_PLAIN),
    InvertedWidths("width_bench_mobilenet", "mnv2", (8, 32, 32, 16, 64, 64), 7, stages=_BENCH_SIX),
)
