import json

import onnx
import onnxruntime
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autobss_zoo import create_model, get, list_models
from autobss_zoo.cost import count_onnx
from autobss_zoo.errors import ExportError
from autobss_zoo.export.classifiers import Report, to_onnx
from autobss_zoo.models import setting_of
from autobss_zoo.segmentation import create_segmenter
from conftest import EACH_BLOCK, EVERY_FAMILY, codes, exports, long, tiny

pytestmark = exports


def run(path, *shape: int) -> list:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": torch.randn(*shape, generator=torch.Generator().manual_seed(3)).numpy()})


CODES = {get(name).code: name for name in reversed(list_models())}  # the backbones of several entries are the same


FULL = ["resnet18_autobss", "efficientnet_b1_autobss", "mnv2_autobss_130m", "mnv1_uniform_r112", "mnv2_uniform_w035"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FULL, *long(*(name for name in CODES.values() if name not in FULL))])
def test_every_entry_exports(name, tmp_path):
    model = timm.create_model(name)  # of detectors and segmenters the backbone
    report = to_onnx(model, tmp_path / "model.onnx")
    assert report.max_rel_error < 1e-5
    entry = get(name)
    cost = entry.family.cost(entry.code, setting_of(model))
    assert (report.macs, report.params) == (cost.macs, cost.params)


WITHOUT_ENTRY = [family for family in EVERY_FAMILY if family not in {code.family for code in CODES}]
# timm's features are taken from every family alike, which test_timm.py tests.
EXPORTS = [*((family, False) for family in WITHOUT_ENTRY), *((family, True) for family in EACH_BLOCK)]
QUICK = [("resnet50_small", False), ("mnv1_small", False), ("efficientnet_b0", True), ("channel_bench_mobilenet", True)]


@pytest.mark.parametrize(("family", "features_only"), [*QUICK, *long(*(case for case in EXPORTS if case not in QUICK))])
def test_every_family_exports(family, features_only, tmp_path):
    options = (
        {"features_only": True, "out_indices": (0, 1) if "bench" in family else (1, 3)}
        if features_only
        else {"num_classes": 5}
    )
    model = create_model(tiny(family), in_chans=1, **options).train()
    path = tmp_path / "model.onnx"
    report = to_onnx(model, path, input_size=48)
    assert model.training
    assert isinstance(report, Report)
    assert report.max_rel_error < 1e-5
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]

    graph = onnx.load(path)
    onnx.checker.check_model(graph, full_check=True)
    assert graph.opset_import[0].version == report.opset >= 18
    assert count_onnx(path).macs == report.macs
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*graph.graph.value_info, *graph.graph.output)}
    for node in graph.graph.node:
        batch, *others = shapes[node.output[0]]
        assert batch.dim_param == "batch"
        assert all(dim.dim_value > 0 for dim in others)
    metadata = {p.key: p.value for p in graph.metadata_props}
    assert metadata["code"] == str(tiny(family))
    assert (int(metadata["macs"]), int(metadata["params"])) == (report.macs, report.params)
    assert metadata["input_size"] == "48"

    model.eval()
    for batch in (1, 2, 5):
        inputs = torch.randn(batch, 1, 48, 48, generator=torch.Generator().manual_seed(3))
        with torch.inference_mode():
            expected = model(inputs)
        for ours, theirs in zip(expected if features_only else [expected], run(path, batch, 1, 48, 48), strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-5)


@settings(max_examples=2)
@given(codes(), st.sampled_from([28, 45, 64]))
def test_random_codes_export(tmp_path_factory, code, size):
    torch.manual_seed(0)
    report = to_onnx(create_model(code, num_classes=4), tmp_path_factory.mktemp("onnx") / "a.onnx", input_size=size)
    assert report.max_rel_error < 1e-5


def test_trained_statistics_export(tmp_path):
    """Folding is exercised by batch norms that do something."""
    model = create_model(tiny("efficientnet_b0_small"), num_classes=5)
    for _ in range(3):
        model.train()(torch.randn(8, 3, 32, 32) * 3 + 1)
    assert to_onnx(model, tmp_path / "a.onnx").max_rel_error < 1e-5


def metadata(path) -> dict:
    return {p.key: p.value for p in onnx.load(path).metadata_props}


def test_the_file_says_how_to_feed_it_and_what_its_classes_are(tmp_path):
    overlay = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "label_names": ["cat", "dog"]}
    model = create_model(tiny("resnet18_small"), num_classes=2, pretrained_cfg_overlay=overlay)
    to_onnx(model, tmp_path / "a.onnx", input_size=32)
    found = metadata(tmp_path / "a.onnx")
    assert {key: json.loads(found[key]) for key in overlay} == {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "label_names": ["cat", "dog"],
    }
    assert (found["in_chans"], found["channels"]) == ("3", "RGB")
    to_onnx(create_model(tiny("resnet18_small"), in_chans=1, num_classes=3), tmp_path / "a.onnx", input_size=32)
    found = metadata(tmp_path / "a.onnx")
    assert (found["in_chans"], found["channels"]) == ("1", "grey")
    assert not {"mean", "label_names"} & found.keys()  # those of three channels are not its own


