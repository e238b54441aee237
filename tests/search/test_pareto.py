"""Searches of a score and a cost: the closed form, fronts beside pymoo's, studies, recipes, reports, exports."""

import csv
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from test_search_cli import table
from test_searchers import (  # noqa: F401  # these are collected here, too: with the searchers below
    accuracy,
    search,
    test_64_scores_in_four_rounds,
    test_equal_scores_are_no_problem,
    test_everything_may_fail,
    test_failures_are_recorded_and_not_proposed_again,
    test_minimising_is_maximising_the_negative,
    test_one_by_one_pending_codes_are_respected,
    test_propose_is_pure,
    test_repeated_scores_count_with_their_mean,
    test_the_place_in_a_round_counts_pending_and_scored_codes,
    test_the_same_seed_and_tells_ask_the_same_in_any_order_of_tells,
    toy,
)

from autobss_search import (
    Constraint,
    Dimension,
    Observation,
    Pareto,
    RandomSearch,
    SearchRecipe,
    Session,
    Space,
    Study,
    Training,
    get_space,
)
from autobss_search.command.cli import main
from autobss_search.errors import SpaceError, StudyError
from autobss_search.reports.report import front
from autobss_search.searchers import NSGA2
from autobss_search.searchers.front import hypervolume, layers, pareto_front
from autobss_search.searchers.nsga2 import _distances
from autobss_search.searchers.pareto import Fronts
from autobss_search.searchers.surrogate import GaussianProcess, SquaredExponential
from autobss_search.studies.reading import StudyFolder
from autobss_zoo.errors import AutoBSSWarning, RecipeError
from autobss_zoo.yaml_text import parse_yaml
from conftest import exports
from study_script import DIMENSIONS, area, easy

SEARCHERS = {"pareto": Pareto, "nsga2": NSGA2, "random": RandomSearch}
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "pareto.json").read_text(encoding="utf-8"))
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 3)), min_size=1, max_size=30)


@pytest.fixture(params=sorted(SEARCHERS))
def make(request):
    return lambda space, **kwargs: SEARCHERS[request.param](space, cost="area", **kwargs)


@given(POINTS, st.tuples(st.integers(0, 7), st.integers(-4, 2)))
def test_the_hypervolume_is_pymoos(points, reference):
    cost, score = np.array(points, float).T
    theirs = HV(ref_point=np.array([reference[0], -reference[1]]))(np.column_stack([cost, -score]))
    assert hypervolume(cost, score, reference) == pytest.approx(theirs, abs=1e-9)


@given(POINTS, st.integers(1, 31))
def test_layers_are_pymoos(points, least):
    cost, score = np.array(points, float).T
    fronts = NonDominatedSorting().do(np.column_stack([cost, -score]))
    theirs = np.concatenate([np.full(len(front), i) for i, front in enumerate(fronts)])[
        np.argsort(np.concatenate(fronts))
    ]
    np.testing.assert_array_equal(layers(cost, score), theirs)
    some = layers(cost, score, least)
    last = some.max()
    np.testing.assert_array_equal(some, np.minimum(theirs, last))
    assert last == 0 or (some < last).sum() >= least or last == theirs.max()


def test_crowding_distances_are_in_the_order_of_pymoos():
    points = np.random.default_rng(0).random((40, 2))
    points = points[pareto_front(points[:, 0], -points[:, 1])]
    np.testing.assert_allclose(_distances(points) / 2, calc_crowding_distance(points))


def process():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 2))
    return GaussianProcess(x, rng.normal(size=6), SquaredExponential(0.8), 0.05)


def test_the_expected_improvement_of_the_hypervolume_is_that_of_monte_carlo():
    posterior, rng = process(), np.random.default_rng(2)
    known, others = posterior.x, rng.normal(size=(9, 2))
    costs = np.round(rng.random(15), 1)  # some are equal
    fantasies = Fronts(posterior, np.concatenate([known, others]), costs, -0.7, rng, draws=40)
    fantasies.condition(range(len(known)))
    found = fantasies.expected_improvement(np.arange(6, 15))
    expected = np.zeros((40, 9))
    for draw, (drawn, mean) in enumerate(zip(fantasies._drawn, fantasies.mean, strict=True)):
        before = hypervolume(costs[:6], drawn, (1.0, -0.7))
        for i in range(9):
            scores = mean[6 + i] + fantasies.std[6 + i] * rng.standard_normal(400)
            after = [hypervolume(np.append(costs[:6], costs[6 + i]), np.append(drawn, s), (1.0, -0.7)) for s in scores]
            expected[draw, i] = np.mean(after) - before
    np.testing.assert_allclose(found, expected.mean(axis=0), rtol=0.05, atol=5e-4)


