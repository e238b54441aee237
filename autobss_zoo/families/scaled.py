"""Networks of an operation a layer that are scaled by depth, width and resolution, on timm's EfficientNet.

ScaleNet (Xie et al., ECCV 2022), appendices D and F: a stem, stages of inverted residuals, a 1x1 convolution, pooling
and a linear layer. Codes are {L1..L7, O1.1, O2.1, O2.2, ..., W}: how many blocks each stage has, the operation of each
of its first blocks, the last of which all later blocks have too, and the multiplier of all widths but the last 1x1
convolution's, in thousandths. A base has W = 1000. With R, the side of the images (the families with _r), a code says
all three dimensions of its scale. Identity operations need no number: a stage's blocks are the leading ones.

Only one reading reproduces the parameters of the paper's eleven networks, which its text leaves open: widths are
ceil(c w), hidden ones ceil(c_in e w) with c_in of the base, and squeeze-excite reduces to a quarter of the scaled
block's inputs, rounded down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .mbconv import OnEfficientNet
from .plan import Block, Conv, InvertedResidual, Linear, Plan, Stage

if TYPE_CHECKING:
    from torch import nn


class Operation(NamedTuple):
    """What a block does.

    Attributes:
        squeeze_excite: Whether it squeezes and excites; 0 or 1.
        expansion: Its hidden width beside its input's.
        kernel: Side of its depthwise convolution's kernel.
    """

    squeeze_excite: int
    expansion: int
    kernel: int


OPERATIONS = tuple(Operation(*each) for each in product((0, 1), (1, 3, 6), (3, 5, 7)))
"""The operations; a code states their numbers, which begin with 1."""

_SQUEEZE_EXCITE, _EXPANSION, _KERNEL = np.array(((0, 0, 0), *OPERATIONS)).T  # by number


def number_of(kernel: int, expansion: int, squeeze_excite: bool = True) -> int:
    """The number of an operation.

    Raises:
        ValueError: If there is no such operation.
    """
    return 1 + OPERATIONS.index(Operation(int(squeeze_excite), expansion, kernel))


class Part(NamedTuple):
    """A stage of the base.

    Attributes:
        channels: Of its output.
        stride: Of its first block.
        slots: How many blocks, at most, have operations of their own.
    """

    channels: int
    stride: int
    slots: int


@dataclass(frozen=True)
class Scaled(OnEfficientNet):
    """A base network under scaling.

    Attributes:
        stem: Channels of the stem.
        stages: The stages.
        head: Channels of the last 1x1 convolution, which are not scaled.
        hard: Whether activations and gates are piecewise: h-swish, ReLU and h-sigmoid, and not swish and sigmoid.
    """

    stem: int = 32
    stages: tuple[Part, ...] = ()
    head: int = 1280
    hard: bool = True

    monotone = False  # operations have no order

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        places = tuple(range(1, len(self.stages) + 1))
        slots = tuple(name for place in places for name in self._slots(place))
        least = 3000 // min(part.channels for part in self.stages) + 1  # 4 channels, of which a quarter is left
        return (
            Field("L", "blocks", places, high=256),
            Field("O", "operation", slots, high=len(OPERATIONS)),
            Field("W", "width in thousandths", low=least, high=8000, scales=True),
        )

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        levels = 1 + sum(part.stride > 1 for part in self.stages)
        return {**super().feature_cfg, "out_indices": tuple(range(levels))}

    def _slots(self, place: int) -> tuple[str, ...]:
        """The names of a stage's operations."""
        return tuple(f"O{place}.{slot}" for slot in range(1, self.stages[place - 1].slots + 1))

    @override
    def canonical(self, codes: np.ndarray) -> np.ndarray:
        out, end = np.array(codes), len(self.stages)
        for depth, part in zip(out.T, self.stages, strict=False):
            for slot in range(1, part.slots):
                column = end + slot
                out[:, column] = np.where(slot < depth, out[:, column], out[:, column - 1])
            end += part.slots
        return out

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        from ..networks.mbconv import HARD_SQUEEZE_EXCITE, network_of

        first, *others, _ = self.plan(code).stages
        texts = [[_text(block) for block in stage.blocks if block.times] for stage in others]
        fixed: dict[str, Any] = {"stem_size": int(first.outputs), "num_features": self.head, "small": self.small}
        if self.hard:
            fixed["se_layer"] = HARD_SQUEEZE_EXCITE
        return network_of(texts, "hard_swish" if self.hard else "swish", **fixed, **kwargs)

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        (width,), depths = elements["W"], elements["L"]
        ends = list(accumulate((part.slots for part in self.stages), initial=0))
        stem = Conv(setting.in_chans, _scaled(self.stem, width), setting.input_size, 3, 1 if self.small else 2)
        stages, base = [Stage("stem", (stem,), ("W",))], self.stem
        for place, (part, depth) in enumerate(zip(self.stages, depths, strict=True), 1):
            operations = elements["O"][ends[place - 1] : ends[place]]
            blocks = self._blocks(base, part, depth, operations, width, stages[-1])
            stages.append(Stage(f"stage{place}", blocks, (*self.layout.at(place), *self._slots(place))))
            base = part.channels
        last = stages[-1]
        conv = Conv(last.outputs, self.head, last.side_out)
        return Plan((*stages, Stage("head", (conv, Linear(self.head, setting.num_classes, last.side_out)))))

    def _blocks(
        self, base: int, part: Part, depth: Any, operations: Sequence[Any], width: Any, before: Stage
    ) -> tuple[Block, ...]:
        """A stage's blocks, one for each slot, and another where the only slot is the first block's.

        Args:
            base: Channels of the stage's input in the base.
            part: The stage.
            depth: How many blocks it has.
            operations: The numbers of its slots.
            width: The multiplier of widths in thousandths.
            before: The stage before.
        """
        outputs, blocks = _scaled(part.channels, width), []
        inputs, side, stride = before.outputs, before.side_out, part.stride
        last = max(part.slots - 1, 1)
        for index in range(last + 1):
            number = operations[min(index, part.slots - 1)]
            expansion = _EXPANSION[number]
            there = np.maximum(depth - index, 0)
            blocks.append(
                InvertedResidual(
                    inputs,
                    outputs,
                    side,
                    _KERNEL[number],
                    stride,
                    _scaled(base * expansion, width),
                    _SQUEEZE_EXCITE[number] * (inputs // 4),
                    1 if index == 0 else there if index == last else np.minimum(there, 1),
                    number,
                    expands=expansion > 1,
                )
            )
            base, inputs, side, stride = part.channels, outputs, blocks[0].side_out, 1
        return tuple(blocks)


def _scaled(channels: Any, width: Any) -> Any:
    """ceil(channels w), exactly."""
    return -(-channels * width // 1000)


def _text(block: Block) -> str:
    """A block as timm's texts state it."""
    kind = f"ir_e{block.hidden / block.inputs}" if block.hidden > block.inputs else "ds"
    squeeze = f"_se{block.squeeze_excite / block.inputs}" if block.squeeze_excite else ""
    return f"{kind}_r{block.times}_k{block.kernel}_s{block.stride}_c{block.outputs}{squeeze}"


_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_FULL, _HALF = (16, 32, 40, 80, 96, 192, 320), (8, 16, 20, 40, 48, 96, 160)


def _parts(channels: Sequence[int], slots: Sequence[int], strides: Sequence[int] = _STRIDES) -> tuple[Part, ...]:
    return tuple(Part(*each) for each in zip(channels, strides, slots, strict=True))


def _original(depths: Sequence[int], slots: Sequence[int], kernels: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """A base's code; the first stage does not expand, and all squeeze and excite."""
    numbers: list[int] = []
    for stage, (own, count) in enumerate(zip(kernels, slots, strict=True)):
        filled = (*own, *[own[-1]] * (count - len(own)))
        numbers += [number_of(kernel, 6 if stage else 1) for kernel in filled]
    return *depths, *numbers, 1000


def _scalenet(name: str, input_size: int, small: bool, stem: int, channels: Sequence[int], head: int) -> Scaled:
    """A family of ScaleNet's search space, whose original is ScaleNet-S0."""
    slots, kernels = (1, 4, 4, 4, 4, 4, 1), [(5,), (5,), (7, 7, 5, 3), (5, 5), (7, 7), (7, 5, 7), (5,)]
    original = _original((1, 1, 4, 2, 2, 3, 1), slots, kernels)
    return Scaled(name, "scalenet", original, input_size, small, stem, _parts(channels, slots), head)


_TINY = _original((1, 2, 2), (1, 3, 3), [(3,), (3, 5), (5, 3)])
_B0 = _original((1, 2, 2, 3, 3, 4, 1), (1,) * 7, [(3,), (3,), (5,), (3,), (5,), (5,), (3,)])
_B0_PARTS = _parts((16, 24, 40, 80, 112, 192, 320), (1,) * 7)

FAMILIES = (
    _scalenet("scalenet", 224, False, 32, _FULL, 1280),
    # The paper's ablation studies on ImageNet-100.
    _scalenet("scalenet_half", 224, False, 16, _HALF, 640),
    _scalenet("scalenet_small", 32, True, 16, _HALF, 640),
    # For studies that train on a CPU: three stages, images of 14 pixels.
    Scaled("scalenet_tiny", "scalenet", _TINY, 14, True, 8, _parts((8, 12, 24), (1, 3, 3), (1, 2, 2)), 96),
    # Of EfficientNet-S1 to -S5, which the paper compares with: each stage has one operation.
    Scaled("efficientnet_b0_scaled", "efficientnet_b0", _B0, stages=_B0_PARTS, hard=False),
)
