"""Search spaces: the paper's, custom ones, membership, steps, budgets and their errors."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobss_search import Constraint, Dimension, Space, each, get_space, list_spaces, load_space
from autobss_search.conformance import check_space
from autobss_search.errors import SpaceError
from autobss_search.spaces import parse_amount
from autobss_zoo import Code, Setting
from autobss_zoo.errors import UnknownNameError
from autobss_zoo.families import get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.registry import entries
from conftest import AUTOBSS, KNOWN, long

# The sizes that the bounds and steps of appendix B.2.2 give, counted by hand.
SIZES = {
    "resnet18": 4 * 6 * 6 * 5 * 16**4,
    "resnet50": 5 * 6 * 6 * 6 * 11**4 * 4**4,
    "mnv2": 6 * 7 * 7 * 7 * 7 * 7 * (5 * 6 * 7 * 6 * 6 * 4) * 2**6,
    "efficientnet_b0": 5 * 6 * 8 * 9 * 8 * 7 * (6 * 6 * 7 * 7 * 8 * 5) * 2**6,
}


def product_space(upper=900.0):
    """Six dimensions of four values under a budget that most codes meet."""
    dimensions = [Dimension(f"W{i}", (1, 2, 3, 4)) for i in range(1, 7)]
    return Space("product6", dimensions, [Constraint("size", upper, squares)])


def squares(codes):
    return 3 * np.sqrt(np.square(codes).prod(axis=1))


WIDTHS = ("mnv2_widths", "resnet18_widths_small", "vgg19_widths")
"""Spaces of widths that are tried in the gate; the others differ from them in numbers."""
OTHERS = [name for name in list_spaces() if "_widths" in name and name not in WIDTHS]


@pytest.mark.parametrize("name", [*(name for name in list_spaces() if name not in OTHERS), *long(*OTHERS)])
def test_declared_spaces_conform(name):
    check_space(get_space(name), n=60)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_follow_from_the_papers_bounds(name):
    assert get_space(name).size == SIZES[name]


@pytest.mark.parametrize("name", [n for n in AUTOBSS if "printed" not in n and entries()[n].task != "segmentation"])
def test_every_code_of_autobss_is_a_member_under_its_budget(name):
    code = entries()[name].code
    space = {"resnet50_v1": name.rpartition("_")[0]}.get(code.family, code.family)
    assert code in get_space(space)


def test_the_misprinted_code_is_in_the_space_but_over_its_budget():
    code = entries()["retinanet_r50_autobss_printed"].code
    with pytest.raises(SpaceError, match="168,489,753,600 is over the bound 146,245,594,112"):
        get_space("retinanet_r50").check(code)
    assert code in get_space("retinanet_r50", macs=169e9)


@pytest.mark.parametrize("name", [n for n, e in entries().items() if e.task == "detection"])
def test_detectors_in_closed_form_have_the_measured_macs(name):
    entry = entries()[name]
    codes = np.array([entry.code.values])
    assert DetectorKind(name.partition("_")[0]).macs(entry.family, codes) == [entry.measured.macs]


def test_every_family_that_codes_are_searched_for_has_a_space():
    assert {name for name in KNOWN if not name.endswith("_r")} - {"resnet50_v1"} <= set(list_spaces())


def test_the_default_budget_is_the_hand_made_codes():
    space = get_space("resnet18")
    assert space.constraints[0].upper == 1814073344
    small = get_space("resnet18_small", setting=Setting(16, 1, 10))
    family = get_family("resnet18_small")
    assert small.constraints[0].upper == family.cost(Code(family.name, family.original), Setting(16, 1, 10)).macs


def test_a_bound_relative_to_a_network():
    uniform, family = entries()["mnv1_uniform_w050"], get_family("mnv1_r")
    for network in ("mnv1_uniform_w050", str(uniform.code)):
        (bound,) = get_space("mnv1_input", macs=f"0.5x of {network}").constraints
        assert bound.upper == 0.5 * uniform.measured.macs
    (bound,) = get_space("mnv1_input", macs="0.5x").constraints
    assert bound.upper == 0.5 * family.cost(Code("mnv1_r", family.original)).macs
    with pytest.raises(SpaceError, match=r"macs: expected a network of mnv1, got mnv2_autobss, which is mnv2\{"):
        get_space("mnv1_input", macs="1x of mnv2_autobss")
    with pytest.raises(UnknownNameError, match="unknown network 'mnv1_unifrm_w050': did you mean mnv1_uniform_w050"):
        get_space("mnv1_input", macs="1x of mnv1_unifrm_w050")


def test_choices_that_are_shares_of_a_width():
    space = get_space("mnv1")
    widths = space.dimensions[0].choices
    assert (widths[0], widths[1], widths[-1], len(widths)) == (4, 5, 44, 31)  # of 44, rounded down
    assert len(set(space.dimensions[6].choices)) == 1  # no blocks are searched


def shares(**changed):
    rule = {"of": [44, 89, 179, 358], "step": 0.03, "low": 0.1, "high": 1.0, **changed}
    return load_space({"family": "resnet18", "C": rule, "L": {"choices": [1]}})


def test_null_lifts_a_bound():
    mine = {"base": "resnet18", "budget": {"macs": "1B", "params": "5M"}}
    assert [c.name for c in load_space(mine, {"macs": None}).constraints] == ["params"]


def test_several_bounds_hold_at_once():
    space = get_space("resnet18", macs="1.8B", params="8M")
    code = Code.parse("resnet18{64,64,256,512,1,1,1,1}")
    costs = space.costs(space.encode([code]))
    cost = vars(get_family("resnet18").cost(code))
    assert {name: int(cost[0]) for name, cost in costs.items()} == {name: cost[name] for name in ("macs", "params")}
    assert code in space
    assert Code.parse("resnet18{32,32,128,1024,4,14,14,1}") not in space  # 16.1 million parameters


def test_any_function_of_a_code_can_be_bounded():
    calls = []

    def latency(code):
        calls.append(code)
        return sum(code.layers) / 10

    space = get_space("resnet18_small", constraints=[Constraint("latency", 0.8, each("resnet18_small", latency))])
    assert Code.parse("resnet18_small{16,32,64,128,2,2,2,2}") in space
    assert Code.parse("resnet18_small{16,32,64,128,2,2,2,3}") not in space
    before = len(calls)
    assert Code.parse("resnet18_small{16,32,64,128,2,2,2,3}") not in space
    assert len(calls) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: get_space("resnet18", macs="1M"), r"smallest reachable is 154,670,080, of resnet18\{32,32,64,128,1,1"),
        (lambda: get_space("resnet18", macs="1B", params=1000), "no resnet18 code has params of at most 1,000"),
        (lambda: get_space("resnet18", macs="many"), "expected a positive amount such as 300M"),
        (lambda: get_space("resnet18", macs=-1), "expected a positive amount"),
        (
            lambda: get_space("resnet18", constraints=[Constraint("x", 0, squares)]),
            "x: expected a positive upper bound",
        ),
        (lambda: Space("none", []), "at least one dimension"),
        (lambda: Dimension("2", (1, 2)), "expected a name such as C2"),
        (lambda: Dimension("C2", (2, 1)), "ascending order"),
        (lambda: Dimension("C2", ()), "ascending order"),
        (lambda: Dimension("C2", (1.5, 2)), "different ints"),
        (lambda: Space("resnet18", [Dimension("C2", (8,))]), "resnet18 codes are C2,C3,C4,C5,L2"),
        (lambda: Space("odd", [Dimension("C2", (3, 4)), Dimension("B2", ("1/2",), "C2")]), "different Fractions"),
        (lambda: load_space({"family": "resnet18", "D": {}}), "unknown key 'D'"),
        (lambda: load_space({"family": "resnet18", "C": {"step": 8}}), "C: expected a mapping with one of these"),
        (lambda: load_space({"family": "resnet18", "C": {"step": 8, "high": [1, 2]}}), "a positive integer or 4"),
        (lambda: load_space({"family": "odd2", "dimensions": {"W1": 3}}), "names to lists"),
        (lambda: load_space({"C": {}}), "expected a mapping with the key family"),
        (lambda: shares(of=[44]), r"C\.of: expected 4 positive integers, got \[44\]"),
        (lambda: shares(step=0.035), r"C\.step: expected a share from 0\.01 to 1 in hundredths, got 0\.035"),
        (lambda: shares(low=0.001), r"C\.low: expected a share from 0\.01 to 1 in hundredths, got 0\.001"),
        (lambda: shares(low=0.9, high=0.5), "C: expected low up to high"),
        (lambda: shares(of=[4, 8, 16, 32], low=0.1), "C: expected integers from 1 to"),
    ],
)
def test_errors_say_what_was_expected(make, message):
    with pytest.raises(SpaceError, match=message):
        make()


def test_an_unknown_space_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        get_space("resnet81")


def test_membership_says_which_element_is_wrong():
    space = get_space("resnet50")
    with pytest.raises(SpaceError, match="B3 = 100 is none of 1/8, 1/4, 3/8, 1/2 of C3"):
        space.check(Code.parse("resnet50{256,512,1024,2048,3,4,6,3,64,100,256,512}"))
    with pytest.raises(SpaceError, match="no code of resnet50"):
        space.check(Code.parse("resnet18{64,128,256,512,2,2,2,2}"))
    assert "resnet50" not in space


def test_a_growing_width_keeps_its_bottlenecks_fraction():
    space = get_space("resnet50", macs="6B")
    grown = space.growth_steps(Code.parse("resnet50{256,512,1024,2048,3,4,6,3,64,128,256,512}"))
    assert Code.parse("resnet50{320,512,1024,2048,3,4,6,3,80,128,256,512}") in grown
    assert Code.parse("resnet50{256,512,1024,2048,3,4,6,3,96,128,256,512}") in grown
    assert len(grown) == 12


def test_counts_and_neighbours_equal_brute_force():
    space = product_space(300.0)
    everything = [space.code(v) for v in itertools.product((1, 2, 3, 4), repeat=6)]
    members = {c for c in everything if 3 * np.prod(c.values) <= 300}
    assert space.count() == len(members)
    assert {c for part in space.enumerate() for c in space.decode(part)} == members
    for code in sorted(members)[::97]:
        near = {m for m in members if sum(abs(a - b) for a, b in zip(m, code, strict=True)) == 1}
        assert set(space.neighbors(code)) == near
        assert set(space.growth_steps(code)) == {m for m in near if sum(m) > sum(code)}


def test_spaces_too_large_to_count_say_so():
    with pytest.raises(SpaceError, match="too many to enumerate"):
        get_space("mnv2").count()


def test_custom_spaces_from_yaml(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "family: resnet18_small\nC: {step: 8, high: [32, 64, 64, 96]}\nL: {step: 1, high: 4}\nbudget: {macs: 20M}\n"
    )
    space = load_space(path)
    assert space.size == 4 * 8 * 8 * 12 * 4**4
    assert Code.parse("resnet18_small{24,24,32,96,1,1,1,1}") in space
    check_space(space, n=50)
    assert load_space(path, {"macs": "30M"}).constraints[0].upper == 30_000_000
    path.write_text("family: mine3\ndimensions: {W1: [8, 16, 32], W2: [16, 32]}\n")
    assert [str(c) for c in load_space(path).decode(np.array([[0, 0], [2, 1]]))] == ["mine3{8,16}", "mine3{32,32}"]
    path.write_text("family: [")
    with pytest.raises(SpaceError, match="no YAML"):
        load_space(path)


def test_conformance_finds_a_cost_that_depends_on_the_batch():
    space = Space(
        "batchy", [Dimension("W1", tuple(range(1, 9)))], [Constraint("cost", 99.0, lambda v: v[:, 0] + len(v))]
    )
    with pytest.raises(AssertionError, match=r"cost is .* alone and .* among others"):
        check_space(space, n=50)


class Falling:
    """A cost that falls with growth, whose `least` says otherwise."""

    def __call__(self, codes):
        return 20 - codes[:, 0]

    def least(self, codes):
        return 20 - codes[:, 0]


@pytest.mark.parametrize(("monotone", "how"), [(True, "monotone"), (False, "at least")])
def test_conformance_finds_a_cost_that_falls_with_growth(monotone, how):
    constraint = Constraint("cost", 99.0, Falling(), monotone=monotone)
    space = Space("falling", [Dimension("W1", tuple(range(1, 9)))], [constraint])
    with pytest.raises(AssertionError, match=f"cost is stated to be {how}.* and falls with growth"):
        check_space(space, n=50)


def test_spaces_survive_pickling():
    space = pickle.loads(pickle.dumps(get_space("mnv2_small")))
    assert space == get_space("mnv2_small")
    assert space.describe() == get_space("mnv2_small").describe()


@given(st.floats(1, 1e12), st.sampled_from(["", "K", "M", "B", "G"]))
def test_amounts(value, suffix):
    scale = {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}[suffix]
    assert parse_amount(f"{value:.4f}{suffix}") == pytest.approx(round(value, 4) * scale)
