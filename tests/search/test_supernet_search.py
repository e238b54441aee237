"""Searching on a supernet: the prior population, NSGA-II and greedy slimming, and whole searches by recipes."""

import itertools
import re

import numpy as np
import pytest
from safetensors.torch import load_file

import forked
from autobss_search import Constraint, Dimension, Observation, Session, Space, get_space
from autobss_search.command.cli import main
from autobss_search.errors import SpaceError
from autobss_search.searchers import NSGA2, Greedy
from autobss_search.spaces import load_space
from autobss_search.studies.reading import read_records
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.supernets.prior import ExpectedCost, chances, potential_errors, prior_population
from autobss_search.supernets.sampling import Sampling
from autobss_zoo import from_pretrained

PLAIN = {"macs": 44034}


def space(**budget):
    return get_space("width_bench_plain", **(budget or PLAIN))


def wide(code):
    """A score that grows with all widths, with the last ones most."""
    return float(np.log(code.values) @ np.arange(1, 1 + len(code)))


def uniform(of):
    return (np.arange(of.lengths.max()) < of.lengths[:, None]) / of.lengths[:, None]


def test_the_expected_cost_is_the_mean_over_all_codes():
    of = space(macs=80000)
    rows = np.array([*itertools.product(*map(range, of.lengths))])
    expected = ExpectedCost(of)
    assert expected(uniform(of)) == pytest.approx(of.costs(rows)["macs"].mean())
    slopes = expected.gradient(uniform(of))
    for i, j in ((0, 1), (3, 3), (5, 0)):
        given = of.costs(rows[rows[:, i] == j])["macs"].mean()
        other = of.costs(rows[rows[:, i] == 2])["macs"].mean()
        assert slopes[i, j] - slopes[i, 2] == pytest.approx(given - other)


@pytest.mark.parametrize("name", ["mnv2_widths", "efficientnet_b0_widths", "resnet50_widths", "vgg19_widths"])
def test_the_costs_of_widths_are_sums_over_pairs(name):
    ExpectedCost(get_space(name))  # or it raises


def test_costs_of_three_elements_together_are_refused():
    cubes = Constraint("macs", 900.0, lambda codes: codes.prod(axis=1).astype(float))
    of = Space("cubes", [Dimension(f"W{i}", (2, 4, 8)) for i in range(1, 4)], [cubes])
    with pytest.raises(SpaceError, match="no sum over pairs"):
        ExpectedCost(of)


