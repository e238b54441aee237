"""Networks with a head for a task over a coded backbone: detectors and segmenters, built from a configuration.

They keep it with them. What is heavy is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from safetensors.torch import load_file
from torch import nn

from .about import About
from .codes import Code
from .errors import UnknownNameError, WeightsError, did_you_mean

ARCHITECTURES = {
    "retinanet": "detection",
    "fasterrcnn": "detection",
    "maskrcnn": "detection",
    "pspnet": "segmentation",
    "psanet": "segmentation",
}
"""The task of every architecture."""


def create_composed(architecture: str, code: Code, **kwargs: Any) -> nn.Module:
    """An untrained network: `detection.create_detector` or `segmentation.create_segmenter`, with their arguments."""
    if architecture not in ARCHITECTURES:
        raise UnknownNameError(f"architecture: {architecture!r}: {did_you_mean(str(architecture), ARCHITECTURES)}")
    if ARCHITECTURES[architecture] == "detection":
        from .detection import create_detector

        return create_detector(architecture, code, **kwargs)
    from .segmentation import create_segmenter

    return create_segmenter(architecture, code, **kwargs)


def configuration(model: Any) -> dict[str, Any]:
    """What builds the network anew, as JSON holds it, with the names of its classes and how its images are prepared."""
    about: About = model.about
    return {
        "task": about.task,
        "architecture": about.architecture,
        "code": str(about.code),
        "arguments": about.arguments,
        "label_names": list(about.label_names),
        "evaluation": about.preprocessing,
        "params": sum(p.numel() for p in model.parameters()),
    }


def load(config: Mapping[str, Any], weights: Any, **kwargs: Any) -> nn.Module:
    """The network of a configuration with its weights, in evaluation mode.

    Args:
        config: As `configuration` gives it.
        weights: A safetensors file.
        **kwargs: Arguments that replace the configuration's, e.g. box_score_thresh.

    Raises:
        WeightsError: If the weights do not fit.
    """
    arguments = {**config["arguments"], **kwargs}
    model: Any = create_composed(config["architecture"], Code.parse(config["code"]), **arguments)
    try:
        model.load_state_dict(load_file(weights))
    except Exception as error:  # safetensors and torch have kinds of their own
        raise WeightsError(f"{weights}: cannot load it into {config['architecture']}: {error}") from error
    known = {"label_names": tuple(config["label_names"]), "preprocessing": config["evaluation"]}
    model.about = replace(model.about, **known)
    return model.eval()
