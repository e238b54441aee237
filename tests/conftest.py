"""Codes for tests: of every family a tiny one, and random ones."""

import os
import re
import shutil

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 8 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")  # studies wait for the disk at each write

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from autobss_zoo import Code
from autobss_zoo.codes import get_layout
from autobss_zoo.families import FAMILIES
from autobss_zoo.registry import entries


def long(*values):
    """Values of a parameter that are tried outside the gate: they take minutes and tell little more."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.long) for value in values
    ]


_TORCH = version("torch") if find_spec("torch") else "0.0"
exports = pytest.mark.skipif(tuple(map(int, _TORCH.split(".")[:2])) < (2, 7), reason="ONNX export needs torch 2.7")
"""Marks tests that export."""

MODULES = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parent / "search")))
"""Where the processes that a test starts find the tests' modules; a PYTHONPATH."""

settings.register_profile("default", deadline=None, print_blob=True)
settings.load_profile("default")

PAPER = [name for name, entry in entries().items() if entry.paper]
"""The papers' networks; the others were published after them."""

AUTOBSS = [name for name in PAPER if "AutoBSS" in entries()[name].paper]
"""Those of the AutoBSS paper."""

KNOWN = sorted(FAMILIES)  # without those that a test registers
_OTHERS = re.compile("_widths|^width_bench|^efficientnet_b[2-5]|^scalenet_half")
EVERY_FAMILY = [name for name, family in FAMILIES.items() if family.inner is family and not _OTHERS.search(name)]
"""The families, and of those of widths and those with the side of the images in their codes some of each block.

Those that differ from others in widths and depths alone are left out.
"""
EVERY_FAMILY += ["mnv2_widths_small", "efficientnet_b0_widths", "resnet50_widths", "vgg19_widths"]
EVERY_FAMILY += ["resnet18_r", "mnv2_small_r", "mnv1_small_r", "channel_bench_resnet_r", "scalenet_small_r"]

EACH_BLOCK = [
    "resnet18",
    "resnet50_v1",
    "mnv1",
    "mnv2_small",
    "efficientnet_b0",
    "channel_bench_mobilenet",
    "scalenet_small",
    "resnet18_r",
]
"""A family of each kind of block, for what takes seconds and does not depend on the stages around the blocks."""

SMALL_VALUES = {"C": (4, 28), "L": (1, 3), "B": (1, 20), "T": (1, 6), "W": (1, 28), "R": (28, 97), "O": (1, 18)}


def tiny(family: str) -> Code:
    """A code whose network is built in milliseconds; widths are no multiples of 8."""
    values = []
    for field in get_layout(family).fields:
        start = max({"C": 12, "L": 1, "B": 5, "T": 3, "W": 11, "R": 40, "O": 4}[field.symbol], field.low)
        values += [min(start + (i if field.symbol in "CBWO" else i % 2), field.high) for i, _ in enumerate(field.names)]
    return Code(family, tuple(values))


@st.composite
def codes(draw, family=None):
    """Random valid codes of small networks, of one family or of any."""
    name = family or draw(st.sampled_from(KNOWN))
    fields = [field for field in get_layout(name).fields for _ in field.names]
    ranges = [
        (max(field.low, low), high if field.low <= high else field.low + high)  # multipliers in thousandths
        for field in fields
        for low, high in (SMALL_VALUES[field.symbol],)
    ]
    return Code(name, tuple(draw(st.integers(*bounds)) for bounds in ranges))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, by selenium; skips where it is not installed."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
