"""Images a second of training on data in memory beside the same training through a DataLoader with PIL transforms.

Fashion-MNIST-sized random images. Target: 3x for the data alone. What a training gains of it depends on the network:
its own step takes no less time, on a CPU most of it.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from machine import parser, report
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from autobss_zoo import Code, Setting, create_model
from autobss_zoo.families import get_family
from autobss_zoo.training import TrainingRecipe
from autobss_zoo.training.data.batches import MemoryBatches, Parts
from autobss_zoo.training.data.sources import SOURCES, Images
from autobss_zoo.training.tasks.classification import ClassificationRecipe

TARGET = 3.0
N = 60_000
SOURCE = SOURCES["fashion_mnist"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CODES = (
    None,
    "resnet18_small{8,8,8,8,1,1,1,1}",
    "resnet18_small{8,8,16,32,1,1,1,1}",
    "resnet18_small{8,16,32,64,2,2,2,2}",
)

Loop = Iterator[tuple[Tensor, Tensor]]


class PilImages(Dataset):
    """As torchvision's data sets of small images: each becomes a PIL image, and is transformed alone."""

    def __init__(self, images: Images) -> None:
        self.images, self.labels = images.images[:, 0].numpy(), images.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(28, padding=2),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(SOURCE.mean, SOURCE.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def through_loader(images: Images, recipe: ClassificationRecipe) -> Loop:
    loader = DataLoader(PilImages(images), recipe.batch_size, shuffle=True, num_workers=2, drop_last=True)
    return ((x.to(DEVICE), y.to(DEVICE)) for x, y in loader)


def in_memory(images: Images, recipe: ClassificationRecipe) -> Loop:
    layout = recipe.channels_last
    batches = MemoryBatches(
        images, SOURCE.mean, SOURCE.std, DEVICE, shift=recipe.shift, flip=recipe.flip, channels_last=layout
    )
    return iter(batches.epoch(Parts(len(batches), recipe.batch_size), 0, 0))


def speed(batches: Loop, code: str | None, seconds: float) -> float:
    """Images a second of training a code, or of only making the batches, after three of them."""
    model = optimizer = None
    if code is not None:
        model = create_model(code, in_chans=1, num_classes=10).to(DEVICE).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    seen, start = -3, 0.0
    for images, labels in batches:
        if model is not None and optimizer is not None:
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seen += 1
        if seen == 0:
            start = time.perf_counter()
        elif seen > 0 and time.perf_counter() - start > seconds:
            break
    return seen * len(labels) / (time.perf_counter() - start)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=4, help="how often each is timed")
    arguments.add_argument("--seconds", type=float, default=4, help="how long each time")
    options = arguments.parse_args()
    recipe: Any = TrainingRecipe.load("small/fashion_mnist")[0]
    images = Images(torch.randint(0, 256, (N, 1, 28, 28), dtype=torch.uint8), torch.arange(N) % 10)
    ways: tuple[Callable[[Images, ClassificationRecipe], Loop], ...] = (in_memory, through_loader)
    rows, met = [], False
    for code in CODES:
        taken: dict[int, list[float]] = {0: [], 1: []}
        for turn in range(options.rounds):
            for way in (0, 1) if turn % 2 else (1, 0):
                taken[way].append(speed(ways[way](images, recipe), code, options.seconds))
        ratio = statistics.median(a / b for a, b in zip(*taken.values(), strict=True))
        met |= code is None and ratio >= TARGET
        cost = get_family("resnet18_small").cost(Code.parse(code), Setting(28, 1, 10)) if code else None
        macs = f"{cost.macs / 1e6:.2f}M" if cost else ""
        ours, theirs = (f"{statistics.median(values):,.0f}" for values in taken.values())
        rows.append([code or "only the data", macs, ours, theirs, f"{ratio:.2f}"])
    header = ["network", "MACs", "in memory, images a second", "DataLoader and PIL, 2 workers", "ratio"]
    title = f"28x28 images, batches of {recipe.batch_size}, {DEVICE.type}; medians of {options.rounds} alternated runs"
    return report(__file__, title, header, rows, met, options)


if __name__ == "__main__":
    sys.exit(main())
