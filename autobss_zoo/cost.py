"""What a network costs: multiply-accumulates (MACs), parameters and activations, counted in three independent ways.

Papers print MACs as "FLOPs". They are counted as AutoBSS's tables count them: convolutions and linear layers only, no
normalisation, activation, pooling or addition; one image. Parameters are all learned ones, normalisation included.
Activations are the elements of the outputs of convolutions and linear layers (Radosavovic et al., 2020, section 3.3).

1. In closed form from a code: `Family.cost`, a fold over the family's plan, vectorised over arrays of codes.
2. `count_network`: by fvcore, on the PyTorch network.
3. `count_onnx`: on an exported ONNX graph.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import nn


FIGURES = ("macs", "params", "activations")
"""The figures of a cost by name."""


@dataclass(frozen=True)
class Cost:
    """MACs, parameters and activations; each an int, or an array with one figure for each of many codes."""

    macs: Any
    params: Any
    activations: Any

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, self.activations + other.activations)


@dataclass(frozen=True)
class Setting:
    """What a network is built for, and counted and timed with, where its code does not say.

    Args:
        input_size: Side of the square image in pixels; an integer array to count many sizes in one call; the family's
            own when None. Of a family whose codes have the element R, that takes its place.
        in_chans: Channels of the image.
        num_classes: Classes of the classifier; 0 without one.

    Raises:
        ValueError: If one is no such integer.
    """

    input_size: Any = None
    in_chans: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        for name, value in self.describe().items():
            if value is None and name == "input_size":
                continue
            array = np.asarray(value)
            if not np.issubdtype(array.dtype, np.integer) or not (array >= (name != "num_classes")).all():
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")

    def describe(self) -> dict[str, Any]:
        """The three by name; what a study's identity keeps."""
        return {name: getattr(self, name) for name in ("input_size", "in_chans", "num_classes")}


def count_network(model: nn.Module, setting: Setting) -> Cost:
    """Count a network with fvcore's convolution and linear operators on one square image.

    Args:
        model: Any PyTorch network that takes one (1, in_chans, input_size, input_size) tensor.
        setting: The image's side and channels; the classes are the network's own.
    """
    import torch

    side = setting.input_size
    return count_on(model, torch.zeros(1, setting.in_chans, side, side))


def count_on(model: nn.Module, image: torch.Tensor) -> Cost:
    """Count a network as `count_network` does, on one image of shape (1, in_chans, height, width)."""
    import torch

    image = image.to(next(model.parameters()))
    training, logger = model.training, logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)  # "unsupported operator" for each activation
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch deprecates the tracer that fvcore uses
            counts = _analysis(model.eval(), image).by_operator()
    finally:
        logger.setLevel(level)
        model.train(training)
    return Cost(int(counts["macs"]), sum(p.numel() for p in model.parameters()), int(counts["activations"]))


def _analysis(model: nn.Module, image: Any) -> Any:
    """fvcore's analysis with two counts of each convolution and linear operator, so that one trace does for both."""
    from fvcore.nn import FlopCountAnalysis, jit_handles

    elements = jit_handles.generic_activation_jit()

    def both(count: Any) -> Any:
        def handle(inputs: Any, outputs: Any) -> Counter[str]:
            macs = count(inputs, outputs)  # a number, or a counter of one
            macs = sum(macs.values()) if isinstance(macs, Counter) else macs
            return Counter(macs=macs, activations=elements(inputs, outputs))

        return handle

    handles = {
        "_convolution": jit_handles.conv_flop_jit,
        "addmm": jit_handles.addmm_flop_jit,
        "linear": jit_handles.linear_flop_jit,
        "matmul": jit_handles.matmul_flop_jit,
    }
    counted = {f"aten::{name}": both(handle) for name, handle in handles.items()}
    return FlopCountAnalysis(model, image).set_op_handle(**counted)


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

    macs = activations = 0
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
            activations += math.prod(output[1:])
            learned.update(map(source, node.input[1:]))
    return Cost(macs, sum(sizes.get(name, 0) for name in learned), activations)
