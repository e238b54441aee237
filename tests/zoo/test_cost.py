"""MACs and parameters: three independent counts, exactly equal, and equal to the papers'."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from autobss_zoo import Setting, create_model, get, list_models
from autobss_zoo.cost import Cost, count_network, count_onnx
from autobss_zoo.detection import DETECTORS, create_detector
from autobss_zoo.export.classifiers import _trace
from autobss_zoo.families import family_of
from autobss_zoo.families.detectors import DetectorKind
from conftest import EACH_BLOCK, EVERY_FAMILY, codes, exports, long, tiny


def onnx_cost(model: nn.Module, setting: Setting) -> Cost:
    """Counted on the graph before its batch norms are folded, and the MACs also after."""
    traced, simplified = _trace(
        model.eval(), torch.zeros(2, setting.in_chans, setting.input_size, setting.input_size), ["logits"], None, True
    )
    assert count_onnx(simplified).macs == count_onnx(traced).macs
    assert "Shape" not in {node.op_type for node in simplified.graph.node}
    return count_onnx(traced)


@pytest.mark.parametrize("name", list_models(task="classification"))
def test_two_counts_agree_for_every_classifier(name):
    """The third, of the ONNX graph, is compared when every entry is exported (test_export.py)."""
    entry = get(name)
    assert entry.family.cost(entry.code, entry.setting) == entry.measured
    assert count_network(create_model(name), entry.setting) == entry.measured


@pytest.mark.parametrize("name", list_models(task="detection"))
def test_two_counts_agree_for_every_backbone(name):
    entry = get(name)
    setting = Setting(800)
    assert count_network(create_model(entry.code), setting) == entry.family.cost(entry.code, setting)


class Counted(nn.Module):
    """The parts of a detector that the paper counts: the backbone with its FPN, and a head on its levels."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head if detector.about.architecture == "retinanet" else detector.rpn.head

    def forward(self, images):
        return self.head(list(self.backbone(images).values()))


DETECTION = list_models(task="detection")


@pytest.mark.parametrize("name", [*DETECTION[1::3], *long(*DETECTION[::3], *DETECTION[2::3])])
def test_detectors_have_the_papers_figures(name):
    """RetinaNet with COCO's 80 classes, Mask R-CNN with background as the 81st."""
    detector = create_model(name)
    params = sum(p.numel() for p in detector.parameters())
    assert replace(count_network(Counted(detector), Setting(800)), params=params) == get(name).measured


@pytest.mark.parametrize("architecture", DETECTORS)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_detectors_in_closed_form_equal_fvcore_for_random_codes(architecture, data):
    code = data.draw(codes(data.draw(st.sampled_from(["resnet18", "resnet50", "resnet50_v1"]))))
    size, width = data.draw(st.sampled_from([64, 90, 128])), data.draw(st.sampled_from([8, 20]))
    kind, classes = DETECTORS[architecture], data.draw(st.integers(1, 5))
    detector = create_detector(architecture, code, classes + kind.first_label, width=width)
    padded = -(-size // 32) * 32
    plan = DetectorKind(architecture, width).plan(family_of(code), np.array([code.values]), Setting(size, 3, classes))
    counted = count_network(Counted(detector), Setting(padded))
    assert (counted.macs, counted.activations) == tuple(
        int(figure[0]) for figure in plan.figures(("macs", "activations"))
    )


class Logits(nn.Module):
    """A segmenter's logits alone."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images):
        return self.segmenter(images)["out"]


@pytest.mark.parametrize(
    "name", ["pspnet_r50_autobss", "psanet_r50_original", *long("pspnet_r50_original", "psanet_r50_autobss")]
)
def test_segmenters_have_the_measured_figures(name):
    segmenter, entry = create_model(name), get(name)
    params = sum(p.numel() for p in segmenter.parameters())
    counted = count_network(Logits(segmenter), Setting(entry.setting.input_size))
    assert replace(counted, params=params) == entry.measured


@pytest.mark.parametrize("family", EVERY_FAMILY)
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_closed_form_equals_fvcore_for_random_codes(family, data):
    code = data.draw(codes(family))
    size = family_of(code).stated_side(code) or data.draw(st.sampled_from([28, 32, 33, 64, 97]))
    setting = Setting(size, data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([2, 10])))
    model = create_model(code, in_chans=setting.in_chans, num_classes=setting.num_classes)
    assert count_network(model, setting) == family_of(code).cost(code, setting)


@exports
@pytest.mark.parametrize("family", [*EACH_BLOCK[::2], *long(*EACH_BLOCK[1::2])])
@settings(max_examples=2)
@given(data=st.data())
def test_onnx_count_equals_closed_form_for_random_codes(family, data):
    code = data.draw(codes(family))
    size = family_of(code).stated_side(code) or data.draw(st.sampled_from([28, 45, 64]))
    setting = Setting(size, num_classes=7)
    assert onnx_cost(create_model(code, num_classes=7), setting) == family_of(code).cost(code, setting)


def test_counting_leaves_the_network_as_it_was():
    model = create_model(tiny("resnet18")).train()
    count_network(model, Setting(64))
    assert model.training
