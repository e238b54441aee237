"""MACs and parameters: three independent counts, exactly equal, and equal to the papers'."""

from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from autobss_zoo import Code, Setting, create_model, get, list_models
from autobss_zoo.cost import Cost, count_network, count_onnx
from autobss_zoo.detection import DETECTORS, create_detector
from autobss_zoo.export.classifiers import _trace
from autobss_zoo.families import family_of, get_family
from autobss_zoo.families.detectors import DetectorKind
from conftest import EVERY_FAMILY, PAPER, codes, tiny

# Measured by the authors of this project's notes on the paper, independently of this code: MACs in millions and
# parameters in millions, to the digits given.
MEASURED = {
    "resnet18_original": ("1814.1", "11.690"),
    "resnet18_random": ("1742.2", "24.866"),
    "resnet18_autobss": ("1809.4", "16.149"),
    "resnet50_original": ("4089.2", "25.56"),
    "resnet50_random": ("3694.2", "23.00"),
    "resnet50_autobss": ("4033.0", "23.74"),
    "mnv2_original": ("300.8", "3.50"),
    "mnv2_random": ("298.5", "4.00"),
    "mnv2_autobss": ("296.5", "3.92"),
    "efficientnet_b0_original": ("385.8", "5.29"),
    "efficientnet_b0_random": ("357.0", "6.67"),
    "efficientnet_b0_autobss": ("381.8", "6.39"),
    "efficientnet_b1_original": ("686.8", "7.79"),
    "efficientnet_b1_random": ("674.1", "10.19"),
    "efficientnet_b1_autobss": ("684.3", "10.17"),
    "mnv2_uniform_130m": ("129.6", "2.21"),
    "mnv2_autobss_130m": ("129.4", "2.69"),
    "maskrcnn_r50_original": ("117070", "44"),
    "maskrcnn_r50_autobss": ("116870", "49"),
    "retinanet_r50_original": ("146250", "37.97"),
    "retinanet_r50_autobss": ("146090", "41.31"),
    "retinanet_r50_autobss_printed": ("168490", "43.55"),
}


def digits(value: float, like: str) -> str:
    """`value`, printed with as many digits as `like`: after the point, or as round tens before it."""
    if "." in like:
        return f"{value:.{len(like.partition('.')[2])}f}"
    zeros = len(like) - len(like.rstrip("0"))
    return f"{round(value, -zeros):.0f}"


def test_every_entry_with_printed_figures_is_measured():
    assert MEASURED.keys() == {name for name in PAPER if get(name).printed}


@pytest.mark.parametrize("name", MEASURED)
def test_every_entry_has_the_measured_figures(name):
    measured, (macs, params) = get(name).measured, MEASURED[name]
    assert digits(measured.macs / 1e6, macs) == macs
    assert digits(measured.params / 1e6, params) == params


def onnx_cost(model: nn.Module, setting: Setting) -> Cost:
    """Counted on the graph before its batch norms are folded, and the MACs also after."""
    traced, simplified = _trace(
        model.eval(), torch.zeros(2, setting.in_chans, setting.input_size, setting.input_size), ["logits"], None
    )
    assert count_onnx(simplified).macs == count_onnx(traced).macs
    assert "Shape" not in {node.op_type for node in simplified.graph.node}
    return count_onnx(traced)


@pytest.mark.parametrize("name", list_models(task="classification"))
def test_three_counts_agree_for_every_classifier(name):
    entry = get(name)
    model = create_model(name)
    assert entry.family.cost(entry.code, entry.setting) == entry.measured
    assert count_network(model, entry.setting) == entry.measured
    assert onnx_cost(model, entry.setting) == entry.measured


@pytest.mark.parametrize("name", list_models(task="detection"))
def test_three_counts_agree_for_every_backbone(name):
    entry = get(name)
    setting = Setting(800)
    closed_form = entry.family.cost(entry.code, setting)
    assert count_network(create_model(entry.code), setting) == closed_form
    assert onnx_cost(timm.create_model(name), setting) == closed_form


class Counted(nn.Module):
    """The parts of a detector that the paper counts: the backbone with its FPN, and a head on its levels."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head if detector.architecture == "retinanet" else detector.rpn.head

    def forward(self, images):
        return self.head(list(self.backbone(images).values()))


@pytest.mark.parametrize("name", list_models(task="detection"))
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


@pytest.mark.parametrize("name", list_models(task="segmentation"))
def test_segmenters_have_the_measured_figures(name):
    segmenter, entry = create_model(name), get(name)
    params = sum(p.numel() for p in segmenter.parameters())
    counted = count_network(Logits(segmenter), Setting(entry.setting.input_size))
    assert replace(counted, params=params) == entry.measured


@pytest.mark.parametrize("family", EVERY_FAMILY)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_closed_form_equals_fvcore_for_random_codes(family, data):
    code = data.draw(codes(family))
    size = family_of(code).stated_side(code) or data.draw(st.sampled_from([28, 32, 33, 64, 97]))
    setting = Setting(size, data.draw(st.sampled_from([1, 3])), data.draw(st.sampled_from([2, 10])))
    model = create_model(code, in_chans=setting.in_chans, num_classes=setting.num_classes)
    assert count_network(model, setting) == family_of(code).cost(code, setting)


@pytest.mark.parametrize("family", EVERY_FAMILY)
@settings(max_examples=2)
@given(data=st.data())
def test_onnx_count_equals_closed_form_for_random_codes(family, data):
    code = data.draw(codes(family))
    size = family_of(code).stated_side(code) or data.draw(st.sampled_from([28, 45, 64]))
    setting = Setting(size, num_classes=7)
    assert onnx_cost(create_model(code, num_classes=7), setting) == family_of(code).cost(code, setting)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_arrays_equal_single_codes(family):
    generator = np.random.default_rng(0)
    example = np.array(tiny(family).values)
    array = example + generator.integers(0, 4, (40_000, len(example)))  # more than one chunk
    cost = get_family(family).cost(array, Setting(33))
    assert cost.macs.shape == cost.params.shape == cost.activations.shape == (len(array),)
    assert get_family(family).figure("params", array, Setting(33)).tolist() == cost.params.tolist()
    for row in (0, 17, 20_000, -1):
        code = Code(family, array[row])
        single = get_family(family).cost(code, Setting(33))
        assert (cost.macs[row], cost.params[row], cost.activations[row]) == tuple(vars(single).values())
        assert {type(figure) for figure in vars(single).values()} == {int}
        rows = get_family(family).stage_rows(code, Setting(33))
        assert reduce(add, (stage.cost for stage in rows)) == single


def test_no_codes_cost_nothing():
    assert get_family("resnet18").cost(np.empty((0, 8), int)).macs.shape == (0,)


@pytest.mark.parametrize("broken", [np.ones((3, 7), int), np.ones((3, 8)), np.ones(8, int)])
def test_broken_arrays_are_refused(broken):
    with pytest.raises(ValueError, match=r"expected an integer array of shape \(n, 8\) of resnet18 codes"):
        get_family("resnet18").cost(broken)


def test_a_code_of_another_family_is_refused():
    with pytest.raises(ValueError, match="expected a code of resnet18, got resnet18_small"):
        get_family("resnet18").cost(tiny("resnet18_small"))


def test_counting_leaves_the_network_as_it_was():
    model = create_model(tiny("resnet18")).train()
    count_network(model, Setting(64))
    assert model.training


@pytest.mark.parametrize("argument", ["input_size", "in_chans"])
def test_an_empty_image_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument}: expected a positive integer, got 0"):
        Setting(**{argument: 0})