def test_improvements_only_fall_as_codes_are_chosen_and_no_code_improves_at_the_bound():
    posterior, rng = process(), np.random.default_rng(3)
    others = rng.normal(size=(30, 2))
    costs = np.append(rng.random(35), 1.0)
    fantasies = Fronts(posterior, np.concatenate([posterior.x, others]), costs, -0.7, rng, draws=4000)
    fantasies.condition(range(6))
    before = fantasies.expected_improvement()
    fantasies.condition([int(before[6:].argmax()) + 6])
    after = fantasies.expected_improvement()
    assert (after <= before + 0.02 * before.max()).all()
    assert after[int(before[6:].argmax()) + 6] < 0.02 * before.max()
    assert before[-1] == after[-1] == 0


def covered(space, codes):
    return hypervolume(area(np.array([c.values for c in codes])), np.array([accuracy(c) for c in codes]), (4000, 90))


def test_the_front_is_found_and_better_than_others():
    rows = np.concatenate(list(toy().enumerate()))
    exact = covered(toy(), toy().decode(rows))
    found = {
        name: np.mean([covered(toy(), s.searcher.front(s.observations)) / exact for s in sessions])
        for name, make in SEARCHERS.items()
        if (sessions := [search(make(toy(), cost="area", seed=seed)) for seed in range(2)])
    }
    assert found["pareto"] > 0.99
    assert found["pareto"] > found["nsga2"] > 0.5
    assert found["pareto"] > found["random"]


def test_a_front_is_of_what_was_scored_and_the_answer_its_last(make):
    session = search(make(toy()), lambda code: accuracy(code) + hash(code.values) % 7 / 10, rounds=2)
    codes = session.searcher.front(session.observations)
    known = {o.code: o.value for o in session.observations}
    assert set(codes) <= known.keys()
    assert session.recommend() == codes[-1]
    costs = area(np.array([code.values for code in codes]))
    assert (np.diff(costs) >= 0).all()
    if not isinstance(session.searcher, Pareto):  # which judges by its posterior
        assert (np.diff([known[code] for code in codes]) >= 0).all()
        on = pareto_front(area(np.array([c.values for c in known])), np.array([*known.values()]))
        assert set(codes) == {code for code, there in zip(known, on, strict=True) if there}
    confirmed = session.searcher.confirm(session.observations, 6)
    assert set(confirmed) <= set(codes)
    with pytest.raises(ValueError, match="no score was told yet"):
        session.searcher.front([])
    with pytest.raises(ValueError, match="the score is the only objective"):
        RandomSearch(toy()).front(session.observations)


def test_candidates_have_costs_up_to_the_bound_and_the_first_round_is_spread(make):
    space = get_space("resnet18_small")
    searcher = Pareto(space, n_candidates=800)
    costs = space.costs(searcher.candidates)["macs"] / space.constraints[0].upper
    assert space.feasible(searcher.candidates).all()
    assert np.histogram(costs, bins=4, range=(0, 1))[0].min() > 80
    first = space.costs(space.encode(searcher.propose([], 0)))["macs"] / space.constraints[0].upper
    assert first.min() < 0.35
    assert first.max() > 0.95


@pytest.mark.parametrize("name", GOLDEN)
def test_the_proposals_are_those_that_they_always_were(name):
    session, asked = Session(Pareto(get_space(name), seed=1, n_candidates=1000)), []
    for _ in range(2):
        codes = session.ask(16)
        asked += map(str, codes)
        for code in codes:
            session.tell(code, float(np.log(code.values) @ np.linspace(0.2, 1.0, len(code.values))))
    front = session.searcher.front(session.observations)
    found = {"sha256": hashlib.sha256("\n".join(asked).encode()).hexdigest(), "front": [*map(str, front)][::8]}
    assert found == GOLDEN[name]


