"""What is known of a network, as one value that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .codes import Code


@dataclass(frozen=True)
class About:
    """What a network of this zoo is; every one has it as its attribute `about`.

    `dataclasses.replace(network.about, label_names=...)` makes another, to be set on the network.

    Attributes:
        code: Its block-stacking code; of a detector or segmenter, its backbone's.
        task: "classification", "detection" or "segmentation".
        architecture: Of a detector or segmenter, e.g. "maskrcnn"; empty for a classifier.
        arguments: What a detector or segmenter was built with besides its code.
        label_names: The names of its classes; empty where they are not known.
        preprocessing: How images are prepared. Of a classifier as timm names it: input_size, interpolation, crop_pct,
            crop_mode, mean and std. Of a segmenter `predict`'s crop and base_size. Empty for a detector, which prepares
            its images itself.
    """

    code: Code
    task: str = "classification"
    architecture: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    label_names: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


def task_of(network: Any) -> str:
    """What a network is for; one that is not of this zoo is timm's or torchvision's classifier."""
    about: About | None = getattr(network, "about", None)
    return about.task if about else "classification"
