"""ONNX export of torchvision's detectors, for images of any size.

Traced, torchvision's code is right for any size but for four places, which `_exportable` replaces while it traces: the
resized image's size (rounded in float32, it is a pixel off for one image in sixteen), clipping (it fails on no boxes),
non-maximum suppression (torchvision goes another way for many boxes) and the pasting of masks (a slow loop in the
graph). torch's newer exporter cannot follow torchvision's choices that depend on the data; the older one, which traces,
is used.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import roi_heads, transform
from torchvision.ops import batched_nms, boxes

from ..about import About
from ..errors import ExportError
from ..files import write_atomically
from .checks import Report, clean, describe, largest_errors, open_session, quiet

if TYPE_CHECKING:
    import onnx

OUTPUTS = ("boxes", "scores", "labels", "masks")
"""What a detector returns, in the graph's order; masks of Mask R-CNN alone."""

_OPSETS = range(16, 22)
_OFFSETS_UP_TO = 1000  # boxes, which torchvision's batched_nms shifts apart by class; more it takes class by class
_HEADS = {"head": 1.0, "rpn.head": 1.0, "roi_heads.box_predictor": 2.0}
"""Modules whose outputs decide what is detected, and the deviation of the random outputs that a check puts there:
scores that are spread wide, yet do not saturate, and boxes of all shapes."""

_DRAWS = 3  # of those numbers, one of which must agree


def export_detector(model: nn.Module, path: Path, opset: int | None = None) -> Report:
    """Export a detector to one ONNX file.

    The input is `image`, float32 of shape (3, height, width) in [0, 1], of any height and width: resizing and
    normalisation are in the graph. The outputs are as torchvision's for that image: `boxes` (n, 4) in its pixels,
    `scores` (n,), `labels` (n,) int64, and of Mask R-CNN `masks` (n, 1, height, width), probabilities.

    The graph is compared with PyTorch on random images of two sizes. First what the heads compute (RetinaNet's head,
    or RPN and box predictor) is compared. Then the same random numbers take its place in both, and the final boxes,
    scores, labels and masks are compared, each detection with the most similar one. So there is something to
    detect with any weights, and the rounding of near-equal scores, which tips what any two runtimes select, does not
    matter. It still can where two boxes overlap just as much as is suppressed, or a mask ends between two pixels:
    up to three random draws are tried, and one must agree in everything.

    Args:
        model: A detector of `detection.create_detector`. It is exported from a copy.
        path: The file to write, whole or not at all.
        opset: The ONNX operator set; torch's own choice when None.

    Returns:
        The measured errors; `macs` is None. Code, architecture, classes and parameters are in the file's metadata.

    Raises:
        ExportError: If the opset is not 16 to 21, the checker or ONNX Runtime disagrees with the network, or nothing
            is found to compare.
    """
    if opset is not None and opset not in _OPSETS:
        raise ExportError(f"opset: a detector takes {_OPSETS[0]} to {_OPSETS[-1]}, not {opset}")
    network: Any = deepcopy(model).cpu().float().eval()
    side = network.transform.min_size[-1]
    graph = _trace(network, _noise(0.5 * side, 0.7 * side), opset)
    params = sum(parameter.numel() for parameter in network.parameters())
    about: About = network.about
    facts = {
        "code": about.code,
        "architecture": about.architecture,
        "label_names": json.dumps(list(about.label_names)) if about.label_names else "",
        "in_chans": 3,
        "channels": "RGB",
        "params": params,
    }
    describe(graph, facts)
    shapes = ((0.6, 0.8), (0.75, 0.53375))  # 480x640 and 600x427 for the usual 800
    absolute, relative = _check(graph, network, [_noise(side * height, side * width) for height, width in shapes])
    del graph.graph.output[_results(network) :]
    write_atomically(path, graph.SerializeToString())
    return Report(path, graph.opset_import[0].version, absolute, relative, None, params)


def _noise(height: float, width: float) -> Tensor:
    return torch.rand(3, int(height), int(width), generator=torch.Generator().manual_seed(0))


def _results(network: Any) -> int:
    return len(OUTPUTS) if network.about.architecture == "maskrcnn" else len(OUTPUTS) - 1


def _heads(network: nn.Module) -> list[tuple[nn.Module, float]]:
    modules = dict(network.named_modules())
    return [(modules[name], deviation) for name, deviation in _HEADS.items() if name in modules]


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of nested lists, tuples and dicts."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts for tensor in _tensors(part)]


