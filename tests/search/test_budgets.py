"""Budgets: named costs, bounds on both sides, and what they count as part of a study's identity."""

import numpy as np
import pytest

from autobss_search import (
    AutoBSS,
    Constraint,
    Dimension,
    RandomSearch,
    Session,
    Space,
    each,
    get_space,
    load_space,
    register_cost,
)
from autobss_search.conformance import check_space
from autobss_search.errors import SpaceError, StudyError
from autobss_search.searchers import candidates
from autobss_search.spaces import COSTS
from autobss_search.studies.study import Study
from autobss_zoo import Setting
from autobss_zoo.errors import AutoBSSWarning
from autobss_zoo.families import get_family


@pytest.mark.parametrize("name", ["resnet18", "mnv2", "efficientnet_b0_small"])
def test_a_band_of_macs_holds_in_samples_and_growth(name):
    upper = get_space(name).constraints[0].upper
    space = get_space(name, macs=f"{int(0.93 * upper)}..{upper}")
    rows = candidates.candidate_set(space, np.random.default_rng(0), 200)
    macs = space.costs(rows)["macs"]
    assert len(rows) == 200
    assert (macs >= 0.93 * upper - 1).all()
    assert (macs <= upper).all()
    check_space(space, n=50)
    low = get_space(name, macs=int(0.5 * upper)).decode(np.zeros((1, space.ndim), int))[0]
    with pytest.raises(SpaceError, match=r"macs [\d,]+ is under the bound"):
        space.check(low)


def test_several_costs_at_once_and_any_registered_one():
    space = get_space("mnv2_small", macs="5M", params="750K..900K", activations="150K")
    assert set(space.costs(space.smallest())) == {"macs", "params", "activations"}
    costs = space.costs(candidates.uniform(space, 50, np.random.default_rng(0)))
    assert costs["activations"].max() <= 150_000
    assert costs["params"].min() >= 750_000
    depth = {"make": lambda counted: lambda codes: codes[:, 6:12].sum(axis=1), "monotone": True}
    register_cost("depth", **depth)
    try:
        space = load_space({"base": "mnv2_small", "budget": {"depth": 8}})
        assert max(sum(code.layers) for code in RandomSearch(space).propose([], 0, 20)) <= 8
    finally:
        del COSTS["depth"]
    with pytest.raises(SpaceError, match="expected macs or params or activations or latency, got depth"):
        load_space({"base": "mnv2_small", "budget": {"depth": 8}})
    with pytest.raises(SpaceError, match="expected macs of a detector, got params"):
        get_space("maskrcnn_r50", params="30M")


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"macs": "10M..5M"}, "macs: expected a lower bound of at most 5000000, got 10000000"),
        (
            {"macs": "900M.."},
            r"no resnet18_small code has macs of at least 900,000,000: the largest reachable is [\d,]+",
        ),
        ({"macs": "7M..7000001"}, "no resnet18_small code has macs of at"),
    ],
)
def test_bounds_that_nothing_meets_are_named(budget, message):
    rules = {"L": {"step": 1, "high": 1}, "C": {"step": 64, "high": 64}} if ".." in budget["macs"][-2:] else {}
    with pytest.raises(SpaceError, match=message):
        load_space({"base": "resnet18_small", "budget": budget, **rules})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": -3}, "width: expected a positive integer, got -3"),
        ({"detector": ["a"]}, r"detector: expected maskrcnn or fasterrcnn or retinanet, got \['a'\]"),
        ({"budget": [1]}, r"budget: expected a mapping of costs to amounts, got \[1\]"),
    ],
)
def test_foreign_values_of_a_space_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        load_space({"base": "retinanet_r50", **changes})


def test_what_is_counted_is_said():
    constraint = get_space("resnet18_small", macs="5M..10M", setting=Setting(28, 1, 10)).constraints[0]
    assert constraint.describe() == {
        "upper": 10_000_000,
        "lower": 5_000_000,
        "of": {"cost": "macs", "family": "resnet18_small", "input_size": 28, "in_chans": 1, "num_classes": 10},
    }
    assert constraint.range == "5,000,000 to 10,000,000"
    described = get_space("retinanet_r50").constraints[0].describe()["of"]
    assert (described["detector"], described["width"], described["num_classes"]) == ("retinanet", 256, 80)

    def latency(code):
        return 1.0

    assert "latency" in Constraint("latency", 9.0, each("resnet18", latency)).describe()["of"]["each"]


def study(folder, space):
    return Study(folder, AutoBSS(space, n_candidates=50), lambda code, seed: float(sum(code)), rounds=1, batch=4)


def small(side=28, **budget):
    return get_space("resnet18_small", setting=Setting(side, 1, 10), **{"macs": "4M", **budget})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: small(32), "space.constraints.macs.of.input_size is 28, not 32"),
        (lambda: small(macs="5M"), "space.constraints.macs.upper is 4000000, not 5000000"),
        (lambda: small(macs="3M..4M"), "space.constraints.macs.lower is None, not 3000000"),
        (lambda: small(params="1M"), "space.constraints.params is None, not"),
    ],
)
def test_a_resumed_study_of_another_setting_or_bound_is_refused(tmp_path, other, message):
    with study(tmp_path, small()) as one:
        one.run()
    with pytest.raises(StudyError, match=message):
        study(tmp_path, other())
    with study(tmp_path, small()) as again:
        assert len(again.records) == 4


