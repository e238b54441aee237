"""Detectors over any ResNet code: RetinaNet, Faster R-CNN and Mask R-CNN, of torchvision's parts."""

from .networks import DETECTORS, Detector, create_detector

__all__ = ["DETECTORS", "Detector", "create_detector"]