class _OneImage(nn.Module):
    """A detector of one image that returns a tuple: its results, and then what its heads computed."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.computed: list[Tensor] = []
        for head, _ in _heads(network):
            head.register_forward_hook(lambda _module, _inputs, output: self.computed.extend(_tensors(output)))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        self.computed.clear()
        (result,) = self.network([image])
        return (*(result[name] for name in OUTPUTS if name in result), *self.computed)


def _trace(network: Any, image: Tensor, opset: int | None) -> onnx.ModelProto:
    """The graph of `_OneImage`."""
    import onnx

    names = OUTPUTS[: _results(network)]
    axes = {name: {0: "detections"} for name in names}
    if "masks" in axes:
        axes["masks"] |= {2: "height", 3: "width"}
    content: Any = io.BytesIO()  # which torch takes, though its types do not say so
    with quiet(), _exportable(copied := deepcopy(network)):
        torch.onnx.export(
            _OneImage(copied).eval(),
            (image,),
            content,
            dynamo=False,
            input_names=["image"],
            output_names=list(names),
            dynamic_axes={"image": {1: "height", 2: "width"}, **axes},
            opset_version=opset,
        )
    graph = onnx.load_from_string(content.getvalue())
    for value in graph.graph.output[len(names) :]:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")  # the exporter calls sides of all levels the same
    return clean(graph)


@contextmanager
def _exportable(network: Any) -> Iterator[None]:
    """Replace what torchvision does not trace well."""
    resizing = network.transform
    if resizing.fixed_size is None:
        resizing.resize = lambda image, target: (_resize(image, resizing.min_size[-1], resizing.max_size), target)
    ours: list[tuple[Any, str, Any]] = [
        (boxes, "batched_nms", _batched_nms),
        (boxes, "clip_boxes_to_image", _clip),
        (transform, "paste_masks_in_image", _paste),
    ]
    theirs = [(module, name, getattr(module, name)) for module, name, _ in ours]
    try:
        for module, name, function in ours:
            setattr(module, name, function)
        yield
    finally:
        for module, name, function in theirs:
            setattr(module, name, function)


def _resize(image: Tensor, shorter: int, longer: int) -> Tensor:
    """Resize an image as torchvision does, with the size in float64 as Python has it."""
    size = torch._shape_as_tensor(image)[1:].double()
    scale = (size.new_tensor((shorter, longer)) / torch.stack((size.min(), size.max()))).min()
    height, width = (size * scale).floor().long()
    return F.interpolate(image[None], size=[height, width], mode="bilinear", align_corners=False)[0]


def _clip(boxes: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """torchvision's `clip_boxes_to_image`, without its reshape, which fails on no boxes."""
    height, width = size
    return boxes.clamp(min=0).minimum(torch.stack((width, height, width, height)).to(boxes))


