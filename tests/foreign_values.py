"""What strangers put into JSON and YAML: any value anywhere in a structure that was good before."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD = (
    None, True, False, 0, -1, 1, 2, 3.5, 1e300, -0.0, float("nan"), float("inf"), 10**9, 2**63, 10**30, 1 << 9000,
    "", " ", "x", "true", "1e400", "10Q", "\u0661\u0662", "a\0b", "x" * 5000, "../..", "/", "~", "nowhere.yaml",
    [], [[]], {}, [None], ["x"], {"x": 1}, [1, 1], [3, 2], {"a": {"b": {"c": [1]}}},
)  # fmt: skip
"""Values that one or another reader took badly, and their like."""

PIECES = ("\t", "\n", ": ", "- ", "{", "[", "]", "&a ", "*a", "!", "'", "1e9", "\0")
"""What YAML is made of."""

scalars = st.one_of(st.sampled_from(ODD).map(copy.deepcopy), st.integers(), st.floats(), st.text(max_size=10))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
"""Anything that JSON or YAML can hold."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all parts of a structure, itself left out."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places(part, (*path, key))


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """A structure with one to three of its parts dropped, replaced, nested or joined by another."""
    out = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        if not (known := list(places(out))):
            break
        *above, last = draw(st.sampled_from(known))
        parent = out
        for key in above:
            parent = parent[key]
        how = draw(st.sampled_from(("drop", "replace", "nest", "join")))
        if how == "drop":
            del parent[last]
        elif how == "replace":
            parent[last] = draw(values)
        elif how == "nest":
            parent[last] = draw(st.sampled_from(([parent[last]], {str(last): parent[last]})))
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = draw(values)
        else:
            parent.insert(draw(st.integers(0, len(parent))), draw(values))
    return out


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with one to four of its pieces cut out, doubled or replaced."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        new = draw(st.sampled_from(("", text[start:end] * 2, *PIECES)))
        text = text[:start] + new + text[end:]
    return text
