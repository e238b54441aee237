"""Families of networks, one file a block: how a code becomes a network, and what it costs."""

from ..codes import Code, get_layout
from . import mbconv, resnet
from .family import FAMILIES, Family

__all__ = ["FAMILIES", "Family", "family_of", "get_family", "mbconv", "resnet"]


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        UnknownNameError: If there is no such family.
    """
    return FAMILIES[get_layout(name).family]


def family_of(code: Code) -> Family:
    """The family of a code."""
    return FAMILIES[code.family]
