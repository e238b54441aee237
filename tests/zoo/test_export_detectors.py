import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from autobss_zoo import Code, get
from autobss_zoo.detection import create_detector
from autobss_zoo.errors import ExportError
from autobss_zoo.export.classifiers import to_onnx
from autobss_zoo.export.detectors import OUTPUTS
from conftest import exports, long

pytestmark = exports

ARCHITECTURES = ["retinanet", "fasterrcnn", "maskrcnn"]
CODE = Code.parse("resnet50_v1{16,32,32,64,1,1,1,1,8,8,8,16}")
SIZES = [(100, 140), (140, 100), (128, 96), (97, 161), (117, 130), (30, 300), (300, 30), (480, 640), (20, 33)]


def confident(architecture: str, code: Code = CODE, **options) -> nn.Module:
    """A detector that detects: untrained ones score everything nearly alike, below their threshold."""
    torch.manual_seed(0)
    model = create_detector(architecture, code, **options).eval()
    for name, tensor in model.named_parameters():
        if name.startswith(("head.classification_head", "rpn.head.cls_logits", "roi_heads.box_predictor.cls_score")):
            nn.init.zeros_(tensor) if tensor.ndim == 1 else nn.init.kaiming_normal_(tensor)
        if name == "roi_heads.box_predictor.cls_score.weight":
            tensor.data *= 10  # one of 81 classes is to stand out
    return model


def small(architecture: str, **options) -> nn.Module:
    return confident(architecture, num_classes=4, width=16, min_size=96, max_size=160, **options)


def both(model: nn.Module, path, height: int, width: int) -> tuple[dict, dict]:
    """The results of PyTorch and of ONNX Runtime for an image."""
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))
    with torch.inference_mode():
        (expected,) = model([image])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == [name for name in OUTPUTS if name in expected]
    found = session.run(None, {"image": image.numpy()})
    return expected, {name: torch.from_numpy(array) for name, array in zip(names, found, strict=True)}


def assert_same(expected: dict, found: dict) -> None:
    """Nearly all are found again: rounding tips the selection of a few that score or overlap just so."""
    count = len(expected["boxes"])
    for name, ours in expected.items():
        assert (found[name].dtype, found[name].shape[1:]) == (ours.dtype, ours.shape[1:])
    assert abs(len(found["boxes"]) - count) <= 0.05 * count
    if not count:
        return
    keys = (torch.column_stack((r["boxes"], 1000 * r["scores"], 1e6 * r["labels"])) for r in (expected, found))
    distance, nearest = torch.cdist(*keys, p=1).min(1)
    same = distance < 0.1
    assert same.float().mean() >= 0.95
    assert len(nearest[same].unique()) == same.sum()
    if "masks" in expected:
        errors = (expected["masks"] - found["masks"][nearest])[same].abs().amax((1, 2, 3))
        assert (errors < 1e-3).float().mean() >= 0.95


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_detects_the_same_at_every_size(architecture, tmp_path):
    model = small(architecture)
    to_onnx(model, tmp_path / "a.onnx")
    for size in SIZES:
        expected, found = both(model, tmp_path / "a.onnx", *size)
        assert len(expected["boxes"]) >= 5
        assert expected["scores"].max() - expected["scores"].min() > 0.01
        assert_same(expected, found)