class _NMS(torch.autograd.Function):
    """Non-maximum suppression by ONNX's operator, which unlike torchvision's keeps the classes apart by itself."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
        """The kept boxes' indices, from boxes (n, 4) and scores (classes, n), negative but for a box's own class."""
        best, labels = scores.max(0)
        return batched_nms(boxes, best, labels, threshold)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, threshold: float) -> Any:
        def constant(value: Any, dtype: torch.dtype) -> Any:
            return g.op("Constant", value_t=torch.tensor([value], dtype=dtype))

        first, every = constant(0, torch.int64), constant(torch.iinfo(torch.int64).max, torch.int64)
        boxes, scores = g.op("Unsqueeze", boxes, first), g.op("Unsqueeze", scores, first)
        limits = constant(threshold, torch.float32), constant(-0.5, torch.float32)
        selected = g.op("NonMaxSuppression", boxes, scores, every, *limits)  # rows of image, class, box
        return g.op("Gather", selected, g.op("Constant", value_t=torch.tensor(2)), axis_i=1)


def _batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """torchvision's `batched_nms`, in operators that hold for any number of boxes, none included.

    Few boxes are shifted apart by class, although the operator need not be told so: that rounds them as in torchvision.
    """
    zero = torch.zeros(1)
    few = torch._shape_as_tensor(boxes)[0] <= _OFFSETS_UP_TO
    offsets = labels.to(boxes) * (torch.cat((boxes.flatten(), zero)).max() + 1) * few
    classes: Any = torch.cat((labels, zero.long())).max() + 1
    per_class = torch.where(labels == torch.arange(classes)[:, None], scores, -1.0)
    kept = _NMS.apply(boxes + offsets[:, None], per_class, threshold)
    return kept[scores[kept].sort(descending=True)[1]]


def _paste(masks: Tensor, boxes: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """torchvision's `paste_masks_in_image`, of all masks at once.

    Bilinear interpolation is a product with a matrix of weights from either side.
    """
    masks, scale = roi_heads.expand_masks(masks, 1)
    left, top, right, bottom = roi_heads.expand_boxes(boxes, scale).long().unbind(1)
    rows, columns = (
        _weights(start, end, length, masks.shape[-1])
        for start, end, length in ((top, bottom, size[0]), (left, right, size[1]))
    )
    return (rows @ masks[:, 0] @ columns.transpose(1, 2))[:, None]


def _weights(start: Tensor, end: Tensor, length: Any, cells: int) -> Tensor:
    """How much of each of a mask's cells is in each pixel of an image, along one side.

    Args:
        start: First pixel of each mask, shape (n,).
        end: Last pixel of each mask, shape (n,).
        length: Pixels of the image.
        cells: Of the mask.

    Returns:
        Float32 of shape (n, length, cells); zeros outside of the mask.
    """
    count = (end - start + 1).clamp(min=1)[:, None]
    pixel = torch.arange(length) - start[:, None]
    position = ((pixel + 0.5) * (cells / count) - 0.5).clamp(min=0).minimum(torch.as_tensor(cells - 1.0))
    weights = (1 - (position[:, :, None] - torch.arange(cells)).abs()).clamp(min=0)
    return weights * ((pixel >= 0) & (pixel < count))[:, :, None]


def _check(graph: onnx.ModelProto, network: Any, images: list[Tensor]) -> tuple[float, float]:
    """Largest absolute and relative error of a graph, see `export_detector`."""
    session = open_session(_with_fed_heads(graph, _results(network)))
    errors = []
    for image in images:
        for seed in range(_DRAWS):
            try:
                errors.append(largest_errors(_outputs(session, network, image, seed)))
                break
            except ExportError:
                if seed == _DRAWS - 1:
                    raise
    absolute, relative = map(max, zip(*errors, strict=True))
    return absolute, relative


def _outputs(session: Any, network: Any, image: Tensor, seed: int) -> list[tuple[Tensor, Any]]:
    """Each output of PyTorch and of ONNX Runtime for an image, with the heads of a seed.

    Raises:
        ExportError: If ONNX Runtime cannot run the graph or detects something else, or nothing is detected.
    """
    result, computed, random = _with_random_heads(network, image, seed)
    expected = [*(result[name] for name in OUTPUTS if name in result), *computed]
    if not len(result["boxes"]):
        raise ExportError("nothing is detected, whatever the heads compute: is the score threshold too high?")
    feeds = {value.name: tensor.numpy() for value, tensor in zip(session.get_inputs()[1:], random, strict=True)}
    try:
        found = session.run(None, {"image": image.numpy(), **feeds})
    except Exception as error:  # ONNX Runtime has its own kinds
        raise ExportError(f"ONNX Runtime cannot run the graph: {error}") from error
    if [tuple(ours.shape) for ours in expected] != [theirs.shape for theirs in found]:
        raise ExportError("ONNX Runtime differs from PyTorch in how much it detects")
    ours, theirs = (
        torch.column_stack((boxes, 1000 * scores, 1e6 * labels))
        for boxes, scores, labels in (expected[:3], map(torch.from_numpy, found[:3]))
    )
    order = torch.cdist(ours, theirs, p=1).argmin(1)
    if len(order.unique()) < len(order):
        raise ExportError("ONNX Runtime differs from PyTorch in what it detects")
    results = _results(network)
    return list(zip(expected, [*(array[order] for array in found[:results]), *found[results:]], strict=True))


def _with_fed_heads(graph: onnx.ModelProto, results: int) -> onnx.ModelProto:
    """A copy of a graph where what the heads compute is only an output; inputs take its place."""
    copied = deepcopy(graph)
    for value in copied.graph.output[results:]:
        copied.graph.input.append(value)
        for node in copied.graph.node:
            node.output[:] = [f"{name}_computed" if name == value.name else name for name in node.output]
        value.name += "_computed"
    return copied


def _with_random_heads(network: Any, image: Tensor, seed: int) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """A detector's result with random numbers for what its heads compute, what they did compute, and the numbers."""
    generator = torch.Generator().manual_seed(seed)
    computed: list[Tensor] = []
    random: list[Tensor] = []
    hooks = []
    for head, deviation in _heads(network):

        def replace(_module: Any, _inputs: Any, output: Any, deviation: float = deviation) -> None:
            for tensor in _tensors(output):
                computed.append(tensor.clone())
                random.append(tensor.normal_(0, deviation, generator=generator))

        hooks.append(head.register_forward_hook(replace))
    with torch.inference_mode():
        (result,) = network([image])
    for hook in hooks:
        hook.remove()
    return result, computed, random
