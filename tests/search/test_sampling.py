"""Which networks of a supernet are trained: how often each channel takes part (BCNetV2), and complements."""

import numpy as np
import pytest

from autobss_search import get_space
from autobss_search.spaces.scaling import find_scaling
from autobss_search.supernets.sampling import PRINCIPLES, Sampling

MOST = 8


def space(least, **rules):
    """Plain networks whose layers have any widths from `least` to `MOST`."""
    return get_space("width_bench_plain", rules={"W": {"choices": [*range(least, MOST + 1)]}, **rules})


def cardinalities(sampling, least):
    """In how many of a layer's widths, on all sides, each of its channels is; shape (channels,)."""
    counts = np.zeros(sampling.supernet.values[0], int)
    for width in range(least, MOST + 1):
        for right in sampling.sides:
            counts[slice(len(counts) - width, None) if right else slice(width)] += 1
    return counts.tolist()


@pytest.mark.parametrize("least", [1, 3])
def test_unilateral_channels_are_in_the_fewer_widths_the_later_they_are(least):
    found = cardinalities(Sampling(space(least), "unilateral", complement=False), least)
    assert found == [MOST - max(c, least) + 1 for c in range(1, MOST + 1)]  # Equations 6 and 18


def test_bilateral_channels_are_in_equally_many_widths_without_a_base():
    assert set(cardinalities(Sampling(space(1), "bilateral"), 1)) == {MOST + 1}  # Equation 9


def test_with_a_base_its_channels_are_in_fewer():
    found = cardinalities(Sampling(space(3), "bilateral"), 3)
    outer = [MOST + 1 + c - 3 for c in (1, 2)]  # Equation 19
    assert found == [*outer, *[MOST + 1] * (MOST - 4), *outer[::-1]]


@pytest.mark.parametrize("least", [1, 3])
def test_a_wider_supernets_channels_are_in_equally_many_whatever_the_base(least):
    sampling = Sampling(space(least), "bilateral_v2")
    assert len(cardinalities(sampling, least)) == MOST + least
    assert set(cardinalities(sampling, least)) == {MOST + 1 - least}  # Equation 21


@pytest.mark.parametrize("name", ["mnv2_widths", "resnet50", "mnv2", "channel_bench_resnet"])
@pytest.mark.parametrize("principle", ["bilateral", "bilateral_v2"])
def test_a_code_and_its_complement_have_each_channel_once_a_side(name, principle):
    sampling = Sampling(get_space(name), principle)
    rng = np.random.default_rng(0)
    least, most, whole = (np.array(c.values) for c in (sampling.narrowest, sampling.largest, sampling.supernet))
    widths = [field.scales or bool(field.part_of) for field in sampling.space.layout.fields for _ in field.names]
    for step in range(50):
        (code, right), (same, left), (other, _), _ = sampling.paths(step, rng)
        assert (code, right, left) == (same, False, True)
        both = np.array(code.values) + other.values
        exact = (whole - code.values >= least) & (whole - code.values <= most)
        assert (both == whole)[exact & widths].all()
        assert exact[widths].all() or principle == "bilateral"
        depths = ~np.array(widths)
        assert (both == least + most)[depths].all()


def test_sides_take_turns():
    sampling = Sampling(space(1), "bilateral_v2", complement=False, iterative=True)
    rng = np.random.default_rng(0)
    assert [[path.right for path in sampling.paths(step, rng)] for step in range(4)] == [
        [False],
        [True],
        [False],
        [True],
    ]


def test_the_sandwich_has_the_widest_and_the_narrowest():
    sampling = Sampling(space(2), "sandwich", complement=False)
    paths = sampling.paths(0, np.random.default_rng(0))
    assert [str(path.code) for path in paths[:2]] == [str(sampling.largest), str(sampling.narrowest)]
    assert len(paths) == 4
    assert not any(path.right for path in paths)


def test_what_does_not_go_together_is_named():
    with pytest.raises(ValueError, match=f"expected one of {', '.join(PRINCIPLES)}, got 'left'"):
        Sampling(space(1), "left")
    with pytest.raises(ValueError, match="iterative: is for bilateral principles, not sandwich"):
        Sampling(space(1), "sandwich", complement=False, iterative=True)


def scaled_sampling(**changes):
    return Sampling(
        get_space("scalenet_tiny_scaled"), "unilateral", False, scaling=find_scaling("scalenet_tiny"), **changes
    )


def stages(codes):
    """Of each code the scaling stages that have its width."""
    each = [[round(1000 * width) for width in stage.width] for stage in find_scaling("scalenet_tiny").stages]
    return [next(number for number, widths in enumerate(each) if code[-2] in widths) for code in codes]


def test_stages_are_drawn_equally_often_and_each_code_is_a_scaled_base():
    sampling = scaled_sampling()
    codes = sampling.drawn(4000, np.random.default_rng(0))
    assert all(code in sampling.space.under() for code in codes)
    counts = np.bincount(stages(codes))
    assert np.abs(counts - 1000).max() < 4 * np.sqrt(4000 * 0.25 * 0.75)
    sides = [stage.side for stage in find_scaling("scalenet_tiny").stages]
    assert all(code[-1] in sides[stage] for code, stage in zip(codes, stages(codes), strict=True))
    assert {code[:3] for code, stage in zip(codes, stages(codes), strict=True) if stage == 0} == {
        (1, first, last) for first in (1, 2, 3) for last in (1, 2, 3)
    }
    assert [path.code for path in sampling.paths(5, np.random.default_rng(1))] == sampling.drawn(
        1, np.random.default_rng(1)
    )


def test_uniform_sampling_mixes_what_stages_have():
    codes = scaled_sampling(hierarchical=False).drawn(4000, np.random.default_rng(0))
    counts = np.bincount(stages(codes)) / 4000
    assert counts == pytest.approx(np.array([1, 4, 5, 7]) / 17, abs=0.03)
    sides = np.array([code[-1] for code in codes])
    assert np.corrcoef(sides, [code[-2] for code in codes])[0, 1] == pytest.approx(0, abs=0.05)


def test_a_super_supernet_has_each_operation_of_each_block():
    sampling = scaled_sampling()
    each = zip(*(code.values for code in sampling.operations), strict=True)
    blocks = [*zip(sampling.space.dimensions, each, strict=True)][3:-2]
    assert len(blocks) == 7
    assert all(set(block.choices) == set(numbers) for block, numbers in blocks)


def test_scalings_go_with_some_principles():
    space, scaling = get_space("scalenet_tiny_scaled"), find_scaling("scalenet_tiny")
    for principle, complement in (("bilateral", True), ("bilateral_v2", False), ("sandwich", False)):
        with pytest.raises(ValueError, match="scaling: goes with unilateral and bilateral without a complement, got"):
            Sampling(space, principle, complement, scaling=scaling)
    assert len(Sampling(space, "bilateral", False, True, scaling).paths(0, np.random.default_rng(0))) == 1
