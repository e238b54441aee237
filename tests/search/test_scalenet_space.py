"""What networks of ScaleNet's spaces cost, at random: the means of a Monte Carlo with the paper's counter."""

import sys
from pathlib import Path

import numpy as np
import pytest

from autobss_search.spaces.scaling import find_scaling

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from scalenet_space import drawn, of_stage

MEANS = {  # millions, of the base, the stages 1 to 3 and the uniform sampling
    "scalenet_scaled": (410.0, 856.0, 1668.2, 3537.2, 1877.1),
    "scalenet_half_scaled": (123.3, 255.4, 490.8, 1021.3, 548.6),
    "scalenet_table6_scaled": (318.6, 658.2, 1279.9, 2700.1, 1436.1),
}
N = 12_000


@pytest.mark.parametrize("space", MEANS)
def test_means_are_those_of_the_papers_counter(space, monkeypatch):
    def floored(size, stride=2):
        return size if type(stride) is int and stride == 1 else size // stride

    monkeypatch.setattr("autobss_zoo.families.plan.halved", floored)  # odd sides lose a pixel, as the paper counts
    scaling = find_scaling("scalenet")
    found = [of_stage(space, scaling, stage, N).mean() / 1e6 for stage in range(4)]
    assert found == pytest.approx(MEANS[space][:4], rel=0.02)
    assert drawn(space, "scalenet", N, hierarchical=False).macs.mean() / 1e6 == pytest.approx(MEANS[space][4], rel=0.02)


def test_exact_means_are_higher_where_sides_are_odd():
    scaling = find_scaling("scalenet")
    found = [of_stage("scalenet_scaled", scaling, stage, N).mean() / 1e6 for stage in range(4)]
    ratios = np.array(found) / MEANS["scalenet_scaled"][:4]
    assert ratios[0] == pytest.approx(1, abs=0.02)
    assert 1.02 < ratios[2] < 1.06
    assert 1.02 < ratios[3] < 1.06


def test_hierarchical_sampling_draws_each_stage_equally_often():
    hierarchical, uniform = (drawn("scalenet_scaled", "scalenet", N, how) for how in (True, False))
    base = hierarchical.macs[hierarchical.stages == 0].mean()
    assert np.bincount(hierarchical.stages).min() > 0.22 * N
    near = [np.mean(np.abs(each.macs / base - 1) < 0.15) for each in (hierarchical, uniform)]
    assert near[0] > 20 * near[1]  # few uniformly drawn networks are as small as bases
