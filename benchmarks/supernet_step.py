"""A supernet's training step beside that of the same part as a network of its own, and its memory by principle.

Target: at most 1.15x of the time, and the memory of a step whose sides take turns at most 1.02x of a unilateral one's,
which has the same supernet; bilateral_v2's is wider.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from machine import alone, answer, most_memory, parser, report
from torch.nn import functional

from autobss_search import get_space
from autobss_search.supernets.sampling import Sampling
from autobss_zoo import get_family
from autobss_zoo.latency.timing import time_in_turns
from autobss_zoo.supernets.slicing import Path, Supernet

CASES = {  # space: side, images
    "mnv2_widths": (128, 16),
    "resnet50_widths": (128, 16),
    "width_bench_plain": (7, 128),
}
CODES, SECONDS = 8, 60.0
TIME, MEMORY = 1.15, 1.02
PRINCIPLES: dict[str, dict[str, Any]] = {
    "unilateral": {"principle": "unilateral", "complement": False},
    "bilateral, iterative": {"principle": "bilateral", "complement": False, "iterative": True},
    "bilateral_v2, iterative": {"principle": "bilateral_v2", "complement": False, "iterative": True},
    "bilateral_v2": {"principle": "bilateral_v2", "complement": False},
    "bilateral_v2, complement": {"principle": "bilateral_v2"},
}


def prepared(name: str, **principle: Any) -> tuple[Sampling, Supernet, torch.Tensor, torch.Tensor]:
    """A space's sampling, its supernet, images and labels."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sampling = Sampling(get_space(name), **principle)
    whole = Supernet(sampling.supernet, sampling.narrowest, num_classes=100).to(memory_format=torch.channels_last)
    side, n = CASES[name]
    images = torch.rand(n, 3, side, side).contiguous(memory_format=torch.channels_last)
    return sampling, whole.train(), images, torch.randint(0, 100, (n,))


def stepping(
    network: torch.nn.Module, labels: torch.Tensor, logits: Callable[[], list[torch.Tensor]]
) -> Callable[[], float]:
    """A function that does a training step and returns the processor's seconds that it took."""
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)

    def step() -> float:
        start = time.process_time()
        torch.stack([functional.cross_entropy(each, labels) for each in logits()]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - start

    return step


def one(network: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The logits of a network, as `stepping` takes them."""
    return [network(images)]


def times(name: str) -> list[float]:
    """Of several codes a step's time as part of the supernet, as a share of that of a network of its own."""
    sampling, whole, images, labels = prepared(name)
    family, rng = get_family(sampling.space.family), np.random.default_rng(0)
    shares = []
    for code in sampling.space.decode(rng.integers(0, sampling.space.lengths, (CODES, sampling.space.ndim))):
        network = family.build(code, num_classes=100).to(memory_format=torch.channels_last).train()
        part = stepping(whole, labels, partial(whole, images, [Path(code)]))
        own = stepping(network, labels, partial(one, network, images))
        part(), own()
        found = time_in_turns([part, own], SECONDS / CODES)
        shares.append(found[0].median / found[1].median)
    return shares


def memory(name: str, principle: str) -> dict[str, float]:
    """The most memory of a process that takes some steps, in MiB."""
    sampling, whole, images, labels = prepared(name, **PRINCIPLES[principle])
    for step in range(3):
        paths = [Path(sampling.largest, path.right) for path in sampling.paths(step, np.random.default_rng(step))]
        stepping(whole, labels, partial(whole, images, paths))()
    return {"mib": most_memory()}


def main() -> int:
    answer(memory)
    options = parser(__doc__).parse_args()
    rows, met = [], True
    for name, (side, n) in CASES.items():
        shares, used = times(name), {p: alone(__file__, name, p)["mib"] for p in PRINCIPLES}
        met &= float(np.median(shares)) <= TIME
        met &= used["bilateral, iterative"] <= MEMORY * used["unilateral"]
        cells = [
            f"`{name}`",
            f"{side} pixels, {n} images",
            f"{np.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})",
        ]
        rows.append([*cells, *(f"{value:,.0f}" for value in used.values())])
    title = (
        "# A training step of a code as part of a supernet\n\nThe share of the time of the same network's own step "
        f"(median over {CODES} random codes of medians in turns, least and largest; one thread), and the most memory "
        "of a process whose steps train the widest code, in MiB."
    )
    header = ["supernet", "step", "time, part / own", *(f"MiB: {principle}" for principle in PRINCIPLES)]
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