@pytest.mark.parametrize("architecture", ["retinanet", *long("fasterrcnn", "maskrcnn")])
def test_nothing_detected(architecture, tmp_path):
    """The check has something to compare all the same."""
    model = small(architecture)
    heads = (
        "head.classification_head.cls_logits" if architecture == "retinanet" else "roi_heads.box_predictor.cls_score"
    )
    head = model.get_submodule(heads)
    nn.init.zeros_(head.weight)
    head.bias.data = torch.full_like(head.bias, -20.0)
    head.bias.data[0] += 0 if architecture == "retinanet" else 20  # the background
    to_onnx(model, tmp_path / "a.onnx")
    for size in SIZES[:3]:
        expected, found = both(model, tmp_path / "a.onnx", *size)
        assert len(expected["boxes"]) == 0
        assert_same(expected, found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_untrained_detectors_export(architecture, tmp_path):
    model = create_detector(architecture, CODE, width=16, min_size=96, max_size=160).train()
    model.about = replace(model.about, label_names=("person", "bicycle, or the like"))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path / "a.onnx"
    report = to_onnx(model, path)

    assert model.training
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    assert report.path == path
    assert 0 < report.max_rel_error < 1e-4
    assert report.macs is None
    assert report.params == sum(p.numel() for p in model.parameters())

    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == report.opset >= 16
    metadata = {p.key: p.value for p in graph.metadata_props}
    assert json.loads(metadata.pop("label_names")) == list(model.about.label_names)
    known = {"code": str(CODE), "architecture": architecture, "params": str(report.params)}
    assert metadata == {**known, "in_chans": "3", "channels": "RGB"}
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    expected = {
        "image": [3, "height", "width"],
        "boxes": ["detections", 4],
        "scores": ["detections"],
        "labels": ["detections"],
    }
    if architecture == "maskrcnn":
        expected["masks"] = ["detections", 1, "height", "width"]
    assert shapes == expected


@pytest.mark.parametrize("options", [{"min_size": 280, "max_size": 500}, *long({"fixed_size": (128, 96)})])
def test_other_sizes_of_the_network(options, tmp_path):
    """A mask of the whole of 168 pixels, which 280 is checked with, is widened by whole pixels."""
    model = confident("maskrcnn", num_classes=3, width=16, **{"min_size": 96, "max_size": 160, **options})
    to_onnx(model, tmp_path / "a.onnx")
    assert_same(*both(model, tmp_path / "a.onnx", 168, 224))


@pytest.mark.parametrize("architecture", ["fasterrcnn", *long("retinanet")])
def test_many_classes_and_few_candidates(architecture, tmp_path):
    """torchvision's suppression goes another way for up to 1000 boxes, with other roundings."""
    for threshold in (0.02, 0.6 if architecture == "retinanet" else 0.05):
        option = {"score_thresh" if architecture == "retinanet" else "box_score_thresh": threshold}
        model = confident(architecture, width=16, min_size=96, max_size=160, **option)
        to_onnx(model, tmp_path / "a.onnx")
        expected, found = both(model, tmp_path / "a.onnx", 97, 161)
        assert len(expected["labels"].unique()) > 3
        assert_same(expected, found)


@pytest.mark.parametrize("drifting", ["roi_heads.mask_head", *long("rpn.head.bbox_pred", "roi_heads.box_predictor")])
def test_nothing_is_written_when_a_head_differs(drifting, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"older")
    model = small("maskrcnn")
    model.get_submodule(drifting).register_forward_hook(drift)
    with pytest.raises(ExportError, match="ONNX Runtime differs from PyTorch"):
        to_onnx(model, path)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def drift(module, inputs, output):
    """Compute something else once it was traced."""
    if torch.jit.is_tracing():
        return output
    return tuple(1.01 * part + 0.01 for part in output) if isinstance(output, tuple) else 1.01 * output + 0.01


def keep_fewer(module, inputs, output):
    """Propose less once it was traced."""
    proposals, losses = output
    return output if torch.jit.is_tracing() else ([proposals[0][10:]], losses)


def test_nothing_is_written_when_a_selection_differs(tmp_path):
    model = small("fasterrcnn")
    model.rpn.register_forward_hook(keep_fewer)
    with pytest.raises(ExportError, match=r"ONNX Runtime (cannot run|differs)"):
        to_onnx(model, tmp_path / "a.onnx")
    assert not any(tmp_path.iterdir())


def test_opset(tmp_path):
    model = small("retinanet")
    assert to_onnx(model, tmp_path / "a.onnx", opset=17).opset == 17
    with pytest.raises(ExportError, match="opset: a detector takes 16 to 21, not 11"):
        to_onnx(model, tmp_path / "b.onnx", opset=11)
    assert not (tmp_path / "b.onnx").exists()


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist"):
        to_onnx(small("retinanet"), tmp_path / "missing" / "a.onnx")
    with pytest.raises(ExportError, match="one float32 image of any size"):
        to_onnx(small("retinanet"), tmp_path / "a.onnx", input_size=96)
    with pytest.raises(ExportError, match="nothing is detected"):
        to_onnx(small("retinanet", score_thresh=1.0), tmp_path / "a.onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("name", ["maskrcnn_r50_autobss", "retinanet_r50_autobss"])
def test_full_size(name, tmp_path):
    model = confident(name.split("_")[0], get(name).code)
    assert to_onnx(model, tmp_path / "a.onnx").max_rel_error < 1e-4
    for size in ((480, 640), (800, 1066), (640, 427)):
        expected, found = both(model, tmp_path / "a.onnx", *size)
        assert len(expected["boxes"]) >= 5
        assert_same(expected, found)
    assert np.isfinite(found["boxes"].numpy()).all()
