"""ScaleNet's networks: an operation a layer, scaled by depth, width and resolution."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autobss_zoo import Code, Setting, create_model, get
from autobss_zoo.cost import count_network
from autobss_zoo.errors import CodeError
from autobss_zoo.families import FAMILIES, get_family
from autobss_zoo.families.scaled import OPERATIONS, Scaled, number_of
from autobss_zoo.registry import of_timm
from conftest import codes

FACTS = Path(__file__).parents[3] / "shared/papers/facts"
NAMES = sorted(name for name, family in FAMILIES.items() if isinstance(family, Scaled))
# Of the architectures of ScaleNet's authors: blocks and channels of each stage, MACs, parameters, side of the images.
NETWORKS = {
    "s0": ((1, 1, 4, 2, 2, 3, 1), (16, 32, 40, 80, 96, 192, 320), 352_691_328, 4_442_700, 224),
    "s1": ((2, 2, 5, 3, 3, 4, 2), (17, 34, 42, 84, 100, 200, 333), 794_983_926, 7_423_337, 256),
    "s2": ((2, 2, 6, 3, 3, 5, 2), (20, 39, 48, 96, 116, 231, 384), 1_613_902_748, 10_198_208, 304),
    "s3": ((2, 2, 6, 3, 3, 5, 2), (23, 45, 56, 112, 135, 269, 448), 3_026_494_896, 13_191_086, 354),
    "s4": ((2, 2, 7, 4, 4, 5, 2), (25, 50, 62, 123, 148, 295, 491), 6_376_882_050, 16_131_233, 458),
    "s5": ((2, 2, 8, 4, 4, 6, 2), (28, 55, 68, 136, 163, 325, 541), 10_818_965_376, 20_891_814, 533),
}
PRINTED_PARAMETERS = {
    "scalenet": (4.4, 7.4, 10.2, 13.2, 16.1, 20.9),
    "efficientnet": (None, 8.3, 11.8, 15.4, 19.5, 25.8),
}


@pytest.mark.parametrize(("name", "expected"), NETWORKS.items())
def test_networks_are_those_of_the_authors(name, expected):
    entry = get(f"scalenet_{name}")
    plan = entry.family.plan(entry.code)
    stages = plan.stages[1:-1]
    depths = tuple(int(sum(block.times for block in stage.blocks)) for stage in stages)
    found = entry.family.cost(entry.code)
    assert (depths, tuple(s.outputs for s in stages), found.macs, found.params, entry.setting.input_size) == expected
    kernels = [[int(block.kernel) for block in stage.blocks for _ in range(block.times)] for stage in stages]
    assert kernels[2] == [7, 7, 5, 3] + [3] * (depths[2] - 4)
    assert kernels[5] == [7, 5] + [7] * (depths[5] - 2)
    assert all(block.squeeze_excite == block.inputs // 4 for stage in stages for block in stage.blocks)


@pytest.mark.parametrize("base", PRINTED_PARAMETERS)
def test_parameters_of_all_eleven_are_the_papers(base):
    for stage, printed in enumerate(PRINTED_PARAMETERS[base]):
        if printed is not None:
            entry = get(f"{base}_s{stage}")
            assert round(entry.family.cost(entry.code).params / 1e6, 1) == printed
            assert entry.printed["params"] == f"{printed}M"


@pytest.mark.skipif(not FACTS.exists(), reason="the fact sheets of the architectures are not here")
def test_costs_are_those_of_the_fact_sheets():
    for sheet, key in (("scalenet_arch", "strategies"), ("efficientnet_s", "models")):
        for fact in yaml.safe_load((FACTS / f"{sheet}.yaml").read_text())[key]:
            name = fact["name"].lower().replace("-", "_")
            entry = get(name if "_" in name else f"scalenet_{name}")
            assert (entry.measured.macs, entry.measured.params) == (fact["macs"], fact["params"])
            assert entry.setting.input_size == fact["resolution"]
            widths = entry.code.titled("width in thousandths")
            assert widths == (round(1000 * fact["width"]),)


def test_efficientnet_under_no_scaling_is_efficientnet():
    ours, theirs = (get_family(name) for name in ("efficientnet_b0_scaled", "efficientnet_b0"))
    assert ours.cost(Code(ours.name, ours.original)) == theirs.cost(Code(theirs.name, theirs.original))
    with torch.device("meta"):
        shapes = [
            {name: value.shape for name, value in create_model(Code(family.name, family.original)).state_dict().items()}
            for family in (ours, theirs)
        ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_compound_scaling_gives_timms_networks(depth):
    entry = get(f"efficientnet_b{depth}_original")
    (weights,) = entry.weights.values()
    with torch.device("meta"):
        ours, theirs = create_model(entry.name), timm.create_model(f"efficientnet_b{depth}")
    assert {n: v.shape for n, v in ours.state_dict().items()} == {n: v.shape for n, v in theirs.state_dict().items()}
    assert entry.setting.input_size == {2: 260, 3: 300, 4: 380, 5: 456}[depth]
    assert sum(parameter.numel() for parameter in theirs.parameters()) == entry.measured.params
    assert of_timm(weights).startswith(f"efficientnet_b{depth}.")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6)
@given(data=st.data())
def test_random_codes_are_what_the_plan_says(name, data):
    code = data.draw(codes(name))
    family = get_family(name)
    network, setting = create_model(code, num_classes=3), Setting(48, 3, 3)
    assert count_network(network, setting) == family.cost(code, setting)
    blocks = [block for stage in network.blocks for block in stage]
    assert len(blocks) == sum(code.layers)
    operations = code.titled("operation")
    for stage, part, ends in zip(
        network.blocks, family.stages, np.cumsum([p.slots for p in family.stages]), strict=True
    ):
        own = operations[ends - part.slots : ends]
        for number, block in enumerate(stage):
            squeeze, expansion, kernel = OPERATIONS[own[min(number, part.slots - 1)] - 1]
            assert block.conv_dw.kernel_size == (kernel, kernel)
            assert isinstance(block.se, nn.Identity) != bool(squeeze)
            assert hasattr(block, "conv_pwl") == (expansion > 1)


def test_activations_and_gates():
    hard, soft = (create_model(Code(n, get_family(n).original)) for n in ("scalenet_tiny", "efficientnet_b0_scaled"))
    kinds = [{type(module).__name__ for module in network.modules()} for network in (hard, soft)]
    assert {"Hardswish", "Hardsigmoid", "ReLU"} <= kinds[0] or {"HardSwish", "HardSigmoid", "ReLU"} <= kinds[0]
    assert {"SiLU", "Sigmoid"} <= kinds[1] or {"Swish", "Sigmoid"} <= kinds[1]
    assert "ReLU" not in kinds[1]


@given(data=st.data())
def test_idle_operations_change_nothing_and_have_one_form(data):
    family = get_family("scalenet_small")
    code = data.draw(codes("scalenet_small"))
    (row,) = family.canonical(np.array([code.values]))
    assert family.plan(Code(family.name, row)).figures() == family.plan(code).figures()
    assert family.canonical(row[None]).tolist() == [row.tolist()]
    twin = get_family("scalenet_small_r")
    assert twin.canonical(np.array([[*code.values, 40]])).tolist() == [[*row.tolist(), 40]]
    other = np.array(code.values)
    other[7 + 1 + code.layers[1] : 7 + 5] = 1  # the second stage's slots after its last block
    assert family.canonical(other[None]).tolist() == [row.tolist()]
    plain = np.array([get_family("resnet18").original])
    assert get_family("resnet18").canonical(plain) is plain


def test_operations_have_numbers():
    assert [number_of(kernel, 6) for kernel in (3, 5, 7)] == [16, 17, 18]
    assert [number_of(kernel, 3, False) for kernel in (3, 5, 7)] == [4, 5, 6]
    assert number_of(3, 1, False) == 1
    with pytest.raises(ValueError, match="not in tuple"):
        number_of(9, 6)
    original = get_family("scalenet").original
    with pytest.raises(CodeError, match=r"element 8 \(O1\.1\): expected an integer from 1 to 18, got 19"):
        Code("scalenet", (*original[:7], 19, *original[8:]))
    with pytest.raises(CodeError, match=r"element 30 \(W\): expected an integer from 188 to 8000, got 187"):
        Code("scalenet", (*original[:-1], 187))  # 16 channels would become 3, of which squeeze-excite leaves none
