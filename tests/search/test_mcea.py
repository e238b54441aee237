"""Scalings: their strategies, bases and what they are scaled to, and the joint search of both."""

import json
import math

import numpy as np
import pytest

from autobss_search import Observation, Session, get_space
from autobss_search.errors import SpaceError
from autobss_search.searchers import MCEA
from autobss_search.spaces.scaling import SCALINGS, Scaling, ScalingStage, find_scaling
from autobss_search.studies.study import Study
from autobss_zoo.families import get_family
from autobss_zoo.registry import entries

TINY = "scalenet_tiny_scaled"
SEARCH = {"scaling": "scalenet_tiny", "bases": 4, "iterations": 3, "population": 6, "generations": 4}


@pytest.mark.parametrize("name", SCALINGS)
def test_there_are_271_strategies(name):
    scaling = find_scaling(name)
    assert [*map(len, scaling.strategies)] == [1, 48, 75, 147]
    assert find_scaling(scaling.describe()) == scaling
    assert find_scaling(json.loads(json.dumps(scaling.describe()))) == scaling


def test_published_networks_cost_what_their_stages_should():
    searcher = MCEA(get_space("scalenet_scaled"))
    base = searcher.space.code((*entries()["scalenet_s0"].code.values, 224))
    assert base in searcher.bases
    for stage in (1, 2, 3):
        (row,) = get_family("scalenet_r").canonical(np.array([entries()[f"scalenet_s{stage}"].code.values]))
        assert searcher.space.code(row.tolist()) in searcher.admitted(base, stage)


def test_bases_are_what_all_strategies_keep_in_the_space():
    space = get_space("scalenet_scaled")
    bases = find_scaling("scalenet").bases(space)
    assert [d.choices for d in bases.dimensions[:7]] == [(1,), *[(1, 2, 3, 4)] * 5, (1,)]
    assert [d.choices for d in bases.dimensions[-2:]] == [(1000,), (224,)]
    assert [c.upper for c in bases.constraints] == [367.5e6]


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ("scalenets", "scaling: 'scalenets': did you mean scalenet"),
        (3, "scaling: expected a name or a list of stages, got 3"),
        ([], "scaling: expected a stage of the base"),
        ([{"depth": [1], "width": [1], "side": [14]}], "scaling: expected a stage of the base"),
        ([{"depth": [1.1], "width": [1], "side": [14]}] * 2, "scaling: expected a stage of the base"),
        ([{"depth": [1], "width": [1]}], "scaling: stage 0: expected the keys depth, width, side"),
        ([{"depth": [0.5], "width": [1], "side": [14]}], "stage 0: depth: expected multipliers from 1 to 8"),
        ([{"depth": [9], "width": [1], "side": [14]}], "stage 0: depth: expected multipliers from 1 to 8"),
        ([{"depth": [1], "width": ["1"], "side": [14]}], "stage 0: width: expected multipliers from 1 to 8"),
        ([{"depth": [1], "width": [1], "side": [14.5]}], "stage 0: side: expected pixels to 4,096"),
        ([{"depth": [1], "width": [1], "side": [16, 14]}], "stage 0: side: expected different numbers in ascending"),
        ([{"depth": 1, "width": [1], "side": [14]}], "stage 0: depth: expected a list of up to 256 numbers"),
    ],
)
def test_broken_scalings_are_told(scaling, said):
    with pytest.raises(SpaceError, match=said):
        find_scaling(scaling)


def test_a_scaling_needs_a_space_of_sides_that_has_its_choices():
    with pytest.raises(SpaceError, match="expected a space of images of several sides, such as scalenet_r's"):
        find_scaling("scalenet").bases(get_space("scalenet"))
    with pytest.raises(SpaceError, match="the space has no images of 224 pixels"):
        find_scaling("scalenet").bases(get_space(TINY))
    wide = Scaling((ScalingStage((1,), (1,), (14,)), ScalingStage((1,), (3,), (14,))))
    with pytest.raises(SpaceError, match="no W of the space is in it also when scaled"):
        wide.bases(get_space(TINY))
    with pytest.raises(SpaceError, match="expected 1 to 3 stages, got 4"):
        find_scaling("scalenet").up_to(4)


def accuracy(code):
    """Rises with everything; which operations are best differs by slot."""
    values = np.array(code.values, float)
    kernels = np.cos(values[3:-2] * np.arange(1, len(values) - 4))
    return float(np.log(values[:3]) @ [0.2, 0.6, 1.0] + 0.1 * kernels.mean() + 2 * np.log(values[-2] * values[-1]))


def searched(searcher, batch=18, score=accuracy):
    """All that a search asks for, told in its rounds."""
    told = []
    for round in range(1000):
        try:
            codes = searcher.propose(told, round, batch)
        except SpaceError:
            break
        told += [Observation(code, score(code), round) for code in codes]
    with pytest.raises(SpaceError, match="the search has ended, after"):
        searcher.propose(told, round, batch)
    return told


