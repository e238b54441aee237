"""What a network consists of: stages of blocks of layers, of one code or of many at once.

A family describes its networks once, as a `Plan`; costs and tables are folds over it. Every figure of a block is an
int, or an integer array with one entry for each of many codes (or for each of many input sizes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from ..cost import FIGURES


def halved(size: Any, stride: int = 2) -> Any:
    """Side of a feature map after a convolution or pooling with `stride` and padding k // 2."""
    return size if type(stride) is int and stride == 1 else -(-size // stride)


def _times(figure: Any, times: Any) -> Any:
    """A product that costs nothing where there is nothing to multiply."""
    return figure if type(times) is int and times == 1 else figure * times


def _sum(parts: Sequence[Any]) -> Any:
    """A sum that makes no array beside the first one."""
    total, *rest = parts
    for number, part in enumerate(rest):
        if number:
            total += part
        else:
            total = total + part
    return total


@dataclass(eq=False)
class Layer:
    """A convolution, or a linear layer, which is a 1x1 convolution of one pixel.

    Attributes:
        inputs, outputs: Channels.
        side: Of the output in pixels.
        kernel: Side of the kernel in pixels.
        depthwise: Whether each channel has a kernel of its own, so that there are as many inputs as outputs.
        vectors: Learned numbers an output beside the kernel: 2 of a batch norm, 1 of a bias.
        present: Whether the network has it; 0 or 1, or an array of them.
    """

    inputs: Any
    outputs: Any
    side: Any = 1
    kernel: Any = 1
    depthwise: bool = False
    vectors: int = 2
    present: Any = 1
    _kernels: Any = field(default=None, init=False, repr=False)

    @property
    def kernels(self) -> Any:
        """How many kernels of one channel it has; a product of arrays that two figures share."""
        if self._kernels is None:
            self._kernels = self.outputs if self.depthwise else self.inputs * self.outputs
        return self._kernels

    @property
    def macs(self) -> Any:
        """Multiply-accumulates for one image."""
        return self.kernels * (self.kernel * self.kernel * self.side * self.side)

    @property
    def params(self) -> Any:
        """Learned parameters."""
        single = type(self.kernel) is int and self.kernel == 1
        weights = self.kernels if single else self.kernels * (self.kernel * self.kernel)
        return weights + self.vectors * self.outputs

    @property
    def activations(self) -> Any:
        """Elements of the output for one image."""
        return self.outputs * (self.side * self.side)


@dataclass(frozen=True)
class Block(ABC):
    """A block of layers; what differs between kinds of blocks is a subclass.

    Attributes:
        inputs, outputs: Channels.
        side: Of the input in pixels.
        kernel: Side of the block's spatial kernel.
        stride: Of the block.
        hidden: Channels inside.
        squeeze_excite: Channels that squeeze-excite reduces the hidden ones to; 0 without it.
        times: How often the block stands one after the other; only of blocks whose outputs are their inputs.
        operation: The number of what it does, where a code chooses that block by block.
    """

    inputs: Any
    outputs: Any
    side: Any
    kernel: Any = 1
    stride: Any = 1
    hidden: Any = 0
    squeeze_excite: Any = 0
    times: Any = 1
    operation: Any = 0

    kind: ClassVar[str]
    """The name of the kind of block."""
    shape: ClassVar[tuple[str, ...]] = ("inputs", "outputs", "side", "kernel", "stride", "hidden", "squeeze_excite")
    """The figures that, with the kind, say which block it is."""

    @property
    def side_out(self) -> Any:
        """Side of the output in pixels."""
        return halved(self.side, self.stride)

    @abstractmethod
    def layers(self) -> Iterator[Layer]:
        """The convolutions and linear layers."""

    def figures(self, names: Sequence[str] = FIGURES) -> list[Any]:
        """Figures of the cost ("macs", "params", "activations") of all `times`, in the order of their names."""
        layers, out = list(self.layers()), []
        for name in names:
            parts = [_times(getattr(layer, name), layer.present) for layer in layers]
            out.append(_times(_sum(parts), self.times) if parts else 0)
        return out

    def repeated(self, times: Any, **changes: Any) -> tuple[Block, Block]:
        """This block, which may have a stride and other inputs, and after it others up to `times` in all."""
        rest = {"inputs": self.outputs, "side": self.side_out, "stride": 1, "times": times - 1, **changes}
        return self, type(self)(**{**vars(self), **rest})


class Conv(Block):
    """A convolution and its batch norm."""

    kind = "conv"

    @override
    def layers(self) -> Iterator[Layer]:
        yield Layer(self.inputs, self.outputs, self.side_out, self.kernel)


class MaxPool(Block):
    """Max-pooling."""

    kind = "max_pool"

    @override
    def layers(self) -> Iterator[Layer]:
        return iter(())


class UnpaddedPool(MaxPool):
    """Max-pooling without padding, which leaves out what is left of an odd side."""

    kind = "unpadded_pool"

    @property
    @override
    def side_out(self) -> Any:
        return self.side // self.stride


class Linear(Block):
    """Average pooling over all pixels and a linear layer."""

    kind = "linear"

    @override
    def layers(self) -> Iterator[Layer]:
        yield Layer(self.inputs, self.outputs, vectors=1)


class Residual(Block):
    """A body and a shortcut, which is a 1x1 convolution where the shape changes."""

    def shortcut(self) -> Iterator[Layer]:
        """The shortcut's convolution."""
        down = self.stride > 1
        if self.inputs is self.outputs and down is False:
            return
        present = 1 if down is True else down | (self.inputs != self.outputs)
        yield Layer(self.inputs, self.outputs, self.side_out, present=present)


class Basic(Residual):
    """ResNet's basic block: two convolutions, the first of which has the stride."""

    kind = "basic"

    @override
    def layers(self) -> Iterator[Layer]:
        side = self.side_out
        yield Layer(self.inputs, self.hidden, side, self.kernel)
        yield Layer(self.hidden, self.outputs, side, self.kernel)
        yield from self.shortcut()


class Bottleneck(Residual):
    """ResNet's bottleneck, with the stride in the convolution in the middle (v1.5)."""

    kind = "bottleneck"

    @property
    def side_first(self) -> Any:
        """Side of the first 1x1 convolution's output."""
        return self.side

    @property
    def first(self) -> Any:
        """Channels of the first 1x1 convolution's output."""
        return self.hidden

    @override
    def layers(self) -> Iterator[Layer]:
        yield Layer(self.inputs, self.first, self.side_first)
        side = self.side_out
        yield Layer(self.first, self.hidden, side, self.kernel)
        yield Layer(self.hidden, self.outputs, side)
        yield from self.shortcut()


class BottleneckV1(Bottleneck):
    """ResNet's bottleneck as first published, with the stride in the first 1x1 convolution."""

    kind = "bottleneck_v1"

    @property
    @override
    def side_first(self) -> Any:
        return self.side_out


@dataclass(frozen=True)
class UnevenBottleneck(Bottleneck):
    """ResNet's bottleneck whose first convolution has a width of its own.

    Attributes:
        reduced: Channels of the first 1x1 convolution's output.
    """

    reduced: Any = 0

    kind = "uneven_bottleneck"
    shape = (*Block.shape, "reduced")

    @property
    @override
    def first(self) -> Any:
        return self.reduced


@dataclass(frozen=True)
class InvertedResidual(Block):
    """MobileNetV2's block: a 1x1 convolution that expands, a depthwise one, and a 1x1 convolution.

    Attributes:
        expands: Whether the first convolution is there; 0 or 1, or an array of them.
    """

    expands: Any = 1

    kind = "inverted_residual"
    shape = (*Block.shape, "expands")

    @override
    def layers(self) -> Iterator[Layer]:
        side = self.side_out
        yield Layer(self.inputs, self.hidden, self.side, present=self.expands)
        yield Layer(self.hidden, self.hidden, side, self.kernel, depthwise=True)
        if not (type(self.squeeze_excite) is int and self.squeeze_excite == 0):
            some = 1 if np.all(self.squeeze_excite) else self.squeeze_excite > 0
            yield Layer(self.hidden, self.squeeze_excite, vectors=1, present=some)
            yield Layer(self.squeeze_excite, self.hidden, vectors=1, present=some)
        yield Layer(self.hidden, self.outputs, side)


class DepthwiseSeparable(Block):
    """MobileNetV1's block: a depthwise and a 1x1 convolution, without a shortcut."""

    kind = "depthwise_separable"

    @override
    def layers(self) -> Iterator[Layer]:
        yield Layer(self.inputs, self.inputs, self.side_out, self.kernel, depthwise=True)
        yield Layer(self.inputs, self.outputs, self.side_out)


@dataclass(frozen=True)
class Stage:
    """Blocks one after the other.

    Attributes:
        name: What the stage is called, e.g. "stage2".
        blocks: The blocks.
        elements: The names of the code's elements that shape the stage.
    """

    name: str
    blocks: tuple[Block, ...]
    elements: tuple[str, ...] = ()

    def figures(self, names: Sequence[str] = FIGURES) -> list[Any]:
        """Figures of the cost, in the order of their names."""
        return [_sum(parts) for parts in zip(*[block.figures(names) for block in self.blocks], strict=True)]

    @property
    def outputs(self) -> Any:
        """Channels of the last block's output."""
        return self.blocks[-1].outputs

    @property
    def side_out(self) -> Any:
        """Side in pixels of the last block's output."""
        return self.blocks[-1].side_out


@dataclass(frozen=True)
class Plan:
    """A network: its stages, the stem first and the head last."""

    stages: tuple[Stage, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of all stages in order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    def figures(self, names: Sequence[str] = FIGURES) -> list[Any]:
        """Figures of the cost of the whole network, in the order of their names."""
        return [_sum(parts) for parts in zip(*(stage.figures(names) for stage in self.stages), strict=True)]
