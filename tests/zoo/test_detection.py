"""Detectors over codes: torchvision's own networks at the original code, and whatever else a detector has to do."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from timm.layers import convert_sync_batchnorm
from torch.nn.modules.batchnorm import _NormBase
from torchvision.models import detection
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import autobss_zoo
from autobss_zoo import Code, create_model, from_pretrained, get, list_models, save_pretrained
from autobss_zoo.detection import DETECTORS, create_detector
from autobss_zoo.errors import CodeError, UnknownNameError, WeightsError
from conftest import tiny

CODE = Code.parse("resnet50_v1{16,24,24,40,1,1,2,1,5,8,8,16}")
SMALL = {"width": 16, "min_size": 64, "max_size": 96}


def small(architecture, **kwargs):
    torch.manual_seed(0)
    return create_detector(architecture, CODE, 4, **{**SMALL, **kwargs})


def retinanet_from_c5(weights, weights_backbone, num_classes, **sizes):
    """torchvision's, with P6 where the paper has it."""
    options = {
        "returned_layers": [2, 3, 4],
        "extra_blocks": LastLevelP6P7(2048, 256),
        "norm_layer": torch.nn.BatchNorm2d,
    }
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=weights, trainable_layers=5, **options)
    return detection.RetinaNet(backbone, num_classes, **sizes)


