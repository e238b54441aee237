"""Types of the values in recipes, and a line on what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from .errors import did_you_mean, shown


def _whole(value: Any) -> Any:
    """1e5, which YAML has as a float, is a whole number; true is none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole), Field(strict=True)]
"""A whole number, as a number: neither a text nor true."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number, as a number."""
Share = Annotated[Number, Field(ge=0, lt=1)]
"""A part of a whole, never all of it."""
Flag = Annotated[bool, Field(strict=True)]
"""True or false."""
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]
"""What NumPy, scikit-learn and torch all take as a seed."""
Side = Annotated[Whole, Field(gt=0, le=8192)]
"""Of images, in pixels."""
Text = Annotated[str, Field(min_length=1, max_length=4096)]
"""A name or path."""


def complaint(error: ValidationError, known: Iterable[str]) -> str:
    """One line on the first of pydantic's complaints; an unknown key, which may explain the others, comes first.

    Args:
        error: What pydantic has raised.
        known: The keys that there are.
    """
    wrong: Any = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    key = ".".join(map(str, wrong["loc"][:1]))
    if wrong["type"] == "extra_forbidden":
        return f"unknown key {shown(key)}: {did_you_mean(key, known)}"
    if wrong["type"] == "missing":
        return f"{key}: is missing"
    text = wrong["msg"].removeprefix("Value error, ")
    return f"{key}: {text[0].lower()}{text[1:]}, got {shown(wrong['input'])}" if key else text
