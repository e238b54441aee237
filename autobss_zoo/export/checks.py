"""What every export shares: what it measured, how a graph is described, and how it is compared with its network."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ExportError

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-4
"""Largest accepted difference between ONNX Runtime and PyTorch, relative to the largest output."""

HALF_TOLERANCE = 2e-2
"""The same of a graph in half precision beside the network in float32: weights and activations have 11 bits."""


@dataclass(frozen=True)
class Report:
    """What an export measured.

    Attributes:
        path: The written file.
        opset: The ONNX operator set.
        max_abs_error, max_rel_error: Largest difference between ONNX Runtime's and PyTorch's outputs on random images;
            relative to the largest magnitude of an output.
        macs: Multiply-accumulates for one image; None of a detector, where they depend on the image.
        params: Parameters.
    """

    path: Path
    opset: int
    max_abs_error: float
    max_rel_error: float
    macs: int | None
    params: int


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' chatter: they print progress even when told not to, and warn of their own internals."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def clean(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Infer every shape, and drop the stack traces of the machine that exported."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    for part in (graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    return graph


def describe(graph: onnx.ModelProto, facts: Mapping[str, object]) -> None:
    """Write facts into a graph's metadata, without those that are empty."""
    from onnx import helper

    texts = {key: str(value) for key, value in facts.items()}
    helper.set_model_props(graph, {key: text for key, text in texts.items() if text})


def open_session(graph: onnx.ModelProto) -> Any:
    """ONNX Runtime's session of a graph, on the CPU.

    Raises:
        ExportError: If the checker or ONNX Runtime finds the graph invalid.
    """
    import onnx
    import onnxruntime

    try:
        onnx.checker.check_model(graph, full_check=True)
        return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # each of the two has its own kinds
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error


def largest_errors(pairs: Iterable[tuple[torch.Tensor, Any]], tolerance: float = TOLERANCE) -> tuple[float, float]:
    """The largest absolute and relative error of ONNX Runtime's outputs.

    Args:
        pairs: Each output by PyTorch, and the array of the same shape by ONNX Runtime.
        tolerance: The largest relative error that is accepted.

    Raises:
        ExportError: If a relative error is over it, or not a number.
    """
    import numpy as np

    errors = [(np.abs(ours.numpy() - theirs).max(initial=0.0), ours.abs()) for ours, theirs in pairs]
    absolute = np.max([error for error, _ in errors])
    relative = np.max([error / max(float(size.max()) if len(size) else 0.0, 1e-12) for error, size in errors])
    if not relative <= tolerance:
        raise ExportError(f"ONNX Runtime differs from PyTorch by {relative:.2g} of the largest output")
    return float(absolute), float(relative)
