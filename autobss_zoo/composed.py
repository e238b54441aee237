"""Networks with a head for a task over a coded backbone: detectors and segmenters, built from a configuration.

They keep it with them. What is heavy is imported when one is built.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from .about import About
from .codes import Code
from .configuration import ComposedConfiguration
from .errors import UnknownNameError, WeightsError, did_you_mean, shown
from .weights import check_fit, in_line

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


def load(where: str, config: ComposedConfiguration, weights: Path, **kwargs: Any) -> nn.Module:
    """The network of a configuration with its weights, in evaluation mode.

    Args:
        where: The folder or repository, for errors.
        config: Its configuration.
        weights: A safetensors file.
        **kwargs: Arguments that replace the configuration's, e.g. box_score_thresh.

    Raises:
        WeightsError: If the configuration gives no network, or the weights do not fit it.
    """
    name, code = config.architecture, Code.parse(config.code)
    if ARCHITECTURES.get(name) != config.task:
        raise WeightsError(f"{where}: architecture: {shown(name)} is none of {config.task}")
    check_fit(where, weights, lambda: create_composed(name, code, **config.arguments))
    model: Any = create_composed(name, code, **{**config.arguments, **kwargs})
    try:
        model.load_state_dict(load_file(weights))
    except RuntimeError as error:  # torch's, where the arguments that replace others make other layers
        raise WeightsError(f"{weights}: cannot load it into {name}: {in_line(error)}") from error
    preprocessing = config.evaluation.model_dump(exclude_unset=True)
    model.about = replace(model.about, label_names=tuple(config.label_names), preprocessing=preprocessing)
    return model.eval()