def test_two_spaces_of_one_name_keep_their_own_bounds():
    one = Space("twin", [Dimension("W1", (1, 2)), Dimension("W2", (1, 2))])
    other = Space("twin", [Dimension("W1", (50, 60)), Dimension("W2", (-7, 0)), Dimension("W3", (1, 2))])
    assert [str(c) for c in other.decode(np.array([[1, 0, 1]]))] == ["twin{60,-7,2}"]
    assert [str(c) for c in one.decode(np.array([[1, 0]]))] == ["twin{2,1}"]
    assert other.parse("twin{60,-7,2}") == other.code((60, -7, 2))
    with pytest.raises(ValueError, match=r"element 1 \(W1\): expected an integer from 1 to 2, got 60"):
        one.code((60, 1))


def test_an_expensive_constraint_says_its_price_and_is_bounded(monkeypatch):
    calls = []

    def latency(code):
        calls.append(code)
        return float(sum(code.layers))

    monkeypatch.setattr("autobss_search.spaces.budgets._PRICEY", 1e-4)
    measured = Constraint("latency", 8, each("resnet18_small", latency))
    with pytest.warns(AutoBSSWarning, match=r"latency: [\d,]+ calls x [\d.e-]+ s so far; max_calls bounds them"):
        RandomSearch(get_space("resnet18_small", constraints=[measured])).propose([], 0, 4)
    calls.clear()
    bounded = Constraint("latency", 8, each("resnet18_small", latency, max_calls=50))
    with pytest.raises(SpaceError, match=r"latency: 50 calls x .* which is max_calls"):
        RandomSearch(get_space("resnet18_small", constraints=[bounded])).propose([], 0, 4)
    assert len(calls) == 50


# --- Choices without an order.


def kernels(upper=4000.0):
    """Three widths under a budget, and two elements without an order; one kernel costs four times as much."""

    def cost(codes):
        return codes[:, :3].prod(axis=1) * np.where(codes[:, 3] == 3, 4, 1)

    widths = [Dimension(f"W{i}", (1, 2, 4, 6, 8, 12, 16)) for i in range(3)]
    free = [Dimension("K", (7, 1, 3, 5), ordered=False), Dimension("O", (4, 2, 9), ordered=False)]
    return Space("kernels", widths + free, [Constraint("cost", upper, cost, monotone=True)])


def test_choices_without_an_order_are_all_one_step_away_and_do_not_grow():
    space = kernels()
    code = space.code((4, 4, 4, 7, 2))
    near = space.neighbors(code)
    assert {c[3] for c in near} == {7, 1, 3, 5}
    assert {c[4] for c in near} == {4, 2, 9}
    assert len(near) == 6 + 3 + 2
    assert all(c[3:] == code[3:] for c in space.growth_steps(code))
    check_space(space, n=60)
    rows = space.encode([code] * 20)
    grown = space.decode(candidates.grow(space, rows, np.random.default_rng(0)))
    assert all(c[3:] == code[3:] for c in grown)
    assert all(not space.growth_steps(c) for c in grown)


def test_a_tight_budget_reaches_every_choice():
    space = kernels(upper=4.0)  # the widest kernel's smallest code costs the whole budget
    codes = {code for part in space.enumerate() for code in space.decode(part)}
    assert {code[3] for code in codes} == {7, 1, 3, 5}
    assert space.count() == len(codes)
    assert {c[3] for c in space.decode(candidates.uniform(space, 300, np.random.default_rng(0)))} == {7, 1, 3, 5}


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_encodings_have_no_distance_between_choices_without_an_order(preset):
    space = kernels()
    searcher = AutoBSS(space, preset, n_candidates=200)
    rows = space.encode([space.code((4, 4, 4, k, 2)) for k in (7, 1, 3, 5)])
    x = searcher.encode(rows)
    assert x.shape == (4, 3 + 4 + 3)
    distances = {round(float(np.linalg.norm(x[i] - x[j])), 1) for i in range(4) for j in range(i)}
    assert max(distances) < 1.6 * min(distances)
    assert max(distances) < 4


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_search_learns_which_choice_is_best(preset):
    def score(code):
        return float(np.log(code[:3]).sum()) + {7: 0.0, 1: 0.5, 3: 0.2, 5: 3.0}[code[3]] + {4: 0, 2: 1.0, 9: 0}[code[4]]

    answers = []
    for seed in range(3):
        session = Session(AutoBSS(kernels(), preset, seed=seed, n_candidates=500))
        for _ in range(3):
            for code in session.ask(16):
                session.tell(code, score(code))
        answers.append(session.recommend())
    assert [code[3] for code in answers] == [5, 5, 5]


def test_wrong_orders_are_named():
    with pytest.raises(SpaceError, match="K: expected different ints, got"):
        Dimension("K", (3, 3), ordered=False)
    with pytest.raises(SpaceError, match="fractions of C2 have an order"):
        Dimension("B2", ("1/2",), "C2", ordered=False)
    rule = {"base": "resnet18_small", "L": {"step": 1, "high": 2, "ordered": False}}
    with pytest.raises(SpaceError, match="L: ordered: expected true or false, beside choices"):
        load_space(rule)
    with pytest.raises(SpaceError, match="L is no part of another element"):
        load_space({"base": "resnet18_small", "L": {"fractions": ["1/2"]}})


def test_a_study_of_choices_without_an_order_is_optunas(tmp_path):
    import optuna

    with Study(tmp_path, AutoBSS(kernels(), n_candidates=50), lambda c, s: float(sum(c)), rounds=1, batch=4) as one:
        one.run()
    loaded = optuna.load_study(study_name="autobss", storage=f"sqlite:///{tmp_path / 'study.db'}")
    kernel = loaded.trials[0].distributions["K"]
    assert kernel == optuna.distributions.CategoricalDistribution((7, 1, 3, 5))


def test_the_family_of_a_budget_is_its_own():
    assert (
        get_space("mnv2").constraints[0].upper
        == get_family("mnv2").cost(get_space("mnv2").code(get_family("mnv2").original)).macs
    )
