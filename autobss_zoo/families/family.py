"""What a family of networks is: the fixed part, which with a code gives a network, its plan and its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..codes import Code, Field, Layout
from ..cost import FIGURES, Cost, Setting
from .plan import Plan

if TYPE_CHECKING:
    from torch import nn

_CHUNK = 1 << 15  # codes at a time: the dozens of int64 temporaries of a chunk stay in the cache


class StageRow(NamedTuple):
    """A stage of a code's network, as tables and pictures show it.

    Attributes:
        name: What the stage is called.
        values: The code's elements that shape it by their titles, e.g. {"channels": (64,), "blocks": (2,)}.
        cost: Its cost.
    """

    name: str
    values: Mapping[str, tuple[int, ...]]
    cost: Cost


@dataclass(frozen=True)
class Family(ABC):
    """The fixed part of a network: stem, block, strides, kernels, head.

    A family is known by its name once `register` has entered it.

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

    monotone: ClassVar[bool] = True
    """Whether no cost of a code falls when an element grows."""

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """The fields of the family's codes."""

    @abstractmethod
    def _plan(self, elements: Mapping[str, Sequence[Any]], setting: Setting) -> Plan:
        """The network's plan.

        Args:
            elements: By the fields' symbols the elements of a code in order, each an int or an integer array with one
                entry for each of many codes.
            setting: Input size (an int or such an array), input channels and classes.
        """

    @abstractmethod
    def build(self, code: Code, **kwargs: Any) -> nn.Module:
        """Build the network of `code`; `kwargs` are those of the timm class (num_classes, drop_path_rate...)."""

    def parts(self, network: Any) -> list[nn.Module]:
        """The modules of a network that `build` has made, one for each block of its plan and each time it stands there.

        One after the other they compute what the network does in evaluation mode.
        """
        return network.parts()

    @property
    @abstractmethod
    def first_conv(self) -> str:
        """The name of the network's layer that timm adapts to other input channels."""

    @property
    @abstractmethod
    def classifier(self) -> str:
        """The name of the network's layer that timm adapts to other class counts."""

    @property
    def feature_cfg(self) -> dict[str, Any]:
        """timm's options of `features_only`."""
        return {}

    @cached_property
    def layout(self) -> Layout:
        """What each position of the family's codes means."""
        return Layout(self.name, self.fields, self.original)

    def canonical(self, codes: np.ndarray) -> np.ndarray:
        """The codes in the one form that all codes of the same network have: as they are, if no element is idle.

        Args:
            codes: Integers of shape (n, m), a code in each row.
        """
        return codes

    @property
    def inner(self) -> Family:
        """The family without the side of the images in its codes: this one."""
        return self

    def stated_side(self, code: Code) -> int | None:
        """The side of the images in pixels that the code states; None where it states none."""
        return None

    def image_side(self, code: Code) -> int:
        """Side in pixels of the images that the code's network is made for."""
        return self.stated_side(code) or self.input_size

    def setting(self, setting: Setting | None = None, code: Code | None = None) -> Setting:
        """A setting with the family's input size, or the code's, where none is stated."""
        setting = setting or Setting()
        side = self.input_size if code is None else self.image_side(code)
        return setting if setting.input_size is not None else replace(setting, input_size=side)

    def plan(self, codes: Code | np.ndarray, setting: Setting | None = None) -> Plan:
        """The plan of a code's network, or of the networks of many codes at once.

        Args:
            codes: A code, or an integer array of shape (n, m) with a code in each row. Arrays are not validated.
            setting: What it is counted with; the family's own when None. Its input size may be an array: of shape (n,)
                for as many codes, or of any length for one code.

        Returns:
            The plan; its figures are ints for one code, int64 arrays of shape (n,), or ints common to all, for many.

        Raises:
            ValueError: If `codes` is of another family or shape, or the input size has another shape.
        """
        setting = self.setting(setting)
        if isinstance(codes, Code):
            if codes.family != self.name:
                raise ValueError(f"expected a code of {self.name}, got {codes}")
            return self._plan(self.layout.divide(codes.values), setting)
        columns = np.ascontiguousarray(self._checked(codes, setting).T, dtype=np.int64)
        return self._plan(self.layout.divide(columns), setting)

    def _checked(self, codes: Any, setting: Setting) -> np.ndarray:
        array, length = np.asarray(codes), len(self.layout.names)
        if array.ndim != 2 or array.shape[1] != length or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"expected an integer array of shape (n, {length}) of {self.name} codes, "
                f"got {array.dtype} of shape {array.shape}"
            )
        if np.ndim(setting.input_size) and np.shape(setting.input_size) != array.shape[:1]:
            raise ValueError(f"input_size: expected {len(array)}, one for each code, got {len(setting.input_size)}")
        return array

    def figure(self, name: str, codes: Code | np.ndarray, setting: Setting | None = None) -> Any:
        """One figure of the cost of the whole network; arguments and result as of `cost`.

        Args:
            name: "macs", "params" or "activations".
            codes: As of `cost`.
            setting: As of `cost`.
        """
        return self._figures((name,), codes, setting)[0]

    def cost(self, codes: Code | np.ndarray, setting: Setting | None = None) -> Cost:
        """The cost of the whole network in closed form, of one code or of many.

        Args:
            codes: As of `plan`.
            setting: As of `plan`.

        Returns:
            The cost; each figure is an int for one code, an int64 array of shape (n,) for many codes or input sizes.

        Raises:
            ValueError: As `plan`.
        """
        return Cost(*self._figures(FIGURES, codes, setting))

    def _figures(self, names: Sequence[str], codes: Code | np.ndarray, setting: Setting | None) -> list[Any]:
        setting = self.setting(setting)
        if isinstance(codes, Code):
            found, shape = self.plan(codes, setting).figures(names), np.shape(setting.input_size)
            return [np.full(shape, figure) if shape and np.ndim(figure) == 0 else _plain(figure) for figure in found]
        array = self._checked(codes, setting)
        out = np.empty((len(names), len(array)), np.int64)
        for part, one in _chunks(len(array), setting):
            for row, figure in zip(out, self.plan(array[part], one).figures(names), strict=True):
                row[part] = figure
        return list(out)

    def stage_rows(self, code: Code, setting: Setting | None = None) -> list[StageRow]:
        """The stages of a code's network in order, with the code's elements that shape them and their costs."""
        values = code.as_dict()
        titles = {name: field.title for field in self.fields for name in field.names}
        rows = []
        for stage in self.plan(code, setting).stages:
            shown: dict[str, tuple[int, ...]] = {}
            for name in stage.elements:
                shown[titles[name]] = (*shown.get(titles[name], ()), values[name])
            rows.append(StageRow(stage.name, shown, Cost(*map(_plain, stage.figures()))))
        return rows


def titles(stages: Iterable[StageRow]) -> list[str]:
    """The titles of a table's columns of elements, in order."""
    return list(dict.fromkeys(title for stage in stages for title in stage.values))


def shown(stage: StageRow, title: str) -> str:
    """A stage's elements of a title, as a table shows them."""
    return " ".join(map(str, stage.values.get(title, ())))


def _plain(figure: Any) -> Any:
    """A figure of one code as a plain int."""
    return figure if np.ndim(figure) else int(figure)


def _chunks(n: int, setting: Setting) -> Iterator[tuple[slice, Setting]]:
    """Slices of `n` codes, each with its part of the setting."""
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        several = np.ndim(setting.input_size) > 0
        yield part, replace(setting, input_size=np.asarray(setting.input_size)[part]) if several else setting
