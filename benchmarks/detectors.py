"""A training step of our detectors at 800x800 beside torchvision's own of the same layers: time and peak memory.

Both have the original ResNet50 code (of v1.5, as torchvision's), 80 classes, the same weights, images and targets.
Steps are timed in turn in one process, memory is that of a process for each. Target: at most 1.02x of torchvision's in
both.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import most_memory, parser, report
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from autobss_zoo import Code, get
from autobss_zoo.detection import create_detector

TARGET = 1.02
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CLASSES = {"maskrcnn": 81, "retinanet": 80}


def theirs(architecture: str) -> torch.nn.Module:
    """torchvision's, with batch norms that learn, as it has them when nothing is pretrained."""
    if architecture == "maskrcnn":
        return detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES[architecture])
    options: dict[str, Any] = {"returned_layers": [2, 3, 4], "extra_blocks": LastLevelP6P7(2048, 256)}
    norms = torch.nn.BatchNorm2d
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=norms, trainable_layers=5, **options)
    return detection.RetinaNet(body, CLASSES[architecture])


def ours(architecture: str, name: str = "") -> torch.nn.Module:
    """Ours of the same layers, or a named one of the registry."""
    code = get(name).code if name else Code("resnet50", get("resnet50_original").code.values)
    return create_detector(architecture, code)


def make(kind: str, architecture: str) -> torch.nn.Module:
    """The network "theirs", "ours" with the same weights, or one of the registry."""
    torch.manual_seed(0)
    if kind == "theirs":
        return theirs(architecture).train().to(DEVICE)
    model = ours(architecture, "" if kind == "ours" else kind)
    if kind == "ours":
        model.load_state_dict(theirs(architecture).state_dict())
    return model.train().to(DEVICE)


def make_step(model: torch.nn.Module, images: int) -> Callable[[], float]:
    """A training step on made images, which gives its seconds."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), 1e-5, 0.9)
    corners = torch.rand(8, 2) * 600
    masks = torch.zeros(8, 800, 800, dtype=torch.uint8)
    for mask, (left, top) in zip(masks, corners.long().tolist(), strict=True):
        mask[top : top + 120, left : left + 160] = 1
    boxes = torch.cat([corners, corners + torch.tensor([160.0, 120.0])], 1)
    target = {"boxes": boxes, "labels": torch.arange(1, 9), "masks": masks}
    batch = [torch.rand(3, 800, 800, device=DEVICE) for _ in range(images)]
    targets = [{key: value.to(DEVICE) for key, value in target.items()} for _ in range(images)]

    def step() -> float:
        torch.manual_seed(1)  # the same choice of boxes
        _wait()
        start = time.perf_counter()
        torch.stack(list(model(batch, targets).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait()
        return time.perf_counter() - start

    return step


def memory(kind: str, architecture: str, images: int) -> float:
    """Peak bytes of this process, or of the GPU, in two steps."""
    step = make_step(make(kind, architecture), images)
    step()
    step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return 2**20 * most_memory()


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--steps", type=int, default=6, help="how often each is timed")
    arguments.add_argument("--images", type=int, default=2, help="in a step")
    arguments.add_argument("--memory", nargs=2, metavar=("KIND", "ARCHITECTURE"), help="only measure this")
    options = arguments.parse_args()
    if options.memory:
        kind, architecture = options.memory
        print(memory(kind, architecture, options.images))
        return 0
    kinds = {a: ["theirs", "ours", f"{a}_r50_original", f"{a}_r50_autobss"] for a in CLASSES}
    peaks = {}  # first: what this process has used would count in the others' peaks
    for architecture, kind in ((a, kind) for a in CLASSES for kind in kinds[a]):
        command = [sys.executable, __file__, "--memory", kind, architecture, "--images", str(options.images)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[architecture, kind] = float(output.splitlines()[-1])
    rows, met = [], True
    for architecture in CLASSES:
        steps = {kind: make_step(make(kind, architecture), options.images) for kind in kinds[architecture]}
        seconds: dict[str, list[float]] = {kind: [] for kind in steps}
        for turn in range(options.steps + 1):
            for kind in steps if turn % 2 else reversed(steps):
                taken = steps[kind]()
                if turn:  # the first is not counted
                    seconds[kind].append(taken)
        for kind in steps:
            slower = statistics.median(a / b for a, b in zip(seconds[kind], seconds["theirs"], strict=True))
            larger = peaks[architecture, kind] / peaks[architecture, "theirs"]
            if kind == "ours":
                met &= max(slower, larger) <= TARGET
            name = {"theirs": "torchvision's", "ours": "ours, the same layers"}.get(kind, kind)
            figures = [f"{statistics.median(seconds[kind]):.2f}", f"{peaks[architecture, kind] / 2**30:.2f}"]
            rows.append([architecture, name, *figures, f"{slower:.3f}x", f"{larger:.3f}x"])
    header = ["detector", "network", "seconds a step", "peak GiB", "time beside torchvision", "memory beside it"]
    title = f"# Detectors: a training step of {options.images} images of 800x800 (target: at most {TARGET}x)"
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
