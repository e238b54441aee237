"""The plans of what the paper counts of a detector, over ResNet backbones of one code or of many.

AutoBSS, appendix B.4, at 800x800. Of Mask R-CNN: backbone, FPN and RPN, and of Faster R-CNN the same. Of RetinaNet:
everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..codes import Code
from ..cost import Setting
from .family import Family
from .plan import Block, Conv, Plan, Stage, halved

INPUT_SIZE = 800
_ANCHORS = {"maskrcnn": 3, "fasterrcnn": 3, "retinanet": 9}
_STRIDE = 32  # detectors pad images to a multiple of it


@dataclass(frozen=True)
class DetectorKind:
    """A kind of detector, as far as its MACs depend on it.

    Attributes:
        architecture: "maskrcnn", "fasterrcnn" or "retinanet".
        width: Channels of the pyramid and the heads.

    Raises:
        ValueError: If there is no such architecture, or the width is no positive integer.
    """

    architecture: str
    width: int = 256

    def __post_init__(self) -> None:
        if not isinstance(self.architecture, str) or self.architecture not in _ANCHORS:
            raise ValueError(f"detector: expected {' or '.join(_ANCHORS)}, got {self.architecture!r}")
        if type(self.width) is not int or self.width < 1:
            raise ValueError(f"width: expected a positive integer, got {self.width!r}")

    def setting(self, setting: Setting | None = None) -> Setting:
        """A setting with 800 pixels, or with COCO's 80 classes, where none is stated."""
        setting = setting or Setting(num_classes=80)
        return setting if setting.input_size is not None else replace(setting, input_size=INPUT_SIZE)

    def macs(self, family: Family, codes: Code | np.ndarray, setting: Setting | None = None) -> Any:
        """MACs over backbones of a family, an int or integers of shape (n,).

        Args:
            family: The backbone's, e.g. "resnet50_v1".
            codes: A code, or an integer array of shape (n, m).
            setting: The side of the square image, as the backbone sees it but for padding, and the classes of objects,
                on which only RetinaNet depends; 800 pixels and COCO's 80 when None.
        """
        return self.plan(family, codes, setting).figures(("macs",))[0]

    def plan(self, family: Family, codes: Code | np.ndarray, setting: Setting | None = None) -> Plan:
        """The backbone without its classifier, the pyramid, and the head; arguments as of `macs`.

        Only its MACs and activations are the detector's: the head's weights are shared by the pyramid's levels.
        """
        setting = self.setting(setting)
        padded = replace(setting, input_size=halved(setting.input_size, _STRIDE) * _STRIDE)
        *stages, _ = family.plan(codes, padded).stages
        levels, width = stages[1:], self.width
        retina = self.architecture == "retinanet"
        sides = [level.side_out for level in levels]
        while len(sides) < 6:
            sides.append(halved(sides[-1]))  # P6 and P7
        pyramid: list[Block] = []
        for level in levels[1:] if retina else levels:
            pyramid += Conv(level.outputs, width, level.side_out), Conv(width, width, level.side_out, 3)
        if retina:  # P6 from C5, P7 from P6
            pyramid += Conv(levels[-1].outputs, width, sides[3], 3, 2), Conv(width, width, sides[4], 3, 2)
        anchors, head = _ANCHORS[self.architecture], []
        for side in sides[1:] if retina else sides[:5]:  # P3-P7; P2-P6, P6 by pooling
            deep = replace(Conv(width, width, side, 3), times=8 if retina else 1)
            out = (setting.num_classes + 4) * anchors if retina else 5 * anchors
            head += [deep, Conv(width, out, side, 3 if retina else 1)]
        return Plan((*stages, Stage("pyramid", tuple(pyramid)), Stage("head", tuple(head))))
