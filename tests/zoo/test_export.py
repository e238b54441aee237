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
from conftest import EVERY_FAMILY, codes, tiny


def run(path, *shape: int) -> list:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": torch.randn(*shape, generator=torch.Generator().manual_seed(3)).numpy()})


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("features_only", [False, True])
def test_every_entry_exports(name, features_only, tmp_path):
    torch.manual_seed(0)  # untrained features grow, and rounding with them
    model = timm.create_model(name, features_only=features_only)  # of detectors and segmenters the backbone
    report = to_onnx(model, tmp_path / "model.onnx")
    assert report.max_rel_error < 1e-5
    if not features_only:
        entry = get(name)
        cost = entry.family.cost(entry.code, setting_of(model))
        assert (report.macs, report.params) == (cost.macs, cost.params)


# timm's features are taken from every family alike, which test_timm.py tests: here one network of each kind of block.
FEATURES = [
    "resnet18",
    "resnet50_v1",
    "mnv2_small",
    "efficientnet_b0",
    "channel_bench_mobilenet",
    "channel_bench_resnet_r",
]


@pytest.mark.parametrize(
    ("family", "features_only"),
    [*((family, False) for family in EVERY_FAMILY), *((family, True) for family in FEATURES)],
)
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


@settings(max_examples=4)
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
