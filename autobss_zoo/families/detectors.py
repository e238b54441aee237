"""What the paper counts of a detector, in closed form: MACs over arrays of ResNet50 (v1) backbone codes.

AutoBSS, appendix B.4, at 800x800. Of Mask R-CNN: backbone, FPN and RPN. Of RetinaNet: everything. FPN and heads are
256 wide, as in torchvision.
"""

from __future__ import annotations

import numpy as np

from .family import FAMILIES, halved

INPUT_SIZE = 800
DETECTORS = ("maskrcnn", "retinanet")
_WIDTH, _ANCHORS = 256, {"maskrcnn": 3, "retinanet": 9}
_CLASSES = 80  # of COCO


def detector_macs(family: str, codes: np.ndarray, detector: str) -> np.ndarray:
    """MACs of a detector over ResNet50 backbones.

    Args:
        family: The backbone's family, e.g. "resnet50_v1".
        codes: Integer array of shape (n, 12), a code in each row.
        detector: "maskrcnn" or "retinanet".

    Returns:
        Integer array of shape (n,).
    """
    if detector not in DETECTORS:
        raise ValueError(f"detector: expected {' or '.join(DETECTORS)}, got {detector!r}")
    stages = FAMILIES[family].stage_costs(codes, INPUT_SIZE)
    total = sum(cost.macs for stage, cost in stages.items() if stage != "stage6")  # the classifier is not there
    sides = [INPUT_SIZE // 4]
    while len(sides) < 6:
        sides.append(halved(sides[-1]))
    areas = np.square(sides)  # of the levels P2 to P7
    conv = 9 * _WIDTH * _WIDTH
    levels = range(4) if detector == "maskrcnn" else range(1, 4)
    for level in levels:
        total = total + codes[:, level] * (_WIDTH * areas[level]) + conv * areas[level]
    if detector == "maskrcnn":  # on P2-P6, P6 by pooling
        return total + int(areas[:5].sum()) * (conv + _WIDTH * 5 * _ANCHORS[detector])
    total = total + codes[:, 3] * (9 * _WIDTH * areas[4]) + conv * areas[5]  # P6 from C5, P7 from P6
    per_pixel = 8 * conv + 9 * _WIDTH * (_CLASSES + 4) * _ANCHORS[detector]
    return total + int(areas[1:].sum()) * per_pixel
