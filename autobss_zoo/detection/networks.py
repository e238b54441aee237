"""Detectors of torchvision over coded backbones with a feature pyramid (AutoBSS, section 4.5 and appendix B.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from ..about import About
from ..codes import Code
from ..errors import UnknownNameError, did_you_mean
from ..families import family_of
from ..families.resnet import levels_of

WIDTH = 256
_BOX_SIDE = 7  # of the features that are pooled for a box, torchvision's


@dataclass(frozen=True)
class Detector:
    """A kind of detector.

    Attributes:
        network: torchvision's class.
        heads: Its arguments that depend on num_classes and width.
        stages: The backbone's stages that the pyramid stands on.
        first_label: Label of the first class: 1 where 0 is the background.
        masks: Whether it also segments what it detects.
    """

    network: type[nn.Module]
    heads: Callable[[int, int], dict[str, Any]]
    stages: tuple[int, ...]
    first_label: int
    masks: bool = False


def _classes(num_classes: int, width: int) -> dict[str, Any]:
    return {"num_classes": num_classes}


def _box_heads(num_classes: int, width: int) -> dict[str, Any]:
    return {
        "box_head": TwoMLPHead(width * _BOX_SIDE**2, 4 * width),
        "box_predictor": FastRCNNPredictor(4 * width, num_classes),
    }


def _mask_heads(num_classes: int, width: int) -> dict[str, Any]:
    return {
        **_box_heads(num_classes, width),
        "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
        "mask_predictor": MaskRCNNPredictor(width, width, num_classes),
    }


DETECTORS = {
    "retinanet": Detector(RetinaNet, _classes, (2, 3, 4), 0),
    "fasterrcnn": Detector(FasterRCNN, _box_heads, (1, 2, 3, 4), 1),
    "maskrcnn": Detector(MaskRCNN, _mask_heads, (1, 2, 3, 4), 1, masks=True),
}
"""Every kind of detector by its name."""


def create_detector(
    architecture: str, code: Code, num_classes: int | None = None, *, width: int = WIDTH, **kwargs: Any
) -> nn.Module:
    """Build an untrained detector of torchvision's over the backbone of a code.

    Batch norms are ordinary ones that learn, in the backbone alone, as they are when nothing is pretrained; the pyramid
    and the heads have none. At the original ResNet50 code, names and shapes of the weights are torchvision's, so that
    its state dicts load; RetinaNet's P6 is made from C5, as in the paper and in torchvision's second version.

    Args:
        architecture: "retinanet", "fasterrcnn" or "maskrcnn".
        code: Of a ResNet family of four stages; the paper's detectors are of "resnet50_v1". Where it states the images'
            side, that is min_size, and max_size keeps torchvision's proportion, unless the arguments say otherwise.
        num_classes: As in torchvision: outputs of the classifier. R-CNNs count the background, which is label 0;
            RetinaNet's first class may be label 0. COCO's 81 and 80 when None.
        width: Channels of the pyramid and the heads; the box head is four times as wide. The paper's 256.
        **kwargs: torchvision's further arguments of the detector's class: min_size, max_size, box_score_thresh...

    Returns:
        torchvision's RetinaNet, FasterRCNN or MaskRCNN. It takes a list of images of shape (3, h, w) in [0, 1] and in
        training targets; it returns losses in training, and else boxes, scores, labels (and masks) of each image.

    Raises:
        UnknownNameError: If there is no such architecture.
        CodeError: If the code is of no such ResNet.
        TypeError: If torchvision's class has no such argument.
    """
    if architecture not in DETECTORS:
        raise UnknownNameError(f"architecture: {architecture!r}: {did_you_mean(str(architecture), DETECTORS)}")
    family, kind = family_of(code), DETECTORS[architecture]
    levels = levels_of(family, code, architecture)
    known = {*signature(kind.network).parameters, *signature(GeneralizedRCNNTransform).parameters} - {
        "backbone",
        "kwargs",
    }
    if odd := sorted(kwargs.keys() - known):  # torchvision ignores them
        raise TypeError(f"{architecture} has no argument {odd[0]}: {did_you_mean(odd[0], known)}")
    if side := family.stated_side(code):
        kwargs = {"min_size": side, "max_size": round(side * 1333 / 800), **kwargs}
    num_classes = 80 + kind.first_label if num_classes is None else num_classes
    body = family.build(code, num_classes=0)
    channels = [levels[stage - 1] for stage in kind.stages]
    pyramid = BackboneWithFPN(
        body,
        {f"layer{stage}": str(level) for level, stage in enumerate(kind.stages)},
        channels,
        width,
        LastLevelP6P7(channels[-1], width) if architecture == "retinanet" else LastLevelMaxPool(),
    )
    model: Any = kind.network(pyramid, **kind.heads(num_classes, width), **kwargs)
    arguments = {"num_classes": num_classes, "width": width, **kwargs}
    model.about = About(code, "detection", architecture, arguments)
    return model
