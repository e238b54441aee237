"""ONNX export: graphs that are shown to be valid and to compute and cost what their networks do, before they are kept.

Needs the extra `autobss-zoo[onnx]`, and with it torch >= 2.7: older exporters fail on batch norms. Detectors have an
exporter of their own, `detectors`, which `to_onnx` calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..about import task_of
from ..cost import count_on, count_onnx
from ..errors import ExportError
from ..files import check_output, write_atomically
from ..models import setting_of
from .checks import HALF_TOLERANCE, TOLERANCE, Report, clean, describe, largest_errors, open_session, quiet

if TYPE_CHECKING:
    import onnx


def to_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    input_size: int | tuple[int, int] | None = None,
    batch: int | None = None,
    half: bool = False,
    opset: int | None = None,
) -> Report:
    """Export a network to one ONNX file with a dynamic batch, or a detector with a dynamic image size.

    The input is `image`, float32 of shape (batch, in_chans, height, width); the output is `logits`, of shape
    (batch, num_classes), or with `features_only` one `feature_<index>` a level, where the first level has index 0. For
    a detector's, see `export.detectors.export_detector`. The network is exported in evaluation mode from a copy:
    `model` stays as it is.

    Args:
        model: A network of this zoo, or another timm model.
        path: The file to write; it is replaced if it exists, and left alone if a check fails.
        input_size: Side of the images in pixels, or their height and width; the side of the model's configuration when
            None. None for a detector.
        batch: Images that the graph always takes; any number when None. None for a detector.
        half: Whether to compute in float16, with float16 weights: half the file. Inputs and outputs stay float32.
        opset: The ONNX operator set; torch's own choice when None.

    Returns:
        The measured errors and costs. The file's metadata states code, costs, input_size, in_chans and channels (RGB or
        grey), and as JSON mean, std and label_names where they are known.

    Raises:
        ExportError: If the checker, ONNX Runtime or the count of MACs disagrees with the network, if an argument is
            out of range or none of a detector's, if the network is a segmenter, or if torch is older than 2.7.
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    path = Path(path)
    check_output(path)
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        raise ExportError(f"ONNX export needs torch 2.7 or later, this is {torch.__version__}; upgrade torch")
    task = task_of(model)
    if task == "segmentation":
        raise ExportError("segmenters cannot be exported; export the backbone by its code")
    if task == "detection":
        from .detectors import export_detector

        for name, given in {"input_size": input_size, "batch": batch, "half": half or None}.items():
            if given is not None:
                raise ExportError(f"{name}: a detector's graph takes one float32 image of any size; leave it out")
        return export_detector(model, path, opset)
    network: Any = deepcopy(model).cpu().float().eval()
    if hasattr(network, "set_grad_checkpointing"):
        network.set_grad_checkpointing(False)
    images = _images(network, input_size, batch)
    traced, graph = _trace(_Half(network) if half else network, images, _output_names(network), opset, batch is None)
    cost = count_on(network, images[:1])
    for counted in (count_onnx(traced).macs, count_onnx(graph).macs):
        if counted != cost.macs:
            raise ExportError(f"the exported graph has {counted} MACs, the network {cost.macs}")
    describe(graph, {**_facts(network, images), **vars(cost)})
    batches = (images, images[:1]) if batch is None else (images,)
    absolute, relative = _check(graph, network, batches, HALF_TOLERANCE if half else TOLERANCE)
    write_atomically(path, graph.SerializeToString())
    return Report(path, graph.opset_import[0].version, absolute, relative, cost.macs, cost.params)


class _Half(nn.Module):
    """A network in float16 between float32 inputs and outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).half()

    def forward(self, image: torch.Tensor) -> Any:
        outputs = self.network(image.half())
        return outputs.float() if isinstance(outputs, torch.Tensor) else [output.float() for output in _list(outputs)]


def _list(outputs: Any) -> list[torch.Tensor]:
    """The tensors that a network returns."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(outputs.values()) if isinstance(outputs, dict) else list(outputs)


def _images(network: Any, input_size: int | tuple[int, int] | None, batch: int | None) -> torch.Tensor:
    """Random images of the graph's shape; two where it takes any number."""
    setting = setting_of(network)
    size = setting.input_size if input_size is None else input_size
    sides = size if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2 or not all(map(_positive, sides)):
        raise ExportError(f"input_size: expected a side or (height, width), positive integers, got {size!r}")
    if batch is not None and not _positive(batch):
        raise ExportError(f"batch: expected a positive integer, got {batch!r}")
    shape = (2 if batch is None else batch, setting.in_chans, *sides)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _positive(number: Any) -> bool:
    return type(number) is int and number > 0


def _facts(network: Any, images: torch.Tensor) -> dict[str, Any]:
    """What the graph's metadata say of the network and the images that it takes."""
    cfg, about = network.pretrained_cfg, getattr(network, "about", None)
    channels, height, width = images.shape[1:]
    labels = list((about.label_names if about else cfg.get("label_names")) or ())
    known = {key: value for key in ("mean", "std") if len(value := cfg.get(key) or ()) == channels}
    if len(labels) == getattr(network, "num_classes", 0) > 0:
        known["label_names"] = labels
    return {
        "code": about.code if about else "",
        "architecture": cfg.get("architecture", ""),
        "input_size": height if height == width else f"{height}x{width}",
        "in_chans": channels,
        "channels": {1: "grey", 3: "RGB"}.get(channels, ""),
        **{key: json.dumps(value) for key, value in known.items()},
    }


def _output_names(network: nn.Module) -> list[str]:
    if not hasattr(network, "feature_info") or hasattr(network, "num_classes"):
        return ["logits"]
    info: Any = network.feature_info
    levels = {range(len(info.info))[index] for index in info.out_indices}
    return [f"feature_{level}" for level in sorted(levels)]  # timm gives them in this order, whatever was asked for


def _trace(
    network: nn.Module, images: torch.Tensor, outputs: list[str], opset: int | None, any_batch: bool
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph as torch traces it, with its batch norms, and the same graph simplified."""
    with quiet():
        try:
            program: Any = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},) if any_batch else None,
                input_names=["image"],
                output_names=outputs,
                opset_version=opset,
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch {torch.__version__} cannot export this network; 2.7 or later may") from error
        traced = program.model_proto
        program.optimize()
    graph = clean(program.model_proto)
    found = graph.opset_import[0].version
    if opset not in (None, found):
        raise ExportError(
            f"opset: torch cannot export opset {opset} and made {found} of it; pass {found} or leave it out"
        )
    return traced, graph


def _check(
    graph: onnx.ModelProto, network: nn.Module, batches: Iterable[torch.Tensor], tolerance: float
) -> tuple[float, float]:
    """Largest absolute and relative error of a valid graph."""
    session = open_session(graph)
    pairs: list[tuple[torch.Tensor, Any]] = []
    for batch in batches:
        with torch.inference_mode():
            expected = _list(network(batch))
        pairs += zip(expected, session.run(None, {"image": batch.numpy()}), strict=True)
    return largest_errors(pairs, tolerance)
