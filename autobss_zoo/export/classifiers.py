"""ONNX export: graphs that are shown to be valid and to compute and cost what their networks do, before they are kept.

Needs the extra `autobss-zoo[onnx]`, and with it torch >= 2.7: older exporters fail on batch norms. Detectors have an
exporter of their own, `detectors`, which `to_onnx` calls.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..about import task_of
from ..cost import count_network, count_onnx
from ..errors import ExportError
from ..files import write_atomically
from ..models import setting_of
from .checks import Report, clean, describe, largest_errors, open_session, quiet

if TYPE_CHECKING:
    import onnx


def to_onnx(
    model: nn.Module, path: str | os.PathLike[str], *, input_size: int | None = None, opset: int | None = None
) -> Report:
    """Export a network to one ONNX file with a dynamic batch, or a detector with a dynamic image size.

    The input is `image`, float32 of shape (batch, in_chans, input_size, input_size); the output is `logits`, of shape
    (batch, num_classes), or with `features_only` one `feature_<index>` a level. For a detector's, see
    `export.detectors.export_detector`. The network is exported in float32 and evaluation mode from a copy: `model`
    stays as it is.

    Args:
        model: A network of this zoo, or another timm model.
        path: The file to write; it is replaced if it exists, and left alone if a check fails.
        input_size: Side of the images in pixels; that of the model's configuration when None. None for a detector.
        opset: The ONNX operator set; torch's own choice when None.

    Returns:
        The measured errors and costs. Code and costs are also in the file's metadata.

    Raises:
        ExportError: If the checker, ONNX Runtime or the count of MACs disagrees with the network, if a detector is
            given an input_size, or if the network is a segmenter.
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    task = task_of(model)
    if task == "segmentation":
        raise ExportError("segmenters cannot be exported; export the backbone by its code")
    if task == "detection":
        from .detectors import export_detector

        if input_size is not None:
            raise ExportError("input_size: a detector's graph takes images of any size; leave it out")
        return export_detector(model, path, opset)
    network: Any = deepcopy(model).cpu().float().eval()
    if hasattr(network, "set_grad_checkpointing"):
        network.set_grad_checkpointing(False)
    setting = setting_of(network)
    if input_size is not None:
        setting = replace(setting, input_size=input_size)
    side = setting.input_size
    images = torch.randn(2, setting.in_chans, side, side, generator=torch.Generator().manual_seed(0))

    traced, graph = _trace(network, images, _output_names(network), opset)
    found = graph.opset_import[0].version
    if opset not in (None, found):
        raise ExportError(
            f"opset: torch cannot export opset {opset} and made {found} of it; pass {found} or leave it out"
        )
    cost = count_network(network, setting)
    facts = {
        "code": network.about.code if hasattr(network, "about") else "",
        "architecture": network.pretrained_cfg.get("architecture", ""),
        "input_size": side,
        **vars(cost),
    }
    describe(graph, facts)
    for counted in (count_onnx(traced).macs, count_onnx(graph).macs):
        if counted != cost.macs:
            raise ExportError(f"the exported graph has {counted} MACs, the network {cost.macs}")
    absolute, relative = _check(graph, network, images)
    write_atomically(path, graph.SerializeToString())
    return Report(path, found, absolute, relative, cost.macs, cost.params)


def _output_names(network: nn.Module) -> list[str]:
    if not hasattr(network, "feature_info") or hasattr(network, "num_classes"):
        return ["logits"]
    return [f"feature_{index}" for index in network.feature_info.out_indices]  # type: ignore[union-attr]


def _trace(
    network: nn.Module, images: torch.Tensor, outputs: list[str], opset: int | None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graph as torch traces it, with its batch norms, and the same graph simplified."""
    with quiet():
        try:
            program: Any = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
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
    return traced, clean(program.model_proto)


def _check(graph: onnx.ModelProto, network: nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Largest absolute and relative error of a valid graph."""
    session = open_session(graph)
    pairs: list[tuple[torch.Tensor, Any]] = []
    for batch in (images, images[:1]):
        with torch.inference_mode():
            expected = network(batch)
        if isinstance(expected, torch.Tensor):
            expected = [expected]
        elif isinstance(expected, dict):
            expected = list(expected.values())
        pairs += zip(expected, session.run(None, {"image": batch.numpy()}), strict=True)
    return largest_errors(pairs)
