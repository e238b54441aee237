"""Images a second of the original networks beside timm's own, alternated in one run. Target: at least 0.99x."""

import statistics
import sys
import time
from collections.abc import Callable

import timm
import torch
from machine import parser, report
from torch import Tensor, nn

from autobss_zoo import create_model

TARGET = 0.99
PAIRS = (
    ("resnet18_original", "resnet18"),
    ("resnet50_original", "resnet50"),
    ("mnv2_original", "mobilenetv2_100"),
    ("efficientnet_b0_original", "efficientnet_b0"),
    ("efficientnet_b1_original", "efficientnet_b1"),
)


def forward(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def step(model: nn.Module, images: Tensor) -> None:
    """Forward, backward and a step of plain gradient descent."""
    model(images).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=1e-6).step()
    model.zero_grad()


def seconds(run: Callable[[nn.Module, Tensor], None], model: nn.Module, images: Tensor) -> float:
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    run(model, images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--pairs", type=int, default=6, help="how often both networks are built anew")
    arguments.add_argument("--rounds", type=int, default=12, help="how often each pair is timed")
    arguments.add_argument("--batch", type=int, default=4)
    options = arguments.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(options.batch, 3, 224, 224, device=device)
    rows, met = [], True
    for ours, theirs in PAIRS:
        for kind, run in (("forward", forward), ("training step", step)):
            taken: dict[int, list[float]] = {0: [], 1: []}
            for pair in range(options.pairs):  # built anew, since where the weights lie in memory matters, too
                build = [lambda name=ours: create_model(name), lambda name=theirs: timm.create_model(name)]
                order = (0, 1) if pair % 2 else (1, 0)
                models = {k: build[k]().to(device).train(run is step) for k in order}
                for k in order:
                    seconds(run, models[k], images)
                for turn in range(options.rounds):
                    for k in order if turn % 2 else order[::-1]:
                        taken[k].append(seconds(run, models[k], images))
            ratio = statistics.median(b / a for a, b in zip(*taken.values(), strict=True))
            met &= ratio >= TARGET
            speed = options.batch / statistics.median(taken[0])
            rows.append([ours, kind, f"{speed:.1f}", f"{ratio:.3f}"])
    header = ["network", "", "images a second", "ratio to timm's"]
    runs = options.pairs * options.rounds
    title = f"Batches of {options.batch}, 224x224, float32, {device}; medians of {runs} alternated runs"
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