@pytest.mark.parametrize("kind", sorted(SEARCHERS))
def test_a_study_that_was_interrupted_ends_with_the_same_front(tmp_path, kind):
    def made():
        options = {"n_candidates": 200} if kind == "pareto" else {}
        return SEARCHERS[kind](Space("fronts", DIMENSIONS, [Constraint("area", 4000, area)]), cost="area", **options)

    def stops(code, seed):
        if seed == 11:
            raise KeyboardInterrupt
        return easy(code, seed)

    stops.__qualname__ = easy.__qualname__  # the same evaluator for the study
    with Study(tmp_path / "whole", made(), easy, rounds=3, batch=8, confirm=3) as study:
        study.run()
        expected = study.records
        codes = study.front()
    with (
        Study(tmp_path / "parts", made(), stops, rounds=3, batch=8, confirm=3) as study,
        pytest.raises(KeyboardInterrupt),
    ):
        study.run()
    with Study(tmp_path / "parts", made(), easy, rounds=3, batch=8, confirm=3) as study:
        assert study.run() == codes[-1]
        assert study.front() == codes
        assert [(r.code, r.value, r.seed) for r in study.records] == [(r.code, r.value, r.seed) for r in expected]
    folder = StudyFolder(tmp_path / "parts")
    assert [r.code for r in front(folder.searcher, folder.records())] == codes
    assert {r.code for r in expected if r.source == "confirmation"} <= set(codes)


def test_reports_of_a_front(tmp_path, capsys):
    recipe = SearchRecipe.load({"table": table(tmp_path, "fronts"), "objectives": ["score", "macs"], "rounds": 2})
    again = SearchRecipe.load(parse_yaml(recipe.dump(), "kept"))
    assert again.objectives == ("score", "macs")
    (tmp_path / "r.yaml").write_text(recipe.dump())
    folder = str(tmp_path / "study")
    assert main(["search", str(tmp_path / "r.yaml"), "--folder", folder]) == 0
    assert "Pareto front of score and macs" in capsys.readouterr().out
    assert main(["report", folder, "--html", str(tmp_path / "r.html"), "--plots", str(tmp_path / "p")]) == 0
    page, study = (tmp_path / "r.html").read_text(), StudyFolder(folder)
    codes = [r.code for r in front(study.searcher, study.records())]
    assert 'id="front"' in page
    assert "the searcher's front" in page.replace("\\u0027", "'").replace("&#x27;", "'")
    shown = page[page.index('id="front"') :]
    assert shown[: shown.index("</table>")].count("<tr>") == len(codes) + 1
    assert (tmp_path / "p" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out
    assert main(["report", folder, "--front", str(tmp_path / "f")]) == 1
    assert "has no trained network: the study's evaluator keeps none" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()
    assert main(["report", folder, "--front", str(tmp_path / "r.yaml")]) == 2
    assert "--front: expected a folder, got the file" in capsys.readouterr().err


def test_without_a_cost_there_is_no_front(tmp_path, capsys):
    with Study(tmp_path, RandomSearch(toy()), easy, rounds=1, batch=2) as study:
        study.run()
        with pytest.raises(ValueError, match="the score is the only objective"):
            study.front()
    assert main(["report", str(tmp_path), "--front", str(tmp_path / "f")]) == 1
    assert "--front: the score is the only objective of this study" in capsys.readouterr().err


@exports
def test_every_network_of_the_front_is_exported(tmp_path, capsys):
    evaluate = Training({"base": "small/digits", "epochs": 2, "input_size": 8}, str(tmp_path / "study" / "models"))
    space = get_space("resnet18_small", macs="300K", setting=evaluate.setting)
    with Study(tmp_path / "study", RandomSearch(space, cost="macs"), evaluate, rounds=1, batch=3) as study:
        study.run()
        codes = study.front()
    assert main(["report", str(tmp_path / "study"), "--front", str(tmp_path / "f")]) == 0
    assert capsys.readouterr().out.count("wrote ") == len(codes)
    rows = list(csv.DictReader((tmp_path / "f" / "front.csv").read_text().splitlines()))
    assert [row["code"] for row in rows] == [str(code) for code in codes]
    for row in rows:
        session = onnxruntime.InferenceSession(str(tmp_path / "f" / f"trial_{row['number']}.onnx"))
        assert session.get_outputs()[0].shape[1] == 10
    assert len(list((tmp_path / "f").glob("*.onnx"))) == len(codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["score", "macz"]}, "objectives: 'macz': did you mean macs"),
        ({"objectives": ["macs"]}, r"objectives: expected \[score\] or \[score, a cost\], got \['macs'\]"),
        ({"objectives": []}, r"objectives: expected \[score\] or \[score, a cost\], got \[\]"),
        ({"objectives": ["score", "macs", "params"]}, "objectives: expected .*'params'"),
        ({"objectives": "score"}, "objectives: input should be a valid tuple"),
        (
            {"objectives": ["score", "macs"], "searcher": "local"},
            "objectives: a cost is for the searcher autobss or nsga2 or random, not local",
        ),
        (
            {"objectives": ["score", "macs"], "supernet": {"base": "supernets/digits"}},
            "supernet: is a hint where the score is the only objective",
        ),
    ],
)
def test_wrong_objectives_are_named(changes, message):
    with pytest.raises(RecipeError, match=message):
        SearchRecipe.load({"space": "resnet18_small", "training": "small/digits"}, changes)


