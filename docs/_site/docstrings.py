"""Docstrings in which names share a line, `rounds, batch: ...`, as the API's pages read them: a line for each."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)$", re.MULTILINE)


class SharedLines(griffe.Extension):
    """Splits such lines before docstrings are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that is read."""
        if obj.docstring is not None:
            obj.docstring.value = _SHARED.sub(_split, obj.docstring.value)


def _split(line: re.Match[str]) -> str:
    indent, names, text = line.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))
