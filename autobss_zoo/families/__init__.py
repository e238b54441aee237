"""Families of networks, one file a block: how a code becomes a network, and what it costs. No torch is needed."""

from __future__ import annotations

from ..codes import LAYOUTS, Code, get_layout
from ..errors import UnknownNameError
from . import mbconv, mobilenet, resnet, scaled, widths
from .family import Family, StageRow
from .resolution import WithResolution

__all__ = ["FAMILIES", "Family", "StageRow", "WithResolution", "family_of", "get_family", "register"]

FAMILIES: dict[str, Family] = {}
"""Every registered family by its name."""


def register(family: Family) -> None:
    """Make a family known by its name, and with the suffix _r the same with R, the side of the images, in its codes.

    Raises:
        UnknownNameError: If the name is another family's.
    """
    for one in (family, WithResolution.of(family)):
        if FAMILIES.get(one.name, one) != one:
            raise UnknownNameError(f"{one.name} is another family already; choose another name")
        FAMILIES[one.name], LAYOUTS[one.name] = one, one.layout


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        UnknownNameError: If there is no such family.
    """
    get_layout(name)
    return FAMILIES[name]


def family_of(code: Code) -> Family:
    """The family of a code.

    Raises:
        UnknownNameError: If the code is no network of a registered family.
    """
    return get_family(code.family)


for _family in (*resnet.FAMILIES, *mbconv.FAMILIES, *mobilenet.FAMILIES, *widths.FAMILIES, *scaled.FAMILIES):
    register(_family)
