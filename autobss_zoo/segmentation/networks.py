"""PSPNet and PSANet over coded backbones (AutoBSS, section 4.5), with the heads of their authors' VOC 2012 settings."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from ..about import About
from ..codes import Code
from ..errors import UnknownNameError, did_you_mean
from ..families import family_of
from ..families.resnet import levels_of
from .dilation import dilate
from .layers import resize
from .psanet import PointwiseSpatialAttention
from .pspnet import PyramidPooling

WIDTH = 512
_STRIDE = 8  # of the backbone


def _pspnet(channels: int, width: int, side: int) -> PyramidPooling:
    return PyramidPooling(channels)


SEGMENTERS: dict[str, Callable[[int, int, int], Any]] = {"pspnet": _pspnet, "psanet": PointwiseSpatialAttention}
"""The module of every architecture by its name, made from the features' channels, the width and the features' side in
training."""


class Segmenter(nn.Module):
    """A backbone, the module that gathers context over its last stage, and a classifier of each position.

    Only `backbone` can be pretrained: every parameter outside it is new, and learns at ten times its rate in the
    authors' training.

    Args:
        backbone: timm's ResNet of output stride 8, without a classifier.
        context: The architecture's module.
        classifier: Of the context's output.
        aux_classifier: Of the stage before the last; used in training only.
    """

    about: About

    def __init__(
        self, backbone: Any, context: nn.Module, classifier: nn.Module, aux_classifier: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.context = context
        self.classifier = classifier
        self.aux_classifier = aux_classifier

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Logits "out" and, in training, "aux" of (n, 3, h, w) normalised images, both (n, num_classes, h, w)."""
        size = images.shape[-2:]
        before_last, last = self.backbone.forward_intermediates(images, indices=2, intermediates_only=True)
        logits = OrderedDict(out=resize(self.classifier(self.context(last)), size))
        if self.training and self.aux_classifier is not None:
            logits["aux"] = resize(self.aux_classifier(before_last), size)
        return logits


def _classifier(channels: int, width: int, num_classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        Conv2dNormActivation(channels, width, 3), nn.Dropout2d(dropout), nn.Conv2d(width, num_classes, 1)
    )


def create_segmenter(
    architecture: str,
    code: Code,
    num_classes: int = 21,
    *,
    width: int = WIDTH,
    dropout: float = 0.1,
    aux_loss: bool = True,
    input_size: int | None = None,
) -> Segmenter:
    """Build an untrained segmentation network over the backbone of a code.

    Names and shapes of the backbone's weights are those of the code's classifier without its last layer, so that its
    state dict loads into `backbone`; at the original ResNet50 code they are torchvision's too. Strides beyond 8 become
    dilation, as in torchvision's segmentation networks.

    Args:
        architecture: "pspnet" or "psanet".
        code: Of a ResNet family of four stages.
        num_classes: Outputs, the background included; PASCAL VOC's 21.
        width: Channels of the classifier and of the branches of PSANet; the auxiliary classifier has half of them.
        dropout: Of whole channels before the last layer of both classifiers.
        aux_loss: Whether to have the auxiliary classifier, for the second loss of training.
        input_size: Side in pixels of the training's crops, which PSANet's attention reaches across; no other
            architecture depends on it. Where it is None, the side that the code states, or 465.

    Returns:
        The network, for images of any size.

    Raises:
        UnknownNameError: If there is no such architecture.
        CodeError: If the code is of no such ResNet.
    """
    if architecture not in SEGMENTERS:
        raise UnknownNameError(f"architecture: {architecture!r}: {did_you_mean(str(architecture), SEGMENTERS)}")
    family = family_of(code)
    *_, aux_channels, channels = levels_of(family, code, architecture)
    input_size = input_size or family.stated_side(code) or 465
    context = SEGMENTERS[architecture](channels, width, (input_size - 1) // _STRIDE + 1)
    backbone = family.build(code, num_classes=0)
    dilate(backbone, _STRIDE)
    model = Segmenter(
        backbone,
        context,
        _classifier(context.out_channels, width, num_classes, dropout),
        _classifier(aux_channels, width // 2, num_classes, dropout) if aux_loss else None,
    )
    arguments = {
        "num_classes": num_classes,
        "width": width,
        "dropout": dropout,
        "aux_loss": aux_loss,
        "input_size": input_size,
    }
    model.about = About(code, "segmentation", architecture, arguments)
    return model
