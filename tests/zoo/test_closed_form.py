"""Plans and the costs that are read off them, which need no network."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest

from autobss_zoo import Code, Setting, get
from autobss_zoo.families import get_family
from autobss_zoo.families.plan import Basic, Bottleneck, BottleneckV1, InvertedResidual, Layer
from conftest import EVERY_FAMILY, PAPER, tiny

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
    # Counted by the same authors for the uniformly rescaled networks; not the parameters.
    "mnv1_uniform_w075": ("325.4", ""),
    "mnv1_uniform_w050": ("149.5", ""),
    "mnv1_uniform_w025": ("41.03", ""),
    "mnv1_uniform_r112": ("148.9", ""),
    "mnv2_uniform_w065": ("140.11", ""),
    "mnv2_uniform_w035": ("43.86", ""),
    "mnv2_uniform_r180": ("220.02", ""),
    "mnv2_uniform_r144": ("138.00", ""),
    "mnv2_uniform_r072": ("42.37", ""),
    "mnv2_uniform_w088_r196": ("211.80", ""),
    "resnet50_uniform_w088": ("3163.90", ""),
    "resnet50_uniform_w075": ("2322.68", ""),
    "resnet50_uniform_w050": ("1052.31", ""),
    # Counted by the same authors on the architectures of ScaleNet's authors.
    "scalenet_s0": ("352.691328", "4.442700"),
    "scalenet_s1": ("794.983926", "7.423337"),
    "scalenet_s2": ("1613.902748", "10.198208"),
    "scalenet_s3": ("3026.494896", "13.191086"),
    "scalenet_s4": ("6376.882050", "16.131233"),
    "scalenet_s5": ("10818.965376", "20.891814"),
    "efficientnet_s1": ("804.215754", "8.309426"),
    "efficientnet_s2": ("1734.056383", "11.764570"),
    "efficientnet_s3": ("3317.421056", "15.358783"),
    "efficientnet_s4": ("6982.638406", "19.509311"),
    "efficientnet_s5": ("12389.169001", "25.764397"),
    # Counted by fvcore on timm's own networks.
    "efficientnet_b2_original": ("993.561872", "9.109994"),
    "efficientnet_b3_original": ("1827.141392", "12.233232"),
    "efficientnet_b4_original": ("4393.771024", "19.341616"),
    "efficientnet_b5_original": ("10266.384752", "30.389784"),
}


def digits(value: float, like: str) -> str:
    """`value`, printed with as many digits as `like`: after the point, or as round tens before it."""
    if "." in like:
        return f"{value:.{len(like.partition('.')[2])}f}"
    zeros = len(like) - len(like.rstrip("0"))
    return f"{round(value, -zeros):.0f}"


def test_every_entry_with_printed_figures_is_measured():
    """Those of widths are counted by others in a fact sheet, which test_widths.py reads."""
    assert MEASURED.keys() == {name for name in PAPER if get(name).printed and "_widths" not in get(name).code.family}


@pytest.mark.parametrize("name", MEASURED)
def test_every_entry_has_the_measured_figures(name):
    measured, (macs, params) = get(name).measured, MEASURED[name]
    assert digits(measured.macs / 1e6, macs) == macs
    if params:
        assert digits(measured.params / 1e6, params) == params


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_arrays_equal_single_codes(family):
    generator = np.random.default_rng(0)
    example = np.array(tiny(family).values)
    highs = [field.high for field in get_family(family).fields for _ in field.names]
    array = np.minimum(example + generator.integers(0, 4, (40_000, len(example))), highs)  # more than one chunk
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


@pytest.mark.parametrize("argument", ["input_size", "in_chans"])
def test_an_empty_image_is_refused(argument):
    with pytest.raises(ValueError, match=f"{argument}: expected a positive integer, got 0"):
        Setting(**{argument: 0})


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_plans_blocks_follow_each_other(family):
    plan = get_family(family).plan(tiny(family), Setting(64, 2, 7))
    blocks = [block for stage in plan.stages for block in stage.blocks]
    assert blocks[0].inputs == 2
    assert blocks[-1].outputs == 7
    for before, after in pairwise(blocks):
        assert after.inputs == before.outputs
        assert after.side == before.side_out
    named = [name for stage in plan.stages for name in stage.elements]
    assert [n for n in get_family(family).layout.names if n != "R"] == sorted(
        named, key=tiny(family).layout.names.index
    )


def test_kinds_of_blocks_by_hand():
    macs = [sum(layer.macs for layer in kind(8, 8, 10, 3, 1, hidden=4).layers()) for kind in (Basic, Bottleneck)]
    assert macs == [100 * (9 * 8 * 4 + 9 * 4 * 8), 100 * (8 * 4 + 9 * 4 * 4 + 4 * 8)]
    first, rest = Bottleneck(8, 16, 10, 3, 2, hidden=4).repeated(3)
    assert (rest.inputs, rest.side, rest.stride, rest.times) == (16, 5, 1, 2)
    assert first.figures(["macs"]) == [100 * 8 * 4 + 25 * (9 * 4 * 4 + 4 * 16 + 8 * 16)]
    assert BottleneckV1(8, 16, 10, 3, 2, hidden=4).figures(["macs"]) == [25 * (8 * 4 + 9 * 4 * 4 + 4 * 16 + 8 * 16)]
    mobile = InvertedResidual(8, 8, 10, 3, 1, hidden=24, squeeze_excite=2, expands=0)
    assert mobile.figures(["params"]) == [(9 * 24 + 48) + (24 * 2 + 2) + (2 * 24 + 24) + (24 * 8 + 16)]
    assert Layer(3, 5, side=4, kernel=3).activations == 80


def test_kernels_and_strides_can_differ_between_codes():
    kernel, stride = np.array([3, 5, 3]), np.array([1, 1, 2])
    together = Basic(np.array([8, 8, 8]), 8, 9, kernel, stride, hidden=4).figures()
    for i in range(3):
        alone = Basic(8, 8, 9, int(kernel[i]), int(stride[i]), hidden=4).figures()
        assert [int(np.broadcast_to(figure, 3)[i]) for figure in together] == alone


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_many_resolutions_in_one_call(family):
    sizes, own = np.array([28, 33, 64]), get_family(family)
    together = own.cost(tiny(family), Setting(sizes, 1, 5))
    array = np.array([tiny(family).values] * 3)
    for i, size in enumerate(sizes.tolist()):
        alone = own.cost(tiny(family), Setting(size, 1, 5))
        assert (together.macs[i], together.params[i], together.activations[i]) == tuple(vars(alone).values())
    assert own.cost(array, Setting(sizes, 1, 5)).macs.tolist() == together.macs.tolist()
    with pytest.raises(ValueError, match="input_size: expected 3, one for each code, got 2"):
        own.cost(array, Setting(sizes[:2]))


@pytest.mark.parametrize("value", [0, -3, 1.5, "224", [0], np.array([32, 0]), np.array([1.5])])
def test_a_setting_names_what_is_wrong(value):
    with pytest.raises(ValueError, match="input_size: expected a positive integer, got"):
        Setting(value)
    with pytest.raises(ValueError, match="in_chans: expected a positive integer, got 0"):
        Setting(32, 0)
