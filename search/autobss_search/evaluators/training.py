"""Scores by training: each code's network in full, without early stopping or shared weights (AutoBSS, section 4.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from autobss_zoo.codes import Code

if TYPE_CHECKING:
    from torch import Tensor, nn


class Split(NamedTuple):
    """Standardised images of shape (n, c, h, w) and labels of shape (n,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """A small data set, all in memory.

    Attributes:
        train: To train on.
        holdout: Of the training set, to score codes by.
        test: To be used once, for what was found.
    """

    train: Split
    holdout: Split
    test: Split


def digits(size: int = 16) -> Data:
    """scikit-learn's handwritten digits, 1,797 images of 8x8, enlarged: 60% to train, 20% to score, 20% to test."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None]
    images = torch.nn.functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    order = range(len(images))
    rest, test = train_test_split(order, test_size=0.2, random_state=0, stratify=data.target)
    train, holdout = train_test_split(rest, test_size=0.25, random_state=0, stratify=data.target[rest])
    images = (images - images[train].mean()) / images[train].std()
    labels = torch.tensor(data.target)
    return Data(*(Split(images[part], labels[part]) for part in (train, holdout, test)))


DATASETS: dict[str, Callable[[int], Data]] = {"digits": digits}
CLASSES: dict[str, dict[str, Any]] = {"digits": {"in_chans": 1, "num_classes": 10}}
"""What networks for each data set need; known without loading it."""


@dataclass(frozen=True)
class Training:
    """The evaluator that trains a network from scratch and returns its accuracy in percent on images it has not seen.

    SGD with momentum 0.9, one cycle of the rate, label smoothing 0.1, shifts by up to an eighth of the image.

    Args:
        data: The data set's name: "digits".
        input_size: Side of the images in pixels.
        epochs, batch_size, learning_rate, weight_decay: Of the training.
        split: What to score by: "holdout" while searching; "test" once, for what was found.
        models: A folder for the trained networks, one folder a code; they are not kept when None.
    """

    data: str = "digits"
    input_size: int = 16
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    split: str = "holdout"
    models: str | None = None

    def __post_init__(self) -> None:
        if self.data not in DATASETS:
            raise ValueError(f"data: expected {' or '.join(DATASETS)}, got {self.data!r}")
        if self.split not in ("holdout", "test"):
            raise ValueError(f"split: expected holdout or test, got {self.split!r}")
        for name in ("input_size", "epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)!r}")

    def describe(self) -> dict[str, Any]:
        """The settings that a score depends on."""
        settings = asdict(self)
        del settings["models"]
        return settings

    def __call__(self, code: Code, seed: int) -> float:
        """Train the code's network with a seed of its own and score it."""
        import autobss_zoo

        data = DATASETS[self.data](self.input_size)
        model = self.train(code, seed, data)
        percent = accuracy(model, data.test if self.split == "test" else data.holdout)
        if self.models:
            autobss_zoo.save_pretrained(model, Path(self.models) / model_folder(code))
        return percent

    def train(self, code: Code, seed: int, data: Data) -> nn.Module:
        """Train a network in full; the same seed gives the same weights on the same machine."""
        import torch
        from timm.optim import create_optimizer_v2

        from autobss_zoo import create_model

        logging.getLogger("timm").setLevel(logging.ERROR)  # it says that the image has one channel, not three
        torch.set_num_threads(1)  # networks this small gain little from more; codes are trained side by side
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = create_model(str(code), **CLASSES[self.data])
            steps = max(len(data.train.labels) // self.batch_size, 1)
            optimizer = create_optimizer_v2(
                model, "sgd", lr=self.learning_rate, weight_decay=self.weight_decay, momentum=0.9
            )
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, self.learning_rate, total_steps=self.epochs * steps
            )
            criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
            for _ in range(self.epochs):
                order = torch.randperm(len(data.train.labels), generator=generator)[: steps * self.batch_size]
                for batch in order.view(steps, -1):
                    logits = model(_shifted(data.train.images[batch], generator))
                    loss = criterion(logits, data.train.labels[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
        return model.eval()


def model_folder(code: Code) -> str:
    """The name of a trained code's folder, free of characters that shells expand."""
    return "-".join([code.family, *map(str, code.values)])


def accuracy(model: nn.Module, split: Split) -> float:
    """Percent of the images that a network in evaluation mode classifies right."""
    import torch

    with torch.inference_mode():
        right = sum(
            int((model(images).argmax(1) == labels).sum())
            for images, labels in zip(split.images.split(256), split.labels.split(256), strict=True)
        )
    return 100 * right / len(split.labels)


def _shifted(images: Tensor, generator: Any) -> Tensor:
    """The batch moved by up to an eighth of its side in each direction."""
    import torch

    side = images.shape[-1]
    most = side // 8
    across, down = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    padded = torch.nn.functional.pad(images, (most,) * 4, mode="replicate")
    return padded[..., down : down + side, across : across + side]