@pytest.mark.parametrize(("indices", "names"), [((-1, 1), ["feature_1", "feature_4"]), ((-3,), ["feature_2"])])
def test_features_are_named_by_their_levels(indices, names, tmp_path):
    model = create_model(tiny("resnet18_small"), features_only=True, out_indices=indices)
    to_onnx(model, tmp_path / "a.onnx", input_size=32)
    outputs = onnxruntime.InferenceSession(tmp_path / "a.onnx").get_outputs()
    assert sorted(output.name for output in outputs) == names
    every = create_model(tiny("resnet18_small"), features_only=True).feature_info.channels()
    assert {output.name: output.shape[1] for output in outputs} == {name: every[int(name[-1])] for name in names}


def test_a_fixed_batch_of_images_that_are_not_square(tmp_path):
    model = create_model(tiny("resnet18_small"), num_classes=4)
    report = to_onnx(model, tmp_path / "a.onnx", input_size=(32, 48), batch=3)
    assert onnxruntime.InferenceSession(tmp_path / "a.onnx").get_inputs()[0].shape == [3, 3, 32, 48]
    assert report.macs == count_onnx(tmp_path / "a.onnx").macs
    assert metadata(tmp_path / "a.onnx")["input_size"] == "32x48"
    square = to_onnx(model, tmp_path / "b.onnx", input_size=32)
    assert report.macs > square.macs
    for batch in (1, 2):
        assert run(tmp_path / "b.onnx", batch, 3, 32, 32)[0].shape == (batch, 4)


@pytest.mark.parametrize("features_only", [False, *long(True)])
def test_half_precision(features_only, tmp_path):
    torch.manual_seed(0)
    model = create_model("resnet18_small{32,32,64,64,1,1,1,1}", features_only=features_only)
    whole = to_onnx(model, tmp_path / "whole.onnx", input_size=32)
    report = to_onnx(model, tmp_path / "half.onnx", input_size=32, half=True)
    assert whole.max_rel_error < 1e-5 < report.max_rel_error < 1e-2
    assert report.macs == whole.macs
    sizes = [(tmp_path / f"{name}.onnx").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.65 * sizes[1]
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx")
    assert {value.type for value in (*session.get_inputs(), *session.get_outputs())} == {"tensor(float)"}
    assert next(model.parameters()).dtype == torch.float32


def test_networks_that_leave_half_precision_are_refused(tmp_path):
    model = create_model(tiny("resnet18_small"), num_classes=4)
    with torch.no_grad():
        model.fc.weight *= 1e6
    with pytest.raises(ExportError, match="ONNX Runtime differs from PyTorch"):
        to_onnx(model, tmp_path / "a.onnx", input_size=32, half=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (32, 0)}, r"input_size: expected .* got \(32, 0\)"),
        ({"input_size": "32"}, "input_size: expected .* got '32'"),
        ({"input_size": (1, 2, 3)}, "input_size: expected"),
        ({"batch": 0}, "batch: expected a positive integer, got 0"),
        ({"batch": True}, "batch: expected a positive integer, got True"),
    ],
)
def test_wrong_arguments(options, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        to_onnx(create_model(tiny("resnet18_small")), tmp_path / "a.onnx", **options)


def test_opset(tmp_path):
    model = create_model(tiny("resnet18_small"))
    assert to_onnx(model, tmp_path / "a.onnx", opset=19).opset == 19
    with pytest.raises(ExportError, match="cannot export opset 11"):
        to_onnx(model, tmp_path / "b.onnx", opset=11)
    assert not (tmp_path / "b.onnx").exists()


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the folder .*missing does not exist"):
        to_onnx(create_model(tiny("resnet18_small")), tmp_path / "missing" / "a.onnx")


class Drifting(nn.Module):
    """Answers differently after it was traced."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.pretrained_cfg, self.in_chans = network, network.pretrained_cfg, 3

    def forward(self, x):
        return self.network(x) + (0 if torch.compiler.is_exporting() else 1)


def test_nothing_is_written_when_a_check_fails(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"older")
    with pytest.raises(ExportError, match="ONNX Runtime differs from PyTorch"):
        to_onnx(Drifting(create_model(tiny("resnet18_small"), num_classes=4)), path)
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_a_segmenter_is_refused_with_a_reason(tmp_path):
    model = create_segmenter("pspnet", tiny("resnet18"), width=8)
    with pytest.raises(ExportError, match="segmenters cannot be exported; export the backbone by its code"):
        to_onnx(model, tmp_path / "a.onnx")
