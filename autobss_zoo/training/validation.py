"""Any network on a data set's test images, by the protocol that its weights were published with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from torch import nn

from ..about import task_of
from ..errors import DataError, WeightsError
from ..families import family_of
from ..hub import from_pretrained
from ..models import create_model
from ..names import is_saved
from ..registry import find
from .data.batches import memory_evaluation, resized
from .data.folders import MODES, FolderImages, folder_evaluation, labels_of
from .data.samples import check_readable
from .data.sources import SOURCES, Images, Source, load
from .metrics.accuracy import Accuracy, evaluate
from .pretrained import fill
from .processes import World
from .validations import Validation, register_validation

TORCHVISION = "torchvision:"


def load_classifier(
    name: str,
    source: Source,
    classes: tuple[str, ...],
    weights: str | Path | None = None,
    input_size: int | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """A trained classifier, and how its images are prepared.

    Args:
        name: A network of this zoo (with its published weights, or a code), a folder that save_pretrained wrote, a
            repository on the Hub ("owner/name[@revision]"), a model of timm's ("resnet50.a1_in1k") or of torchvision's
            ("torchvision:resnet50").
        source: The data's, which a network with `weights` is built for.
        classes: The data's.
        weights: A state dict of one's own, .safetensors or as torch.save writes it; the published ones when None.
        input_size: Side of the images in pixels; that which the network was published with when None.

    Returns:
        The network, and input_size, interpolation, crop_pct, crop_mode, mean and std.

    Raises:
        WeightsError: If there are no such weights, or they do not fit.
        UnknownNameError, CodeError: If there is no such network.
    """
    if name.startswith(TORCHVISION):
        model, config = _torchvision(name.removeprefix(TORCHVISION), len(classes), weights)
    else:
        model = _timm(name, source, classes, weights, input_size)
        config = resolve_data_config({}, model=model)
    if input_size is not None:
        config["input_size"] = (config["input_size"][0], input_size, input_size)
    return model, config


def _timm(
    name: str, source: Source, classes: tuple[str, ...], weights: str | Path | None, input_size: int | None
) -> nn.Module:
    if is_saved(name):
        if weights is not None:
            raise WeightsError(f"weights: {name} has its own; give a network by its name or code, or no weights")
        return from_pretrained(name)
    ours = ":" not in name and not timm.is_model(name)
    if weights is None:
        return create_model(name, pretrained=True) if ours else timm.create_model(name, pretrained=True)
    code = find(name)[0] if ours else None
    options: dict[str, Any] = {"num_classes": len(classes), "in_chans": source.in_chans}
    if source.in_memory:  # the family's own configuration is of other images
        stated = family_of(code).stated_side(code) if code else None
        side = input_size or stated or source.input_size
        options["pretrained_cfg_overlay"] = source.configuration(classes, side)
    model = create_model(code, **options) if code else timm.create_model(name, **options)
    fill(model, weights, name)
    return model


def _torchvision(name: str, num_classes: int, weights: str | Path | None) -> tuple[nn.Module, dict[str, Any]]:
    from torchvision import models

    try:
        published: Any = models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise WeightsError(f"{TORCHVISION}{name}: {error}") from None
    if weights is None:
        model = models.get_model(name, weights=published)
    else:
        model = models.get_model(name, num_classes=num_classes)
        fill(model, weights, name)
    preset = published.transforms()
    config = {
        "input_size": (3, *preset.crop_size * (3 - len(preset.crop_size))),
        "interpolation": preset.interpolation.value,
        "crop_pct": preset.crop_size[0] / preset.resize_size[0],
        "crop_mode": "center",
        "mean": preset.mean,
        "std": preset.std,
    }
    return model, config


def load_composed(name: str, task: str, classes: tuple[str, ...]) -> nn.Module:
    """A trained detector or segmenter.

    Args:
        name: A folder that save_pretrained wrote, a repository on the Hub, or a network of this zoo.
        task: "detection" or "segmentation".
        classes: Of the data.

    Raises:
        WeightsError: If there are no such weights.
        DataError: If the network is for another task, or knows other classes.
    """
    ours = not Path(name).is_dir() and "/" not in name
    model: Any = create_model(name, pretrained=True) if ours else from_pretrained(name)
    if (found := task_of(model)) != task:
        raise DataError(f"{name} is for {found}; these data are for {task}")
    if (known := model.about.label_names) != classes:
        raise DataError(f"{name} knows other classes ({_few(known)}) than the data ({_few(classes)})")
    return model


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def validate(
    name: str,
    data: str,
    data_dir: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    world: World | None = None,
    input_size: int | None = None,
    batch_size: int = 256,
    workers: int = 4,
) -> Accuracy:
    """Classify a data set's test (or validation) images.

    Images in folders are resized to the network's input size over its crop_pct, and cropped at the centre, and are read
    with the network's channels; images in memory are resized to the input size.

    Args:
        name: A network; see `load_classifier`.
        data: A data set's name: digits, fashion_mnist, cifar10, imagenet or imagefolder.
        data_dir: Where the data are; their own place when None.
        weights: A state dict of one's own.
        world: The processes and devices; alone, on a GPU where there is one, when None.
        input_size: Side of the images in pixels; that which the network was published with when None.
        batch_size: Images at a time, of those in folders.
        workers: Processes that read images in folders.

    Raises:
        WeightsError, DataError: If the network or the data cannot be had, or do not fit each other.
        ValueError: If there is no such network or data set, or a number is too small.
    """
    if data not in SOURCES:
        raise ValueError(f"data: expected {', '.join(SOURCES)}, got {data!r}")
    for key, value, least in (("input_size", input_size, 1), ("batch_size", batch_size, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise ValueError(f"{key}: expected at least {least}, got {value}")
    world = world or World(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    source, images = SOURCES[data], load(data, str(data_dir) if data_dir is not None else None).test
    classes = source.classes or tuple(images.reader.class_to_idx)
    model, config = load_classifier(name, source, classes, weights, input_size)
    if not source.in_memory and (channels := config["input_size"][0]) in MODES:
        source = source.read_as(channels)
        check_readable(FolderImages(images, channels).read, range(len(images)), images.reader.root)
    _check_fit(model, config, classes, source.in_chans, name, data)
    model = model.to(world.device).to(memory_format=torch.channels_last)
    number = len(images.labels if isinstance(images, Images) else labels_of(images))
    chosen = torch.arange(number)[world.rank :: world.size]
    if isinstance(images, Images):
        part = resized(Images(images.images[chosen], images.labels[chosen]), config["input_size"][-1])
        batches = memory_evaluation(part, config["mean"], config["std"], world.device, channels_last=True)
    else:
        batches = folder_evaluation(images, chosen, config, world.device, batch_size, workers)
    return evaluate(model, batches, world)


def _check_fit(
    model: Any, config: Mapping[str, Any], classes: tuple[str, ...], in_chans: int, name: str, data: str
) -> None:
    """Raise DataError unless the network's images and classes are the data's."""
    if config["input_size"][0] != in_chans:
        raise DataError(f"{name} takes {config['input_size'][0]} channels; the images of {data} have {in_chans}")
    outputs = getattr(model, "num_classes", len(classes))
    names = tuple((getattr(model, "pretrained_cfg", None) or {}).get("label_names") or classes)
    if outputs != len(classes) or (len(names) == len(classes) and names != classes):
        raise DataError(f"{name} knows {outputs} classes, which are not the {len(classes)} of {data}")


class Classifications(Validation):
    """Trained classifiers, as `validate` measures them, with its options."""

    options = ("weights", "input_size", "batch_size")

    def measure(
        self, name: str, data: str, data_dir: str | None, *, world: World, workers: int = 4, **options: Any
    ) -> Accuracy:
        """As in Validation."""
        return validate(name, data, data_dir, world=world, workers=workers, **options)


for _data in SOURCES:
    register_validation(_data)(Classifications)
