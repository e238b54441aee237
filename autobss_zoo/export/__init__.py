"""ONNX export of classifiers and detectors, checked."""

from .checks import Report
from .classifiers import to_onnx

__all__ = ["Report", "to_onnx"]
