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

    The exporter folds each batch norm into the convolution before it, which leaves a bias where there was a scale and
    a shift: such a bias counts twice, so that the parameters are those of the network. A bias of the network itself
    keeps its parameter's name.

    Raises:
        ValueError: If a node's weights or output shape are not in the graph.
    """
    import onnx
    from onnx import shape_inference

    model = graph if isinstance(graph, onnx.ModelProto) else onnx.load(str(graph))
    model = shape_inference.infer_shapes(model, strict_mode=True)
    weights = {w.name: tuple(w.dims) for w in model.graph.initializer}
    shapes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.value_info, *model.graph.output)
    }
    macs, learned = 0, {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        try:
            kernel, output = weights[node.input[1]], shapes[node.output[0]]
        except KeyError as missing:
            raise ValueError(f"cannot count ONNX node {node.name}: no weights or shape of {missing}") from None
        size = math.prod(kernel)
        macs += size * (math.prod(output[2:]) if node.op_type == "Conv" else 1)
        learned[node.input[1]] = size
        if len(node.input) > 2:
            bias = node.input[2]
            learned[bias] = math.prod(weights[bias]) * (1 if bias.endswith(".bias") else 2)
    return Cost(macs, sum(learned.values()))