def test_potential_errors_are_mean_losses_by_choice():
    of = space()
    codes = of.decode(np.array([[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]))
    errors = potential_errors(of, [(codes[0], 1.0), (codes[1], 3.0)])
    assert errors[0].tolist() == [2.0, 3.0, 3.0, 3.0]  # what no code has is taken to be as bad as the worst
    assert errors[1].tolist() == [1.0, 3.0, 3.0, 3.0]


def test_a_complements_width_that_is_no_choice_counts_as_the_nearest():
    of = load_space({"family": "width_bench_plain", "W": {"groups": 6}})
    sampling = Sampling(of, principle="bilateral")
    code = of.code([3, 2, 11, 8, 16, 22])
    other = sampling.complementary(code)
    assert other.values[2] == 5  # of 3, 6, 8, 11, 14 and 16
    errors = potential_errors(of, [(other, 1.0), (code, 2.0)])
    assert errors[2].tolist() == [2.0, 1.0, 2.0, 2.0, 2.0, 2.0]


def test_chances_meet_the_budget_and_prefer_low_errors():
    of = get_space("mnv2_widths", macs="150M")
    rng = np.random.default_rng(0)
    errors = np.tile(np.linspace(1, 0, 20), (of.ndim, 1)) + rng.normal(0, 0.01, (of.ndim, 20))  # the wider the better
    found = chances(of, errors)
    assert found.sum(axis=1) == pytest.approx(np.ones(of.ndim))
    assert found.min() >= 0
    assert 0.9 < ExpectedCost(of)(found) / 150e6 < 1.02
    assert (found * errors).sum() < (uniform(of) * errors).sum()


def test_a_prior_population_is_better_than_a_random_one():
    of = space()
    rng = np.random.default_rng(0)
    every = of.decode(rng.integers(0, of.lengths, (500, of.ndim)))
    lowest = sorted(((code, -wide(code)) for code in every), key=lambda pair: pair[1])[:100]
    found = prior_population(of, lowest, 20, rng)
    assert len(set(found)) == 20
    assert all(code in of for code in found)
    random = [code for code in every if code in of]
    assert np.mean([*map(wide, found)]) > np.mean([*map(wide, random)]) + np.std([*map(wide, random)]) / 2


def test_nsga2_finds_better_codes_generation_by_generation():
    session = Session(NSGA2(space()))
    best = []
    for _ in range(10):
        for code in session.ask(16):
            session.tell(code, wide(code))
        best.append(session.best.value)
    every = np.concatenate(list(space().enumerate()))
    top = max(map(wide, space().decode(every)))
    assert best == sorted(best)
    assert best[-1] > best[0]
    assert best[-1] > 0.98 * top


def greedily(score):
    """The answer of greedy slimming, and all that it scored."""
    searcher, told = Greedy(space()), []
    for round in range(40):
        told += [Observation(code, score(code), round) for code in searcher.propose(told, round, 6)]
    return searcher.recommend(told), told


def test_greedy_slimming_goes_down_step_by_step():
    answer, told = greedily(wide)
    of = space()
    row = of.lengths[None] - 1
    while not of.feasible(row)[0]:  # as by hand
        near = of.steps(row, (-1,))
        row = near[[int(np.argmax([wide(code) for code in of.decode(near)]))]]
    assert answer == of.decode(row)[0]
    assert answer in of
    assert any(o.code not in of for o in told)


def test_while_it_is_on_its_way_the_best_within_the_budget_is_the_answer():
    searcher = Greedy(space())
    told = [Observation(code, wide(code), 0) for code in searcher.propose([], 0, 30)]
    assert searcher.recommend(told) == max((o for o in told if o.code in space()), key=lambda o: o.value).code


@pytest.mark.parametrize("searcher", ["nsga2", "greedy"])
def test_a_search_by_a_recipe_trains_the_supernet_and_the_answer(tmp_path, capsys, searcher):
    (tmp_path / "mine.yaml").write_text(
        "score: {kind: supernet, base: small/digits, task: supernet, space: width_bench_plain, input_size: 8,\n"
        "  epochs: 4, holdout: 0.3, evaluate_every: null}\n"
        f"searcher: {searcher}\nenqueue: {'prior' if searcher == 'nsga2' else 'none'}\n"
        "budget: {macs: 44034}\nrounds: 3\nbatch: 8\nretrain: {base: small/digits, input_size: 8, epochs: 2}\n"
    )
    study = tmp_path / "study"
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(study)]) == 0
    first = capsys.readouterr().out
    assert (study / "models/supernet/result.json").is_file()
    assert (study / "retrained/result.json").is_file()
    before = (study / "models/supernet/result.json").stat().st_mtime_ns
    answer = re.search(r"answer: (\S+)", first)[1]
    within = SearchRecipe.load(study / "search.yaml").make_space()
    assert within.parse(answer) in within
    assert main(["report", str(study)]) == 0
    assert f"answer: {answer}" in capsys.readouterr().out
    assert main(["resume", str(study)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == first.splitlines()[-2:]
    assert (study / "models/supernet/result.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_killed_while_it_trains_searches_and_trains_again(tmp_path, capsys):
    setting = "base: small/digits, input_size: 8, evaluate_every: null, checkpoint_steps: 3"
    (tmp_path / "mine.yaml").write_text(
        f"score: {{kind: supernet, {setting}, task: supernet, space: width_bench_plain, epochs: 5, holdout: 0.3}}\n"
        "searcher: nsga2\nenqueue: prior\nbudget: {macs: 44034}\nrounds: 4\nbatch: 10\n"
        f"retrain: {{{setting}, epochs: 8}}\n"
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ["search", tmp_path / "mine.yaml", "--folder"]
    assert main([*map(str, words), str(whole)]) == 0
    expected = capsys.readouterr().out.splitlines()[-2:]
    journal = parts / "journal.jsonl"
    reached = [
        (parts / "models/supernet/last.pt").exists,
        lambda: journal.exists() and len(journal.read_text().splitlines()) > 25,
        (parts / "retrained/last.pt").exists,
    ]
    words.append(parts)
    for there in reached:
        forked.kill_when(there, forked.COMMAND, *words)
        words = ["resume", parts]
    assert main(["resume", str(parts)]) == 0
    assert [line.replace(str(parts), str(whole)) for line in capsys.readouterr().out.splitlines()[-2:]] == expected
    for name in ("models/supernet/last/model.safetensors", "retrained/last/model.safetensors"):
        found, weights = (load_file(folder / name) for folder in (parts, whole))
        assert all((found[key] == weights[key]).all() for key in weights), name


def test_a_prior_is_for_supernets(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("table: widths_plain\nenqueue: prior\n")
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(tmp_path / "study")]) == 2
    assert "enqueue: prior is for the scores of a supernet" in capsys.readouterr().err


def test_a_wrong_training_of_the_answer_is_named_before_the_search(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(
        "score: {kind: supernet, base: small/digits, task: supernet, space: width_bench_plain, input_size: 8}\n"
        "searcher: nsga2\nretrain: {base: small/digits, epochs: 1}\n"
    )
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(tmp_path / "study")]) == 2
    assert "warmup_epochs: expected fewer than the 1 epochs" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_the_joint_search_of_widths_depths_and_sides(tmp_path, capsys):
    space = (
        "{family: mnv1_small_r, C: {of: [8, 8, 16, 16, 32, 32], step: 0.25, low: 0.25, high: 1.00}, "
        "L: {step: 1, high: 2}, R: {choices: [8, 10, 12]}}"
    )
    setting = "base: small/digits, evaluate_every: null"
    (tmp_path / "mine.yaml").write_text(
        f"score: {{kind: supernet, {setting}, task: supernet, principle: unilateral, space: {space}, epochs: 4,\n"
        "  holdout: 0.3, calibration: 200, images: 300}\n"
        f"budget: {{macs: 150K}}\nsearcher: nes\nrounds: 3\nbatch: 8\nretrain: {{{setting}, epochs: 2}}\n"
    )
    study = tmp_path / "study"
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(study)]) == 0
    answer = re.search(r"answer: (\S+)", capsys.readouterr().out)[1]
    records = read_records(study)
    assert {record.code[-1] for record in records} == {8, 10, 12}
    assert len({record.value for record in records}) > 12  # none but few networks are equal
    network = from_pretrained(study / "retrained/last")
    assert str(network.about.code) == answer
    assert network.pretrained_cfg["input_size"] == (1, network.about.code[-1], network.about.code[-1])
