"""Uniform rescaling: the hand-made network at its own cost, and one factor for all widths elsewhere."""

import numpy as np
import pytest

from autobss_search import Dimension, Space, get_space, list_spaces
from autobss_search.spaces.budgets import Constraint
from autobss_search.spaces.uniform import uniform_code
from autobss_zoo import get_family


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mnv2", "efficientnet_b0", "mnv2_small", "maskrcnn_r50"])
def test_at_its_own_cost_the_hand_made_network_is_its_own_rescaling(name):
    space = get_space(name)
    assert uniform_code(space).values == get_family(space.family).original


@pytest.mark.parametrize("name", list_spaces())
def test_depths_stay_and_widths_are_scaled_alike(name):
    space = get_space(name)
    code, by_hand = uniform_code(space), get_family(space.family).original
    assert code in space
    for field in space.layout.fields:
        own = [(v, w) for v, w, n in zip(code.values, by_hand, space.layout.names, strict=True) if n in field.names]
        ratios = np.array([v / w for v, w in own])
        if field.scales:
            assert ratios.max() / ratios.min() < 1.5  # what rounding to choices leaves
        elif not field.part_of:
            assert (ratios == 1).all()


def test_parts_of_widths_keep_their_share():
    code = uniform_code(get_space("resnet50", macs="1.2G"))
    assert [c // b for c, b in zip(code.channels, code.values[-4:], strict=True)] == [4] * 4
    assert code.channels[3] < 2048


def test_codes_without_a_hand_made_one_are_rescaled_from_their_largest_choices():
    def cost(codes):
        return codes.sum(axis=1)

    def space(upper):
        dimensions = [
            Dimension("A", (1, 2, 3, 4)),
            Dimension("B", (10, 20, 30, 40)),
            Dimension("K", (5, 3), ordered=False),
        ]
        return Space("toy", dimensions, [Constraint("sum", upper, cost)])

    assert uniform_code(space(38)).values == (3, 30, 5)
    assert uniform_code(space(37)).values == (2, 20, 5)
    assert uniform_code(space(14)) is None  # of three there are codes, but none that are rescaled alike
