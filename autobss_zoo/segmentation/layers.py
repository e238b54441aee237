"""What every segmentation network does alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (n, c, h, w) bilinearly to `size`, corner on corner.

    A backbone that halves a side of 8k + 1 pixels three times keeps every 8th of them, the first and the last included;
    aligned corners put each feature back on its own pixel.
    """
    return F.interpolate(features, size=list(size), mode="bilinear", align_corners=True)
