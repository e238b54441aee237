"""A training step on small images on a CPU, as `autobss train` computes it, beside that of the network as it is built.

Target: at most 0.7x of the time where a depthwise kernel is larger than its images, and at most 1.05x elsewhere.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import sys
from functools import partial

import torch
from machine import parser, report
from supernet_step import one, stepping

from autobss_zoo import create_model
from autobss_zoo.latency.timing import time_in_turns
from autobss_zoo.training.convolutions import replace_convolutions

CASES = {  # code: by the side of the images the most of the time
    "mnv2_small{12,16,32,48,80,160,2,3,4,3,3,1,6,6,6,6,6,6}": {7: 0.7, 14: 0.7, 28: 1.05},
    "resnet18_small{16,32,64,128,2,2,2,2}": {7: 1.05, 14: 1.05, 28: 1.05},
}
IMAGES, SECONDS = 64, 10.0


def main() -> int:
    options = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    rows, met = [], True
    for code, sides in CASES.items():
        for side, most in sides.items():
            torch.manual_seed(0)
            plain = create_model(code, in_chans=1, num_classes=10).to(memory_format=torch.channels_last).train()
            small = copy.deepcopy(plain)
            replace_convolutions(small)
            images, labels = torch.rand(IMAGES, 1, side, side), torch.randint(0, 10, (IMAGES,))
            steps = [stepping(network, labels, partial(one, network, images)) for network in (small, plain)]
            for step in steps:
                step()
            ours, theirs = (timing.median for timing in time_in_turns(steps, SECONDS))
            met &= ours <= most * theirs
            rows.append([f"`{code}`", str(side), f"{1e3 * theirs:.1f}", f"{1e3 * ours:.1f}", f"{ours / theirs:.2f}x"])
    title = (
        f"# A training step on small images\n\nMedians in turns of {IMAGES} images in milliseconds of one thread, with "
        "the network's own convolutions and with those of `autobss train`."
    )
    return report(__file__, title, ["network", "pixels", "own, ms", "ours, ms", "ratio"], rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
