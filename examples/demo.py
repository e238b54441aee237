"""From two codes to a verified ONNX file, on real data: `make demo`.

Trains a small-image ResNet and MobileNetV2 on scikit-learn's bundled digits, exports both, and classifies the held-out
images with ONNX Runtime. Leaves the better network and a picture in outputs/.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from autobss_zoo import create_model
from autobss_zoo.export import Report, to_onnx

CODES = (
    "resnet18_small{8,16,32,64,1,1,1,1}",
    "mnv2_small{12,16,24,32,48,64,1,1,2,1,1,1,3,3,3,3,3,3}",
)
SIZE, EPOCHS, BATCH, LEARNING_RATE = 28, 32, 64, 0.1
LEAST_ACCURACY = 0.97
OUTPUTS = Path(__file__).parents[1] / "outputs"


@dataclass
class Result:
    """A trained network, its ONNX file, and what both do on the held-out digits."""

    code: str
    model: nn.Module
    curve: list[float]
    path: Path
    report: Report
    predictions: Tensor
    accuracy: float
    onnx_accuracy: float
    latency: float
    onnx_latency: float


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and held-out (a fifth, stratified) images of shape (n, 1, SIZE, SIZE) and labels of shape (n,)."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    images = nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    images = (images - images.mean()) / images.std()
    return train_test_split(images, torch.tensor(data.target), test_size=0.2, random_state=0, stratify=data.target)


def shifted(images: Tensor) -> Tensor:
    """The batch moved by up to 2 pixels in each direction."""
    across, down = torch.randint(0, 5, (2,)).tolist()
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded[..., down : down + SIZE, across : across + SIZE]


def train(model: nn.Module, images: Tensor, labels: Tensor, progress: Progress, code: str) -> list[float]:
    """Train a network and return its mean loss in each epoch."""
    steps = len(images) // BATCH
    optimizer = create_optimizer_v2(model, "sgd", lr=LEARNING_RATE, weight_decay=5e-4, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    task = progress.add_task(code.partition("{")[0], total=EPOCHS * steps, loss=0.0, speed=0.0)
    curve = []
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        losses = []
        for step, batch in enumerate(torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH)):
            loss = criterion(model(shifted(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            done = (epoch * steps + step + 1) * BATCH
            progress.update(task, advance=1, loss=losses[-1], speed=done / (time.perf_counter() - start))
        curve.append(statistics.fmean(losses))
    return curve


def milliseconds(run, images: Tensor) -> float:
    """Median latency of `run` on single images."""
    times = []
    for image in images[:60].split(1):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[10:])


def evaluate(code: str, model: nn.Module, curve: list[float], images: Tensor, labels: Tensor, folder: Path) -> Result:
    """Export a trained network and classify the images with PyTorch and with ONNX Runtime."""
    path = folder / f"{code.partition('{')[0]}.onnx"
    report = to_onnx(model, path, input_size=SIZE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def onnx(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"image": batch.numpy()})[0])

    with torch.inference_mode():
        model.eval()
        accuracy = (model(images).argmax(1) == labels).float().mean().item()
        latency = milliseconds(model, images)
    predictions = onnx(images).argmax(1)
    onnx_accuracy = (predictions == labels).float().mean().item()
    onnx_latency = milliseconds(onnx, images)
    return Result(code, model, curve, path, report, predictions, accuracy, onnx_accuracy, latency, onnx_latency)


def draw(results: list[Result], best: Result, images: Tensor, labels: Tensor, path: Path) -> None:
    """Training curves, and held-out digits with the better network's answers: first those that are wrong."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1, 1.3))
    left, right = panels
    axes = left.subplots()
    for result in results:
        axes.plot(range(1, EPOCHS + 1), result.curve, label=f"{result.code.partition('{')[0]}: {result.accuracy:.1%}")
    axes.set(xlabel="epoch", ylabel="training loss", title="Training on digits (held-out accuracy)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    order = (best.predictions == labels).int().argsort(stable=True)[:40]
    right.suptitle(f"ONNX Runtime on held-out digits, {int((best.predictions != labels).sum())} wrong of {len(labels)}")
    for cell, index in zip(right.subplots(5, 8).flat, order.tolist(), strict=True):
        answer, truth = int(best.predictions[index]), int(labels[index])
        cell.imshow(images[index, 0], cmap="gray_r")
        title = str(answer) if answer == truth else f"{answer}, is {truth}"
        cell.set_title(title, fontsize=8, color="black" if answer == truth else "#D55E00", pad=2)
        cell.axis("off")
    figure.savefig(path, dpi=130)


def table(results: list[Result]) -> Table:
    out = Table("code", title="Digits, held out")
    for heading in ("MACs", "parameters", "accuracy, PyTorch", "ONNX", "ms an image, PyTorch", "ONNX"):
        out.add_column(heading, justify="right")
    for r in results:
        accuracies = (f"{r.accuracy:.2%}", f"{r.onnx_accuracy:.2%}")
        latencies = (f"{r.latency:.2f}", f"{r.onnx_latency:.2f}")
        out.add_row(r.code, f"{r.report.macs:,}", f"{r.report.params:,}", *accuracies, *latencies)
    return out


def main() -> int:
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    images, held_out, labels, held_out_labels = digits()
    columns = (
        "[progress.description]{task.description}",
        "loss {task.fields[loss]:.3f}",
        "{task.fields[speed]:,.0f} images/s",
    )
    bar = (
        TextColumn(columns[0]),
        BarColumn(),
        MofNCompleteColumn(),
        *map(TextColumn, columns[1:]),
        TimeRemainingColumn(),
    )
    models = [create_model(code, num_classes=10, in_chans=1) for code in CODES]
    with Progress(*bar) as progress:
        curves = [train(m, images, labels, progress, code) for code, m in zip(CODES, models, strict=True)]
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUTPUTS, prefix=".demo-") as name:
        folder = Path(name)
        results = [evaluate(*run, held_out, held_out_labels, folder) for run in zip(CODES, models, curves, strict=True)]
        best = max(results, key=lambda result: result.onnx_accuracy)
        draw(results, best, held_out, held_out_labels, folder / "digits.png")
        os.replace(best.path, OUTPUTS / "digits.onnx")
        os.replace(folder / "digits.png", OUTPUTS / "digits.png")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(results))
    error = best.report.max_rel_error
    console.print(f"outputs/digits.onnx is {best.code}; ONNX Runtime differs from PyTorch by {error:.1g} at most.")
    console.print("outputs/digits.png shows the training and what it gets wrong.")
    failed = [r.code for r in results if min(r.accuracy, r.onnx_accuracy) <= LEAST_ACCURACY]
    if failed:
        print(f"demo: not over {LEAST_ACCURACY:.0%}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
