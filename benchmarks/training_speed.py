"""Images a second of the trainer beside a plain loop of timm's parts, on ResNet18 and JPEG files. Target: 0.95x."""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import timm
import torch
from machine import parser, report
from PIL import Image
from timm.data import ImageDataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from autobss_zoo.training import TrainingRecipe, train

TARGET = 0.95
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def write_images(folder: Path, number: int) -> None:
    """A folder of noisy JPEG images of 256x256 in two classes."""
    rng = np.random.default_rng(0)
    for i in range(number):
        for part in ("train", "val"):
            path = folder / part / f"class{i % 2}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            coarse.resize((256, 256), Image.Resampling.BICUBIC).save(path)
            if i > 3 and part == "val":
                path.unlink()


def ours(recipe: TrainingRecipe) -> float:
    """Images a second of the trainer, from the end of the first step to that of the last."""
    ends: list[float] = []
    train(recipe, on_step=lambda progress: ends.append(_now()))
    return (len(ends) - 1) * recipe.batch_size / (ends[-1] - ends[0])


def plain(recipe: TrainingRecipe) -> float:
    """The same with timm's loader, network, optimizer and schedule in a loop."""
    loader = create_loader(
        ImageDataset(f"{recipe.data_dir}/train"),
        (3, 224, 224),
        recipe.batch_size,
        is_training=True,
        color_jitter=None,  # type: ignore[arg-type]
        interpolation="bicubic",
        num_workers=recipe.workers,
        device=DEVICE,
    )
    model = timm.create_model("resnet18", num_classes=2).to(DEVICE).to(memory_format=torch.channels_last)
    rate, decay = recipe.learning_rate, recipe.weight_decay
    optimizer = create_optimizer_v2(model, "sgd", lr=rate, weight_decay=decay, filter_bias_and_bn=False)
    schedule, _ = create_scheduler_v2(optimizer, "cosine", 1, step_on_epochs=False, updates_per_epoch=len(loader))
    assert schedule is not None
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    ends = []
    for step, (images, labels) in enumerate(loader, start=1):
        images = images.contiguous(memory_format=torch.channels_last)
        criterion(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step_update(step)
        ends.append(_now())
    return (len(ends) - 1) * recipe.batch_size / (ends[-1] - ends[0])


def _now() -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=6, help="how often each is timed")
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--steps", type=int, default=12)
    options = arguments.parse_args()
    speeds: dict[str, list[float]] = {"the trainer": [], "a plain loop": []}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), options.batch * options.steps)
        settings = {"data": "imagefolder", "data_dir": folder, "batch_size": options.batch, "amp": None}
        settings |= {"epochs": 1, "warmup_epochs": 0, "workers": 2}
        recipe, _ = TrainingRecipe.load("imagenet/resnet18.original", settings)
        for turn in range(options.rounds):
            for run, name in ((ours, "the trainer"), (plain, "a plain loop"))[:: 1 if turn % 2 else -1]:
                speeds[name].append(run(recipe))
    ratio = statistics.median(a / b for a, b in zip(*speeds.values(), strict=True))
    rows = [[name, f"{statistics.median(values):.1f}"] for name, values in speeds.items()]
    rows.append(["ratio", f"{ratio:.3f}"])
    title = (
        f"ResNet18, batches of {options.batch} of 224x224, {DEVICE.type}; medians of {options.rounds} alternated runs"
    )
    return report(__file__, title, ["", "images a second"], rows, ratio >= TARGET, options)


if __name__ == "__main__":
    sys.exit(main())