@pytest.mark.parametrize("cost", ["latency", "params", ""])
def test_a_cost_that_no_budget_bounds_is_refused(make, cost):
    for kind in SEARCHERS.values():
        with pytest.raises(SpaceError, match=r"objectives: expected a cost that the budget bounds .* \(macs\), got"):
            kind(get_space("resnet18_small"), cost=cost)
    with pytest.raises(SpaceError, match=r"\(there is none\)"):
        Pareto(Space("free", DIMENSIONS), cost="area")
    recipe = SearchRecipe.load(
        {"space": "resnet18_small", "training": "small/digits", "objectives": ["score", "params"]}
    )
    with pytest.raises(SpaceError, match="got 'params'"):
        recipe.make_searcher()


def test_a_recipe_makes_each_searcher_of_fronts():
    values = {"space": "resnet18_small", "training": "small/digits", "budget": "macs=3M,params=200K"}
    for name, kind in (("autobss", Pareto), ("nsga2", NSGA2), ("random", RandomSearch)):
        recipe = SearchRecipe.load({**values, "objectives": ["score", "params"], "searcher": name})
        made = recipe.make_searcher()
        assert (type(made), made.cost) == (kind, "params")
        alone = SearchRecipe.load({**values, "objectives": ["score"], "searcher": name})
        assert alone.make_searcher().cost is None
        assert "objectives" not in alone.dump()


def test_a_space_that_is_used_up_says_so(make):
    cost = Constraint("area", 9.0, area)
    session = Session(make(Space("tiny2", [Dimension("W1", (1, 2, 3)), Dimension("W2", (1, 2, 3))], [cost])))
    for n in (5, 16):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AutoBSSWarning)
            codes = session.ask(n)
        for code in codes:
            session.tell(code, float(sum(code.values)))
    assert len(session.observations) == 9
    with pytest.raises(SpaceError, match="all codes of the space were asked for: 9"):
        session.ask(1)


def test_scores_that_are_worst_everywhere_leave_a_front():
    observations = [Observation(code, 1.0) for code in RandomSearch(toy()).propose([], 0, 5)]
    assert len(Pareto(toy(), cost="area").front(observations)) >= 1
    assert len(RandomSearch(toy(), cost="area").front(observations)) == 1


def test_costs_of_ones_own_are_those_that_the_study_has_kept(tmp_path):
    space = Space("untold", DIMENSIONS, [Constraint("area", 4000, lambda codes: codes.prod(axis=1))])
    with Study(tmp_path, Pareto(space, cost="area", n_candidates=100), easy, rounds=1, batch=12) as study:
        study.run()
        expected = study.front()
    folder = StudyFolder(tmp_path)
    assert [r.code for r in front(folder.searcher, folder.records())] == expected
    assert folder.answer(folder.records()) == expected[-1]
    with pytest.raises(StudyError, match="the cost area"):
        Study.resume(tmp_path)
