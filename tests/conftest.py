"""Codes for tests: of every family a tiny one, and random ones."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from hypothesis import settings
from hypothesis import strategies as st

from autobss_zoo import Code
from autobss_zoo.codes import get_layout
from autobss_zoo.families import FAMILIES
from autobss_zoo.registry import entries

settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

PAPER = [name for name, entry in entries().items() if entry.of_paper]
"""The paper's own networks; the others were published after it."""

SMALL_VALUES = {"C": (4, 28), "L": (1, 3), "B": (1, 20), "T": (1, 6)}


def tiny(family: str) -> Code:
    """A code whose network is built in milliseconds; widths are no multiples of 8."""
    values = []
    for field in get_layout(family).fields:
        start = {"C": 12, "L": 1, "B": 5, "T": 3}[field.symbol]
        values += [start + (i if field.symbol in "CB" else i % 2) for i, _ in enumerate(field.stages)]
    return Code(family, tuple(values))


@st.composite
def codes(draw, family=None):
    """Random valid codes of small networks, of one family or of any."""
    name = family or draw(st.sampled_from(sorted(FAMILIES)))
    ranges = [SMALL_VALUES[element[0]] for element in get_layout(name).names]
    return Code(name, tuple(draw(st.integers(*bounds)) for bounds in ranges))
