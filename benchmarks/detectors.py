"""A training step of our detectors at 800x800 beside torchvision's own of the same layers: time and peak memory.

Both have the original ResNet50 code (of v1.5, as torchvision's), 80 classes, the same weights, images and targets; each
is measured in processes of its own, in turn. Target: at most 1.02x of torchvision's in both.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from machine import parser, report
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


def measure(kind: str, architecture: str, images: int, steps: int) -> dict[str, float]:
    """The median time of a step in seconds, after one that is not counted, and the process's peak memory in bytes."""
    torch.manual_seed(0)
    if kind == "theirs":
        model = theirs(architecture)
    else:
        model = ours(architecture, "" if kind == "ours" else kind)
        if kind == "ours":
            model.load_state_dict(theirs(architecture).state_dict())
    model = model.train().to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), 1e-5, 0.9)
    corners = torch.rand(8, 2) * 600
    masks = torch.zeros(8, 800, 800, dtype=torch.uint8)
    for mask, (left, top) in zip(masks, corners.long().tolist(), strict=True):
        mask[top : top + 120, left : left + 160] = 1
    boxes = torch.cat([corners, corners + torch.tensor([160.0, 120.0])], 1)
    target = {"boxes": boxes, "labels": torch.arange(1, 9), "masks": masks}
    batch = [torch.rand(3, 800, 800, device=DEVICE) for _ in range(images)]
    targets = [{key: value.to(DEVICE) for key, value in target.items()} for _ in range(images)]
    times = []
    for _ in range(steps + 1):
        torch.manual_seed(1)  # the same choice of boxes
        _wait()
        start = time.perf_counter()
        torch.stack(list(model(batch, targets).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait()
        times.append(time.perf_counter() - start)
    on_gpu = DEVICE.type == "cuda"
    memory = torch.cuda.max_memory_allocated() if on_gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": statistics.median(times[1:]), "memory": float(memory)}


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    arguments.add_argument("--images", type=int, default=2, help="in a step")
    arguments.add_argument("--steps", type=int, default=3, help="in a measurement")
    arguments.add_argument("--one", nargs=2, metavar=("KIND", "ARCHITECTURE"), help="only measure this, as JSON")
    options = arguments.parse_args()
    if options.one:
        kind, architecture = options.one
        print(json.dumps(measure(kind, architecture, options.images, options.steps)))
        return 0
    rows, met = [], True
    for architecture in CLASSES:
        kinds = ["theirs", "ours", f"{architecture}_r50_original", f"{architecture}_r50_autobss"]
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
        for turn in range(options.rounds):
            for kind in kinds if turn % 2 else reversed(kinds):
                command = [sys.executable, __file__, "--one", kind, architecture]
                command += ["--images", str(options.images), "--steps", str(options.steps)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                found[kind].append(json.loads(output.splitlines()[-1]))
        for kind in kinds:
            seconds, memory = (statistics.median(run[key] for run in found[kind]) for key in ("seconds", "memory"))
            ratios = [
                statistics.median(a[key] / b[key] for a, b in zip(found[kind], found["theirs"], strict=True))
                for key in ("seconds", "memory")
            ]
            if kind == "ours":
                met &= max(ratios) <= TARGET
            name = {"theirs": "torchvision's", "ours": "ours, the same layers"}.get(kind, kind)
            rows.append([architecture, name, f"{seconds:.2f}", f"{memory / 2**30:.2f}", *(f"{r:.3f}x" for r in ratios)])
    header = ["detector", "network", "seconds a step", "peak GiB", "time beside torchvision", "memory beside it"]
    title = f"# Detectors: a training step of {options.images} images of 800x800 (target: at most {TARGET}x)"
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
