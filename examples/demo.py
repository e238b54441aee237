"""From two codes to a verified ONNX file, on real data: `make demo`.

Trains a small-image ResNet and MobileNetV2 of about the same MACs on scikit-learn's bundled digits, exports both, and
classifies the held-out images with ONNX Runtime. Leaves the better network and a picture in outputs/.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from autobss_zoo import create_model
from autobss_zoo.export import Report, to_onnx

CODES = ("resnet18_small{8,8,16,32,1,1,1,1}", "mnv2_small{12,16,32,48,64,96,1,1,2,1,1,1,3,3,3,3,3,3}")
SIZE, EPOCHS, BATCH, LEARNING_RATE = 28, 24, 64, 0.1
LEAST_ACCURACY = 0.97
OUTPUTS = Path(__file__).parents[1] / "outputs"


@dataclass
class Result:
    """A trained network as ONNX, and how PyTorch and ONNX Runtime do on the held-out digits."""

    code: str
    losses: list[float]
    report: Report
    predictions: Tensor
    accuracies: tuple[float, float]
    latencies: tuple[float, float]


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and held-out images of shape (n, 1, SIZE, SIZE), then training and held-out labels of shape (n,)."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None]
    images = nn.functional.interpolate(images, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    labels = torch.tensor(data.target)
    train, held_out, *both = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=data.target)
    mean, std = train.mean(), train.std()
    return (train - mean) / std, (held_out - mean) / std, *both


def shifted(images: Tensor) -> Tensor:
    """The batch moved by up to 2 pixels in each direction."""
    across, down = torch.randint(0, 5, (2,)).tolist()
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded[..., down : down + SIZE, across : across + SIZE]


def train(model: nn.Module, name: str, images: Tensor, labels: Tensor, progress: Progress) -> list[float]:
    """Train a network and return its mean loss in each epoch."""
    steps = len(images) // BATCH
    optimizer = create_optimizer_v2(model, "sgd", lr=LEARNING_RATE, weight_decay=5e-4, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    task = progress.add_task(name, total=EPOCHS * steps, loss=0.0, accuracy=0.0, speed=0.0)
    curve = []
    start = time.perf_counter()
    for epoch in range(1, EPOCHS + 1):
        losses, right = [], 0
        for batch in torch.randperm(len(images))[: steps * BATCH].view(steps, BATCH):
            logits = model(shifted(images[batch]))
            loss = criterion(logits, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            right += int((logits.argmax(1) == labels[batch]).sum())
            progress.advance(task)
        curve.append(statistics.fmean(losses))
        speed = epoch * steps * BATCH / (time.perf_counter() - start)
        progress.update(task, loss=curve[-1], accuracy=right / (steps * BATCH), speed=speed)
    return curve


def judge(run: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, float, float]:
    """Predictions, their accuracy, and the median latency of single images in milliseconds."""
    predictions = run(images).argmax(1)
    times = []
    for image in images[:60].split(1):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return predictions, (predictions == labels).float().mean().item(), 1000 * statistics.median(times[10:])


def evaluate(code: str, model: nn.Module, losses: list[float], images: Tensor, labels: Tensor, folder: Path) -> Result:
    """Export a trained network; classify the images with PyTorch and with ONNX Runtime."""
    report = to_onnx(model, folder / f"{code.partition('{')[0]}.onnx", input_size=SIZE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as PyTorch has
    session = onnxruntime.InferenceSession(report.path, options, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        _, accuracy, latency = judge(model.eval(), images, labels)
    predictions, onnx_accuracy, onnx_latency = judge(
        lambda batch: torch.from_numpy(session.run(["logits"], {"image": batch.numpy()})[0]), images, labels
    )
    return Result(code, losses, report, predictions, (accuracy, onnx_accuracy), (latency, onnx_latency))


def draw(results: list[Result], best: Result, images: Tensor, labels: Tensor, path: Path) -> None:
    """Training curves, and held-out digits with the better network's answers: first those that are wrong."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    panels: Any = figure.subfigures(1, 2, width_ratios=(1, 1.3))
    axes = panels[0].subplots()
    for result, colour in zip(results, ("#0072B2", "#E69F00"), strict=True):
        label = f"{result.code.partition('{')[0]}: {result.accuracies[1]:.1%} of held-out digits right"
        axes.plot(range(1, EPOCHS + 1), result.losses, color=colour, label=label)
    axes.set(xlabel="epoch", ylabel="training loss (labels smoothed)", title="Training")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    right = best.predictions == labels
    name = best.code.partition("{")[0]
    panels[1].suptitle(f"{name} in ONNX Runtime: {int((~right).sum())} of {len(labels)} held-out digits wrong")
    cells = panels[1].subplots(5, 8).flat
    for cell, i in zip(cells, right.int().argsort(stable=True).tolist(), strict=False):
        cell.imshow(images[i, 0], cmap="gray_r", vmin=images.min(), vmax=images.max())
        if right[i]:
            cell.set_title(f"{labels[i]}", fontsize=9, pad=2)
            cell.axis("off")
        else:
            cell.set_title(f"{best.predictions[i]}, is {labels[i]}", fontsize=9, pad=3, color="#D55E00", weight="bold")
            cell.spines[:].set(color="#D55E00", linewidth=2)
            cell.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=130)


def table(results: list[Result]) -> Table:
    out = Table("code", title="Held-out digits")
    for heading in ("MACs", "parameters", "accuracy:\nPyTorch", "\nONNX", "ms an image:\nPyTorch", "\nONNX"):
        out.add_column(heading, justify="right")
    for r in results:
        measured = (*(f"{a:.2%}" for a in r.accuracies), *(f"{ms:.2f}" for ms in r.latencies))
        out.add_row(r.code, f"{r.report.macs:,}", f"{r.report.params:,}", *measured)
    return out


def main() -> int:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # networks this small gain little from more, and on a busy machine lose much
    images, held_out, labels, held_out_labels = digits()
    texts = (
        "loss {task.fields[loss]:.3f}",
        "accuracy {task.fields[accuracy]:.1%}",
        "{task.fields[speed]:,.0f} images/s",
    )
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), *map(TextColumn, texts))
    models = [create_model(code, num_classes=10, in_chans=1) for code in CODES]
    with Progress(*columns, TimeRemainingColumn()) as progress:
        curves = [train(m, c.partition("{")[0], images, labels, progress) for c, m in zip(CODES, models, strict=True)]
    OUTPUTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUTPUTS, prefix=".demo-") as name:
        folder = Path(name)
        results = [evaluate(*run, held_out, held_out_labels, folder) for run in zip(CODES, models, curves, strict=True)]
        best = max(results, key=lambda result: result.accuracies[1])
        draw(results, best, held_out, held_out_labels, folder / "digits.png")
        os.replace(best.report.path, OUTPUTS / "digits.onnx")
        os.replace(folder / "digits.png", OUTPUTS / "digits.png")
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(results))
    error = best.report.max_rel_error
    console.print(f"outputs/digits.onnx is {best.code}; ONNX Runtime differs from PyTorch by {error:.1g} at most.")
    console.print("outputs/digits.png shows the training and what it gets wrong.")
    failed = [r.code for r in results if min(r.accuracies) <= LEAST_ACCURACY]
    if failed:
        print(f"demo: not over {LEAST_ACCURACY:.0%}: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