def target(n, side=64):
    corners = torch.rand(n, 2) * side / 2
    masks = torch.zeros(n, side, side, dtype=torch.uint8)
    masks[:, : side // 2] = 1
    return {"boxes": torch.cat([corners, corners + 20], 1), "labels": torch.ones(n, dtype=torch.int64), "masks": masks}


@pytest.mark.parametrize(
    ("architecture", "theirs"),
    [
        ("maskrcnn", detection.maskrcnn_resnet50_fpn),
        ("fasterrcnn", detection.fasterrcnn_resnet50_fpn),
        ("retinanet", retinanet_from_c5),
    ],
)
def test_the_original_code_takes_torchvisions_weights_and_answers_the_same(architecture, theirs):
    torch.manual_seed(0)
    peer = theirs(weights=None, weights_backbone=None, num_classes=7, min_size=96, max_size=128).eval()
    code = Code.parse("resnet50{256,512,1024,2048,3,4,6,3,64,128,256,512}")  # torchvision's strides are v1.5's
    ours = create_detector(architecture, code, 7, min_size=96, max_size=128).eval()
    ours.load_state_dict(peer.state_dict())
    images = [torch.rand(3, 70, 100), torch.rand(3, 120, 60)]
    if architecture == "retinanet":  # its untrained scores are all below the threshold
        peer.score_thresh = ours.score_thresh = 0.0
    with torch.inference_mode():
        for a, b in zip(peer(images), ours(images), strict=True):
            assert len(a["boxes"])
            assert a.keys() == b.keys()
            for key in a:
                torch.testing.assert_close(a[key], b[key])


@pytest.mark.parametrize("architecture", DETECTORS)
def test_every_parameter_learns_also_with_images_without_objects(architecture):
    model = small(architecture).train()
    targets = [target(3), target(0)]
    losses = model([torch.rand(3, 64, 64), torch.rand(3, 64, 64)], targets)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    model.zero_grad()
    alone = sum(model([torch.rand(3, 64, 64)], [target(0)]).values())
    alone.backward()
    assert torch.isfinite(alone)


@pytest.mark.parametrize("architecture", DETECTORS)
def test_batch_norms_learn_and_are_in_the_backbone_alone(architecture):
    norms = {n: m for n, m in small(architecture).named_modules() if isinstance(m, _NormBase)}
    assert len(norms) > 10
    assert all(type(m) is torch.nn.BatchNorm2d and m.weight.requires_grad for m in norms.values())
    assert all(name.startswith("backbone.body.") for name in norms)


@pytest.mark.parametrize("architecture", DETECTORS)
def test_batch_norms_can_be_synchronised(architecture):
    """As the trainer does it in many processes; it takes GPUs to run."""
    model = small(architecture)
    names = [name for name, module in model.named_modules() if isinstance(module, _NormBase)]
    converted = convert_sync_batchnorm(small(architecture))
    found = [name for name, module in converted.named_modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    assert found == names
    converted.load_state_dict(model.state_dict())


@pytest.mark.parametrize("architecture", DETECTORS)
def test_saved_and_loaded_it_detects_the_same(architecture, tmp_path):
    model = small(architecture, **({"score_thresh": 0.0} if architecture == "retinanet" else {})).eval()
    model.about = replace(model.about, label_names=("a", "b", "c"))
    save_pretrained(model, tmp_path / "saved")
    again = from_pretrained(tmp_path / "saved")
    assert (again.about.label_names, again.about.code, again.about.architecture) == (
        ("a", "b", "c"),
        CODE,
        architecture,
    )
    image = torch.rand(3, 64, 80)
    with torch.inference_mode():
        (a,), (b,) = model([image]), again([image])
    assert len(a["boxes"])
    assert all(torch.equal(a[key], b[key]) for key in a)
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert config["params"] == sum(p.numel() for p in model.parameters())
    assert config["arguments"]["width"] == 16
    assert str(CODE) in (tmp_path / "saved" / "README.md").read_text()
    key = {"retinanet": "score_thresh"}.get(architecture, "box_score_thresh")
    with torch.inference_mode():
        assert not len(from_pretrained(tmp_path / "saved", **{key: 0.9999})([image])[0]["boxes"])


def test_a_replaced_head_or_damaged_weights_are_refused(tmp_path):
    model = small("fasterrcnn")
    model.roi_heads.box_predictor = torch.nn.Linear(64, 9)
    with pytest.raises(WeightsError, match=r"box_predictor.*not as the network was built"):
        save_pretrained(model, tmp_path / "a")
    save_pretrained(small("retinanet"), tmp_path / "b")
    weights = tmp_path / "b" / "model.safetensors"
    assert load_file(weights)
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(WeightsError, match="expected weights with sha256"):
        from_pretrained(tmp_path / "b")


@pytest.mark.parametrize("name", list_models(task="detection") + list_models(task="segmentation"))
def test_the_registry_gives_the_whole_network_in_both_spellings(name):
    entry = get(name)
    with torch.device("meta"):
        for spelling in (name, entry.timm_name):
            model = create_model(spelling)
            about = model.about
            assert (about.task, about.architecture, about.code) == (entry.task, entry.architecture, entry.code)
            assert sum(p.numel() for p in model.parameters()) == entry.measured.params
        assert create_model(name, num_classes=5).about.arguments["num_classes"] == 5
    with pytest.raises(WeightsError, match=f"no weights are published for {name}; `autobss train {entry.recipe}`"):
        create_model(name, pretrained=True)


def test_torch_hub_gives_the_whole_detector():
    root = autobss_zoo.__path__[0] + "/.."
    arguments = {"width": 16, "num_classes": 3, "min_size": 64}
    model = torch.hub.load(root, "maskrcnn_r50_autobss", source="local", **arguments)
    assert model.about.architecture == "maskrcnn"
    assert model.about.code == get("maskrcnn_r50_autobss").code


def test_bad_input_is_named(tmp_path):
    with pytest.raises(UnknownNameError, match="architecture: 'maskrcn': did you mean maskrcnn"):
        create_detector("maskrcn", CODE)
    with pytest.raises(CodeError, match="retinanet: expected a code of a ResNet"):
        create_detector("retinanet", tiny("mnv2"))
    with pytest.raises(TypeError, match="no argument box_scor_thresh: did you mean box_score_thresh"):
        create_detector("maskrcnn", CODE, box_scor_thresh=0.1)
    model = small("retinanet", proposal_matcher=Matcher(0.5, 0.4))
    with pytest.raises(ValueError, match="which JSON cannot hold"):
        save_pretrained(model, tmp_path / "a")
    assert not (tmp_path / "a" / "config.json").exists()
