"""Families of networks, one file a block: how a code becomes a network, and what it costs."""

from ..codes import Code
from ..errors import UnknownNameError, did_you_mean
from . import mbconv, resnet
from .family import FAMILIES, Family

__all__ = ["FAMILIES", "Family", "family_of", "get_family", "mbconv", "resnet"]


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        UnknownNameError: If there is no such family.
    """
    if name not in FAMILIES:
        raise UnknownNameError(f"unknown family {name!r}: {did_you_mean(str(name), FAMILIES)}")
    return FAMILIES[name]


def family_of(code: Code) -> Family:
    """The family of a code."""
    return FAMILIES[code.family]
