"""Samplers against full enumeration, growth, and the candidate set."""

import itertools
import warnings

import numpy as np
import pytest
from scipy.stats import chisquare
from test_space import product_space

from autobss_search import Constraint, Dimension, Space, get_space, list_spaces
from autobss_search.errors import SpaceError
from autobss_search.searchers import candidates
from conftest import long

DRAWS = 200_000


def counts(space, rows):
    """How often each code of the space was drawn, in lexicographic order."""
    ranks = np.ravel_multi_index(rows.T, tuple(space.lengths))
    everything = np.concatenate(list(space.enumerate()))
    order = {rank: i for i, rank in enumerate(np.ravel_multi_index(everything.T, tuple(space.lengths)))}
    return np.bincount([order[rank] for rank in ranks], minlength=len(everything))


def equations_1_and_2(space):
    """The probability of each code, written down directly from the paper; slow."""
    choices = [range(k) for k in space.lengths]
    medians = [(k - 1) // 2 for k in space.lengths]

    def size(prefix, depth):
        r = len(prefix)
        if r == space.ndim:
            return int(space.feasible(np.array([prefix]))[0])
        if depth <= 2:
            return sum(size((*prefix, j), depth + 1) for j in choices[r])
        return size((*prefix, medians[r]), depth + 1) * len(choices[r])

    probabilities, alive = {(): 1.0}, {}
    for r in range(space.ndim):
        alive, probabilities = probabilities, {}
        for prefix, p in alive.items():
            sizes = [size((*prefix, j), 0) for j in choices[r]]
            for j, s in zip(choices[r], sizes, strict=True):
                if s:
                    probabilities[(*prefix, j)] = p * s / sum(sizes)
    everything = np.concatenate(list(space.enumerate()))
    p = np.array([probabilities.get(tuple(row), 0.0) for row in everything.tolist()])
    return p / p.sum()  # dead ends are drawn again


def tight_space():
    """A budget that a fifth of the codes meets, so that medians are often over it."""
    space = product_space(200.0)
    assert 0.1 < space.count() / space.size < 0.4
    return space


@pytest.mark.parametrize("space", [product_space(), tight_space()], ids=["loose", "tight"])
def test_uniform_sampler_is_uniform(space):
    drawn = counts(space, candidates.uniform(space, DRAWS, np.random.default_rng(1)))
    assert chisquare(drawn).pvalue > 1e-3


def test_gibbs_walk_is_uniform_where_rejection_would_not_end():
    space = tight_space()
    drawn = counts(space, candidates._gibbs(space, 50_000, np.random.default_rng(2)))
    assert chisquare(drawn).pvalue > 1e-3


def test_uniform_sampler_meets_budgets_that_almost_no_code_meets():
    space = get_space("mnv2", macs=110e6)
    rows = candidates.uniform(space, 500, np.random.default_rng(0))
    assert space.feasible(rows).all()
    assert len(np.unique(rows, axis=0)) > 100


@pytest.mark.parametrize("space", [product_space(), tight_space()], ids=["loose", "tight"])
def test_approximate_sampler_has_the_probabilities_of_equations_1_and_2(space):
    expected = equations_1_and_2(space)
    drawn = counts(space, candidates.approximate(space, DRAWS, np.random.default_rng(3)))
    assert drawn[expected == 0].sum() == 0
    assert chisquare(drawn[expected > 0], DRAWS * expected[expected > 0]).pvalue > 1e-3
    # The approximation's error, total variation to the uniform distribution: a few percent.
    error = np.abs(expected - 1 / len(expected)).sum() / 2
    assert error == pytest.approx({900.0: 0.021, 200.0: 0.034}[space.constraints[0].upper], abs=0.002)


def test_enumerated_draws_have_the_same_probabilities(monkeypatch):
    monkeypatch.setattr(candidates, "_TRIES", 0)
    space = tight_space()
    expected = equations_1_and_2(space)
    drawn = counts(space, candidates.approximate(space, DRAWS, np.random.default_rng(4)))
    assert chisquare(drawn[expected > 0], DRAWS * expected[expected > 0]).pvalue > 1e-3


def test_approximate_sampler_says_when_the_budget_is_too_tight():
    dimensions = [Dimension(f"W{i}", (1, 2, 3)) for i in range(1, 9)]
    space = Space("onlyones", dimensions, [Constraint("sum", 8.0, lambda v: v.sum(axis=1))])
    with pytest.raises(SpaceError, match="too tight for the paper's approximate sampler"):
        candidates.approximate(space, 5, np.random.default_rng(0))
    assert (candidates.uniform(space, 5, np.random.default_rng(0)) == 0).all()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mnv2", "maskrcnn_r50"])
def test_growth_ends_where_nothing_can_grow(name):
    space = get_space(name)
    rng = np.random.default_rng(0)
    rows = candidates.uniform(space, 200, rng)
    grown = candidates.grow(space, rows, rng)
    assert (grown >= rows).all()
    assert space.feasible(grown).all()
    for i in range(space.ndim):
        larger = grown[grown[:, i] < space.lengths[i] - 1]
        larger[:, i] += 1
        assert not space.feasible(larger).any()


def test_growth_of_costs_that_are_not_monotone_also_ends_where_nothing_can_grow():
    # The second element is free only beside an odd first one.
    space = Space(
        "zigzag",
        [Dimension("W1", (1, 2, 3, 4, 5)), Dimension("W2", (1, 2, 3))],
        [Constraint("cost", 5.0, lambda v: v[:, 0] + (v[:, 1] - 1) * np.where(v[:, 0] % 2 == 1, 0, 9))],
    )
    grown = candidates.grow(space, np.zeros((50, 2), int), np.random.default_rng(0))
    for code in space.decode(grown):
        assert not space.growth_steps(code)


def test_maximal_codes_equal_brute_force_and_are_what_growth_reaches():
    space = tight_space()
    members = {tuple(r) for part in space.enumerate() for r in part.tolist()}
    ups = np.eye(6, dtype=int)
    expected = {m for m in members if not any(tuple(m + up) in members for up in ups)}
    assert {tuple(r) for part in candidates.maximal(space) for r in part.tolist()} == expected
    rng = np.random.default_rng(0)
    grown = candidates.grow(space, candidates.uniform(space, 20_000, rng), rng)
    assert {tuple(r) for r in grown.tolist()} == expected


SMALLER = ("channel_bench", "width_bench", "stacking_resnet18")
LARGE = [name for name in list_spaces() if not name.startswith(SMALLER)]
WIDTHS = [name for name in LARGE if "_widths" in name and name != "mnv2_widths"]
SCALED = ["scalenet_scaled", "scalenet_half_scaled", "scalenet_table6_scaled"]
"""A minute each of the walk that `scalenet_small_scaled` needs, too."""


@pytest.mark.parametrize("name", [*(name for name in LARGE if name not in WIDTHS + SCALED), *long(*WIDTHS, *SCALED)])
def test_ten_thousand_distinct_feasible_candidates(name):
    space = get_space(name)
    rows = candidates.candidate_set(space, np.random.default_rng(0))
    assert rows.shape == (10_000, space.ndim)
    assert len(np.unique(rows, axis=0)) == 10_000
    assert space.feasible(rows).all()


def test_fewer_candidates_come_with_a_warning():
    space = tight_space()
    with pytest.warns(UserWarning, match="distinct candidates instead of 10,000"):
        rows = candidates.candidate_set(space, np.random.default_rng(0))
    assert len(rows) == sum(map(len, candidates.maximal(space)))
    with pytest.warns(UserWarning, match="only"):
        everything = candidates.candidate_set(space, np.random.default_rng(0), growth=False)
    assert len(everything) == space.count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(candidates.candidate_set(space, np.random.default_rng(0), 50)) == 50


def test_around_is_the_neighbourhood_and_its_growths():
    space = tight_space()
    row = next(candidates.maximal(space))[:1]
    near = candidates.around(space, row, np.random.default_rng(0))
    assert space.feasible(near).all()
    neighbours = {tuple(r) for r in space.encode(space.neighbors(space.decode(row)[0])).tolist()}
    assert neighbours <= {tuple(r) for r in near.tolist()}
    assert len(near) > len(neighbours)


def test_equation_2_is_exact_where_three_elements_follow():
    space = product_space()
    prefixes = np.array(list(itertools.product(range(4), repeat=3)))
    exact = [
        sum(space.feasible(np.array([(*p, *e)]))[0] for e in itertools.product(range(4), repeat=3)) for p in prefixes
    ]
    np.testing.assert_array_equal(candidates.approximate_sizes(space, prefixes), exact)
