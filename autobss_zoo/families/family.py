"""What a family of networks is: the fixed part, which with a code gives a network and its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import nn

from ..codes import LAYOUTS, Code, Field, Layout, get_layout
from ..cost import Cost

FAMILIES: dict[str, Family] = {}
"""Every family by its name."""

_CHUNK = 1 << 14  # rows at a time: the dozens of int64 temporaries of a chunk stay in the cache


@dataclass(frozen=True)
class Family(ABC):
    """The fixed part of a network: stem, block, strides, kernels, head.

    Attributes:
        name: The family's name, which begins the text of its codes.
        base: The paper's network that the family is or varies: resnet18, resnet50, mnv2, efficientnet_b0 or _b1.
        original: The hand-made code, after which searches are measured.
        input_size: Side in pixels of the images that the papers count and train with.
        small: Whether this is the version for images of 28 to 64 pixels: stride-1 stem, no max-pool.
    """

    name: str
    base: str
    original: tuple[int, ...]
    input_size: int = 224
    small: bool = False

    #: Names of the layers that timm adapts to other input channels and class counts.
    first_conv: ClassVar[str]
    classifier: ClassVar[str]
    #: timm's options of `features_only`.
    feature_cfg: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        FAMILIES[self.name] = self
        LAYOUTS[self.name] = Layout(self.name, self.fields, self.original)

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """The fields of the family's codes."""

    @abstractmethod
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        """Build the network of `code`; `kwargs` are those of the timm class (num_classes, drop_path_rate...)."""

    @abstractmethod
    def _stage_costs(self, codes: np.ndarray, size: int, in_chans: int, num_classes: int) -> list[tuple[str, Cost]]:
        """The cost of each stage, stem first and head last; `codes` is the transposed array, one row an element."""

    def stage_costs(
        self,
        codes: Code | Iterable,
        input_size: int | None = None,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> dict[str, Cost]:
        """Cost of each stage in closed form, of one code or of many.

        Args:
            codes: A code, or an integer array of shape (n, m) with a code in each row. Arrays are not validated.
            input_size: Side of the square image in pixels; the family's own when None.
            in_chans: Channels of the image.
            num_classes: Classes of the classifier.

        Returns:
            Costs by stage name, in order; each figure is an int for one code, an int64 array of shape (n,) for many.

        Raises:
            ValueError: If `codes` is of another family or shape, or the image has no pixels or channels.
        """
        size = self.input_size if input_size is None else input_size
        for name, value in (("input_size", size), ("in_chans", in_chans)):
            if value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        if isinstance(codes, Code):
            if codes.family != self.name:
                raise ValueError(f"expected a code of {self.name}, got {codes}")
            one = self._stage_costs(np.array([codes.values], np.int64).T, size, in_chans, num_classes)
            return {stage: cost.item() for stage, cost in one}
        array = np.asarray(codes)
        length = len(get_layout(self.name).names)
        if array.ndim != 2 or array.shape[1] != length or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"expected an integer array of shape (n, {length}) of {self.name} codes, "
                f"got {array.dtype} of shape {array.shape}"
            )
        out: dict[str, Cost] = {}
        for start in range(0, max(len(array), 1), _CHUNK):
            columns = np.ascontiguousarray(array[start : start + _CHUNK].T, dtype=np.int64)
            for stage, cost in self._stage_costs(columns, size, in_chans, num_classes):
                if stage not in out:
                    out[stage] = Cost(np.empty(len(array), np.int64), np.empty(len(array), np.int64))
                out[stage].macs[start : start + _CHUNK] = cost.macs
                out[stage].params[start : start + _CHUNK] = cost.params
        return out

    def cost(
        self,
        codes: Code | Iterable,
        input_size: int | None = None,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> Cost:
        """MACs and parameters of the whole network in closed form; arguments as in `stage_costs`."""
        return sum(self.stage_costs(codes, input_size, in_chans, num_classes).values(), Cost(0, 0))


def halved(size: int, stride: int = 2) -> int:
    """Side of a feature map after a convolution or pooling with `stride` and padding k // 2."""
    return -(-size // stride)
