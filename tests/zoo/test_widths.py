"""Networks whose codes are the widths of their layers."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autobss_zoo import Code, Setting, create_model, entries
from autobss_zoo.detection import create_detector
from autobss_zoo.errors import CodeError
from autobss_zoo.families import FAMILIES, get_family
from autobss_zoo.segmentation import create_segmenter
from conftest import codes, tiny

FACTS = Path(__file__).parents[3] / "shared/papers/facts/bcnet_widths.yaml"
NAMES = sorted(name for name, family in FAMILIES.items() if "_widths" in name and family.inner is family)
CIFAR10 = Setting(32, num_classes=10)


def tied(widths):
    """ResNet50's widths with those of its stages' outputs once, where the source has them for each convolution."""
    rest = iter(widths)
    found, stage = [next(rest)], None
    for blocks in (3, 4, 6, 3):
        for number in range(blocks):
            first, middle, output = next(rest), next(rest), next(rest)
            found += [first, middle]
            if number == 0:
                found.append(output)
                assert next(rest) == output  # the shortcut's
            stage = output if number == 0 else stage
            assert output == stage
    assert next(rest, None) is None
    return found


@pytest.mark.skipif(not FACTS.exists(), reason="the fact sheet of published widths is not here")
def test_published_widths_have_the_counted_macs_and_parameters():
    facts = yaml.safe_load(FACTS.read_text())["entries"]
    assert len(facts) == 27
    known = {entry.code.values: entry for entry in entries().values()}
    for fact in facts:
        kind = fact["name"].partition("/")[0].removeprefix("bcnetv2_")
        families = {
            "mbv2_imagenet": "mnv2_widths",
            "mbv2_cifar10": "mnv2_widths_small",
            "resnet50": "resnet50_widths",
            "vgg19_cifar10": "vgg19_widths",
        }
        family = get_family(families[kind])
        values = tied(fact["widths"]) if kind == "resnet50" else fact["widths"]
        cost = family.cost(Code(family.name, tuple(values)), CIFAR10 if family.small else None)
        assert (cost.macs, cost.params) == (fact["macs"], fact["params"])
        assert (tuple(values) in known) == fact["verdict"].startswith("zoo")


def test_hand_made_widths_are_those_of_the_same_networks():
    for name, other in (("mnv2", "mnv2"), ("efficientnet_b0", "efficientnet_b0"), ("resnet50", "resnet50")):
        ours, theirs = get_family(f"{name}_widths"), get_family(other)
        assert ours.cost(Code(ours.name, ours.original)) == theirs.cost(Code(theirs.name, theirs.original))
    proxyless = get_family("proxylessnas_widths")
    cost = proxyless.cost(Code(proxyless.name, proxyless.original))
    assert (round(cost.macs / 1e6), round(cost.params / 1e6, 1)) == (320, 4.1)  # as Table 6 prints them
    resnet34 = get_family("resnet34_widths")
    assert resnet34.cost(Code(resnet34.name, resnet34.original)).params == 21_797_672  # timm's


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4)
@given(data=st.data())
def test_random_widths(name, data):
    family, code = get_family(name), data.draw(codes(name))
    setting = CIFAR10 if family.small else Setting(64, num_classes=10)
    network, images = (
        create_model(code, num_classes=10).eval(),
        torch.randn(1, 3, setting.input_size, setting.input_size),
    )
    assert sum(parameter.numel() for parameter in network.parameters()) == family.cost(code, setting).params
    levels = create_model(code, num_classes=10, features_only=True).eval()
    maps = levels(images)
    assert [level.shape[1] for level in maps] == levels.feature_info.channels()
    assert [setting.input_size // level.shape[2] for level in maps] == levels.feature_info.reduction()
    assert list(family.layout.names) == [place for stage in family.plan(code).stages for place in stage.elements]


def test_positions_say_stage_block_and_layer():
    assert get_family("mnv2_widths").layout.names[:8] == (
        "stem", "s0.out", "s1.e1", "s1.out", "s1.e2", "s2.e1", "s2.out", "s2.e2",
    )  # fmt: skip
    assert len(get_family("mnv2_widths").original) == 25
    assert get_family("resnet50_widths").layout.names[:6] == ("stem", "s1.r1", "s1.m1", "s1.out", "s1.r2", "s1.m2")
    assert len(get_family("vgg19_widths").original) == 16
    widths = get_family("mnv2_widths").original
    with pytest.raises(CodeError, match=r"element 8 \(s2\.e2\): expected an integer from 1 to 16384, got 0"):
        Code("mnv2_widths", (*widths[:7], 0, *widths[8:]))


def test_detectors_and_segmenters_stand_on_resnets_of_any_width():
    for family in ("resnet50_widths", "resnet34_widths_small", "resnet50_channels"):
        code = tiny(family)
        detector = create_detector("retinanet", code, 3, width=16, min_size=64, max_size=64).eval()
        assert detector([torch.rand(3, 64, 64)])[0].keys() == {"boxes", "scores", "labels"}
        outputs = [stage.outputs for stage in get_family(family).plan(code).stages[1:-1]]
        inner = [block[0].in_channels for block in detector.backbone.fpn.inner_blocks]
        assert inner == outputs[1:]
        assert create_segmenter("pspnet", code, 3, width=16).eval()(torch.rand(1, 3, 64, 64))["out"].shape == (
            1,
            3,
            64,
            64,
        )
    for name in ("channel_bench_resnet", "mnv2_widths"):
        with pytest.raises(CodeError, match="retinanet: expected a code of a ResNet of four stages"):
            create_detector("retinanet", tiny(name))


def test_groups():
    family = get_family("mnv2_widths")
    counts = np.array([[20] * 25, [1] * 25, [7] * 25])
    codes_of = family.of_groups(counts)
    assert codes_of[0].tolist() == list(family.original)
    assert codes_of[1].tolist() == [-(-width // 20) for width in family.original]
    assert codes_of[2][0] == 12  # 11.2, rounded up
    with pytest.raises(ValueError, match="expected counts of 1 to 20 of shape"):
        family.of_groups(np.full((1, 25), 21))
