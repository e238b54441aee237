"""A family whose codes also say how large the images are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from ..codes import Code, Field
from ..cost import Setting
from .family import Family
from .plan import Plan

if TYPE_CHECKING:
    from torch import nn

SYMBOL, SUFFIX = "R", "_r"


@dataclass(frozen=True)
class WithResolution(Family):
    """Another family with one more element, R, the side of the images in pixels.

    Attributes:
        inner: The other family.
    """

    inner: Family = None  # type: ignore[assignment]

    @classmethod
    def of(cls, inner: Family) -> WithResolution:
        """The family of `inner`'s name and the suffix _r."""
        original = (*inner.original, inner.input_size)
        return cls(inner.name + SUFFIX, inner.base, original, inner.input_size, inner.small, inner)

    @property
    @override
    def fields(self) -> tuple[Field, ...]:
        return *self.inner.fields, Field(SYMBOL, "image side", low=min(8, self.inner.input_size), high=4096)

    @property
    @override
    def first_conv(self) -> str:
        return self.inner.first_conv

    @property
    @override
    def classifier(self) -> str:
        return self.inner.classifier

    @property
    @override
    def feature_cfg(self) -> dict[str, Any]:
        return self.inner.feature_cfg

    @override
    def canonical(self, codes: np.ndarray) -> np.ndarray:
        return np.concatenate([self.inner.canonical(codes[:, :-1]), codes[:, -1:]], axis=1)

    @override
    def stated_side(self, code: Code) -> int:
        return code[-1]

    @override
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        return self.inner.build(Code(self.inner.name, code[:-1]), **kwargs)

    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        (side,) = elements[SYMBOL]
        return self.inner._plan(elements, replace(setting, input_size=side))
