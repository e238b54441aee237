"""What a network costs: multiply-accumulates (MACs) and parameters, counted in three independent ways.

Papers print MACs as "FLOPs". They are counted as AutoBSS's tables count them: convolutions and linear layers only, no
normalisation, activation, pooling or addition; one image. Parameters are all learned ones, normalisation included.

1. In closed form from a code: `Family.cost`, made of the primitives here, vectorised over arrays of codes.
2. `count_network`: by fvcore, on the PyTorch network.
3. `count_onnx`: on an exported ONNX graph.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """MACs and parameters; each an int, or an array with one figure for each of many codes."""

    macs: Any
    params: Any

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params)

    def __mul__(self, times) -> Cost:
        return Cost(self.macs * times, self.params * times)

    def item(self) -> Cost:
        """The figures of a single code as plain ints."""
        return Cost(*(int(figure if isinstance(figure, int) else figure.item()) for figure in (self.macs, self.params)))


def conv_bn(inputs, outputs, kernel: int, side: int, depthwise: bool = False) -> Cost:
    """A convolution without bias and its batch norm; `side` is that of the square output in pixels."""
    weights = kernel * kernel * outputs * (1 if depthwise else inputs)
    return Cost(weights * (side * side), weights + 2 * outputs)


def linear(inputs, outputs) -> Cost:
    """A linear layer, or a 1x1 convolution of one pixel, with bias."""
    return Cost(inputs * outputs, inputs * outputs + outputs)


def count_network(model: nn.Module, input_size: int, in_chans: int = 3) -> Cost:
    """Count a network with fvcore's convolution and linear operators on one square image.

    Args:
        model: Any PyTorch network that takes one (1, in_chans, input_size, input_size) tensor.
        input_size: Side of the image in pixels.
        in_chans: Channels of the image.
    """
    import torch

    parameter = next(model.parameters())
    image = torch.zeros(1, in_chans, input_size, input_size, device=parameter.device, dtype=parameter.dtype)
    training, logger = model.training, logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # "unsupported operator" for each activation
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch deprecates the tracer that fvcore uses
            from fvcore.nn import FlopCountAnalysis

            operators = FlopCountAnalysis(model.eval(), image).by_operator()
    finally:
        logger.setLevel(level)
        model.train(training)
    macs = sum(int(operators[name]) for name in ("conv", "linear", "addmm", "matmul"))
    return Cost(macs, sum(p.numel() for p in model.parameters()))


def count_onnx(graph: onnx.ModelProto | str | Path) -> Cost:
    """Count an ONNX graph's Conv, Gemm and MatMul nodes on one image (a symbolic batch counts as 1).

    Parameters are those nodes' weights and biases, and the scales and shifts of batch norms. Exporters fold a batch
    norm into the convolution before it, which leaves one bias, or none if it is zero: the parameters of a folded graph
    are its own, and fewer than the network's. MACs do not change.

    Raises:
        ValueError: If a node's weights or output shape are not in the graph.
    """
    import onnx
    from onnx import shape_inference

    model = graph if isinstance(graph, onnx.ModelProto) else onnx.load(str(graph))
    model = shape_inference.infer_shapes(model, strict_mode=True)
    sizes = {w.name: math.prod(w.dims) for w in model.graph.initializer}
    shapes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.value_info, *model.graph.output)
    }
    producers = {output: node for node in model.graph.node for output in node.output}

    def source(name: str) -> str:
        """The initializer behind the casts and expansions of an unfolded graph; "" for a constant."""
        while name not in sizes and name in producers:
            name = next(iter(producers[name].input), "")
        return name

    macs = 0
    learned: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            learned.update(map(source, node.input[1:3]))
        elif node.op_type in ("Conv", "Gemm", "MatMul"):
            try:
                size, output = sizes[source(node.input[1])], shapes[node.output[0]]
            except KeyError as missing:
                raise ValueError(f"cannot count ONNX node {node.name}: no weights or shape of {missing}") from None
            macs += size * (math.prod(output[2:]) if node.op_type == "Conv" else 1)
            learned.update(map(source, node.input[1:]))
    return Cost(macs, sum(sizes.get(name, 0) for name in learned))
