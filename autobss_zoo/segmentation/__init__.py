"""Semantic segmentation over any ResNet code: PSPNet and PSANet, and prediction by sliding window."""

from .networks import SEGMENTERS, Segmenter, create_segmenter
from .sliding import predict

__all__ = ["SEGMENTERS", "Segmenter", "create_segmenter", "predict"]