def test_a_search_improves_base_and_strategies_in_turns():
    searcher = MCEA(get_space(TINY), **SEARCH)
    told = searched(searcher)
    history = searcher.history(told)
    assert len(history) == 3
    values = [iteration.value for iteration in history]
    assert values == sorted(values)
    first, *networks = searcher.recommendations(told)
    assert (first, networks) == (history[-1].base, [*history[-1].networks])
    assert searcher.recommend(told) == networks[-1]
    macs = get_family("scalenet_tiny_r").figure("macs", np.array([code.values for code in (first, *networks)]))
    assert 690e3 <= macs[0] <= 770e3
    assert all(abs(cost / (macs[0] * 2**stage) - 1) <= 0.15 for stage, cost in enumerate(macs))
    scores = {o.code: o.value for o in told}
    assert values[-1] == pytest.approx(np.mean([scores[code] for code in networks]))
    for stage, network in enumerate(networks, 1):  # none of the admitted strategies is better
        assert scores[network] == max(scores[code] for code in searcher.admitted(first, stage))
    assert all(len(own) == 3 for own in (iteration.scores for iteration in history))
    random = np.random.default_rng(0)
    rows = searcher.bases.decode(random.integers(0, searcher.bases.lengths, (2000, searcher.bases.ndim)))
    rows = [base for base in rows if base in searcher.bases]
    means = [np.mean([accuracy(code) for code in searcher.scaled(base, history[-1].strategies)]) for base in rows]
    assert values[-1] > np.quantile(means, 0.9)


def test_the_search_is_a_pure_function_of_scores():
    told = searched(MCEA(get_space(TINY), seed=1, **SEARCH))
    other = MCEA(get_space(TINY), seed=1, **SEARCH)
    assert searched(other, batch=7) != told
    again = MCEA(get_space(TINY), seed=1, **SEARCH)
    for round in (0, 5, 3):
        known = [o for o in told if o.round < round]
        assert again.propose(known, round, 18) == [o.code for o in told if o.round == round]
    assert {o.code for o in searched(other, batch=7)} == {o.code for o in told}
    assert MCEA(get_space(TINY), seed=2, **SEARCH).propose([], 0, 18) != [o.code for o in told if o.round == 0]
    down = MCEA(get_space(TINY), "minimize", seed=1, **SEARCH)
    fallen = searched(down, score=lambda code: -accuracy(code))
    assert [o.code for o in fallen] == [o.code for o in told]


def test_failures_are_steered_around():
    searcher = MCEA(get_space(TINY), **SEARCH)
    broken = []

    def score(code):
        if sum(code.values) % 5 == 0:
            broken.append(code)
            return None
        return accuracy(code)

    told = searched(searcher, score=score)
    assert len(broken) > 10
    assert not set(broken) & {*searcher.recommendations(told)[1:]}


def test_autobss_searches_the_base_as_well():
    searcher = MCEA(
        get_space(TINY), **{**SEARCH, "iterations": 1, "population": 16, "generations": 2}, search="autobss"
    )
    told = searched(searcher)
    assert len(searcher.history(told)) == 1


def test_a_session_waits_for_the_scores_of_a_step():
    session = Session(MCEA(get_space(TINY), **SEARCH))
    asked = [*session.ask(1000)]
    with pytest.raises(SpaceError, match=f"needs the scores of the {len(asked)} codes that are pending"):
        session.ask(16)
    for code in asked:
        session.tell(code, accuracy(code))
    assert not {*session.ask(16)} & {*asked}


def test_a_study_keeps_every_score_and_ends_by_itself(tmp_path):
    small = {**SEARCH, "iterations": 2, "generations": 2}

    def run(rounds):
        with Study(
            tmp_path, MCEA(get_space(TINY), **small), lambda code, seed: accuracy(code), rounds=rounds, batch=24
        ) as s:
            s.run()
            return s.recommendations(), [r.code for r in s.records]

    run(3)
    answers, codes = run(200)
    expected = searched(MCEA(get_space(TINY), **small), batch=24)
    assert codes == [o.code for o in expected]
    assert answers == MCEA(get_space(TINY), **small).recommendations(expected)
    with pytest.raises(ValueError, match="asynchronous: MCEA goes step by step"):
        Study(tmp_path / "other", MCEA(get_space(TINY), **SEARCH), lambda code, seed: 0.0, asynchronous=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"population": 0}, "population: expected a positive integer, got 0"),
        ({"tolerance": 0.6}, "tolerance: expected a share below 0.5, got 0.6"),
        ({"search": "random"}, "search: expected nsga2 or autobss, got 'random'"),
        ({"scaling": "scalenet"}, "the space has no images of 224 pixels"),
    ],
)
def test_impossible_settings_are_told(changes, said):
    with pytest.raises(ValueError, match=said):
        MCEA(get_space(TINY), **{**SEARCH, **changes})
    with pytest.raises(SpaceError, match="budget: expected one of the bases"):
        MCEA(get_space(TINY).under(), **SEARCH)
    assert math.isinf(MCEA(get_space(TINY), **SEARCH).space.constraints[0].upper)
