"""What the paper counts of a detector, in closed form: MACs over arrays of ResNet backbone codes.

AutoBSS, appendix B.4, at 800x800. Of Mask R-CNN: backbone, FPN and RPN, and of Faster R-CNN the same. Of RetinaNet:
everything.
"""

from __future__ import annotations

import numpy as np

from .family import FAMILIES, halved

INPUT_SIZE = 800
_ANCHORS = {"maskrcnn": 3, "fasterrcnn": 3, "retinanet": 9}
_STRIDE = 32  # detectors pad images to a multiple of it


def detector_macs(
    family: str,
    codes: np.ndarray,
    detector: str,
    input_size: int = INPUT_SIZE,
    num_classes: int = 80,
    width: int = 256,
) -> np.ndarray:
    """MACs of a detector over ResNet backbones.

    Args:
        family: The backbone's family, e.g. "resnet50_v1".
        codes: Integer array of shape (n, m), a code in each row.
        detector: "maskrcnn", "fasterrcnn" or "retinanet".
        input_size: Side of the square image in pixels, as the backbone sees it but for padding.
        num_classes: Classes of objects; COCO's 80. Only RetinaNet's MACs depend on it.
        width: Channels of the pyramid and the heads.

    Returns:
        Integer array of shape (n,).
    """
    if detector not in _ANCHORS:
        raise ValueError(f"detector: expected {' or '.join(_ANCHORS)}, got {detector!r}")
    size = -(-input_size // _STRIDE) * _STRIDE
    stages = FAMILIES[family].stage_costs(codes, size)
    total = sum(cost.macs for stage, cost in stages.items() if stage != "stage6")  # the classifier is not there
    sides = [size // 4]
    while len(sides) < 6:
        sides.append(halved(sides[-1]))
    areas = np.square(sides)  # of the levels P2 to P7
    conv = 9 * width * width
    levels = range(1, 4) if detector == "retinanet" else range(4)
    for level in levels:
        total = total + codes[:, level] * (width * areas[level]) + conv * areas[level]
    if detector != "retinanet":  # on P2-P6, P6 by pooling
        return total + int(areas[:5].sum()) * (conv + width * 5 * _ANCHORS[detector])
    total = total + codes[:, 3] * (9 * width * areas[4]) + conv * areas[5]  # P6 from C5, P7 from P6
    per_pixel = 8 * conv + 9 * width * (num_classes + 4) * _ANCHORS[detector]
    return total + int(areas[1:].sum()) * per_pixel
