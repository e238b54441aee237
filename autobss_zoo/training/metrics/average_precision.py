"""COCO's average precision, as pycocotools computes it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ...errors import DataError
from ..data.coco_format import flaw_of

_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
"""The first of COCOeval's statistics: over IoUs of 0.5 to 0.95, at 0.5, at 0.75, of small, medium and large objects."""


@dataclass(frozen=True)
class AveragePrecision:
    """How well objects are detected.

    Attributes:
        figures: In percent: box_AP, box_AP50, box_AP75, box_APs, box_APm, box_APl, and where masks are predicted the
            same of masks. Of sizes that no object has there is none.
        images: How many were evaluated.
        left_out: Broken images, which are not among them.
    """

    figures: Mapping[str, float]
    images: int
    left_out: int

    metric: ClassVar[str] = "box_AP"

    @property
    def row(self) -> dict[str, float]:
        """Its figures for a line of metrics."""
        return dict(self.figures)

    @property
    def text(self) -> str:
        """It in a line, for people."""
        shown = [
            f"{kind} AP {self.figures[f'{kind}_AP']:.2f}% (AP50 {self.figures[f'{kind}_AP50']:.2f}%)"
            for kind in ("box", "mask")
            if f"{kind}_AP" in self.figures
        ]
        return f"{', '.join(shown)}, of {self.images:,} images"

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return asdict(self)


def as_results(image: int, prediction: Mapping[str, Tensor], categories: Mapping[int, int]) -> list[dict[str, Any]]:
    """An image's predictions in COCO's format of results.

    Args:
        image: The image's identity.
        prediction: boxes, labels, scores (and masks), as torchvision's detectors return them.
        categories: Identities of the categories by label.
    """
    from pycocotools import mask

    boxes = prediction["boxes"].cpu().double().clone()
    boxes[:, 2:] -= boxes[:, :2]
    kept = zip(boxes.tolist(), prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True)
    results = [
        {"image_id": image, "category_id": categories[label], "bbox": box, "score": score}
        for box, label, score in kept
        if label in categories
    ]
    if "masks" in prediction and results:
        places = [i for i, label in enumerate(prediction["labels"].tolist()) if label in categories]
        pixels = (prediction["masks"][places, 0] > 0.5).byte().cpu().numpy()
        for result, found in zip(results, mask.encode(np.asfortranarray(pixels.transpose(1, 2, 0))), strict=True):
            result["segmentation"] = found
    return results


def average_precision(truth: Any, images: list[int], results: list[dict[str, Any]], masks: bool) -> dict[str, float]:
    """COCO's figures of results.

    Args:
        truth: pycocotools' COCO of the true objects; it is left as it is.
        images: Identities of the images that were looked at.
        results: As `as_results` gives them, of all images.
        masks: Whether to compare masks, too.

    Returns:
        As AveragePrecision.figures.

    Raises:
        DataError: If a true object's mask is missing or broken.
    """
    from pycocotools.cocoeval import COCOeval

    figures: dict[str, float] = {}
    truth = _copy(truth, images, masks)
    for kind, iou in (("box", "bbox"), ("mask", "segm"))[: 1 + masks]:
        with contextlib.redirect_stdout(io.StringIO()):  # both print what they do
            judge = COCOeval(truth, _index(truth, results, iou), iou)
            judge.params.imgIds = images
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        found = zip(_FIGURES, judge.stats, strict=False)
        figures |= {f"{kind}_{name}": 100 * float(value) for name, value in found if value >= 0}
    return figures


def _copy(truth: Any, images: list[int], masks: bool) -> Any:
    """The objects numbered from 1: pycocotools takes an object 0 for none. It also writes into what it is given."""
    from pycocotools.coco import COCO

    found = [o for image in images for o in truth.imgToAnns.get(image, ())]
    for flawed in found if masks else ():
        if flaw := flaw_of(flawed, truth.imgs[flawed["image_id"]]):
            raise DataError(f"annotation {flawed['id']}: missing or broken segmentation ({flaw})")
    copy = COCO()
    copy.dataset = {**truth.dataset, "annotations": [{**o, "id": i} for i, o in enumerate(found, start=1)]}
    with contextlib.redirect_stdout(io.StringIO()):
        copy.createIndex()
    return copy


def _index(truth: Any, results: list[dict[str, Any]], iou: str) -> Any:
    """pycocotools' index of the results; it takes the area from the box wherever there is one."""
    from pycocotools.coco import COCO

    if results:
        dropped = "bbox" if iou == "segm" else "segmentation"
        return truth.loadRes([{key: value for key, value in r.items() if key != dropped} for r in results])
    nothing = COCO()
    nothing.dataset = {"images": [], "categories": [], "annotations": []}
    nothing.createIndex()
    return nothing
