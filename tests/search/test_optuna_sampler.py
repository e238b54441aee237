"""AutoBSS in Optuna's studies: Optuna's own published tests of samplers, budgets, resuming, and what it finds."""

import pickle
import re
import statistics
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.samplers import PartialFixedSampler, RandomSampler
from optuna.trial import TrialState

from autobss_search import AutoBSSSampler, Dimension, Session, Space, get_space, suggest_code
from autobss_search.errors import SpaceError
from autobss_search.searchers import AutoBSS

published = pytest.importorskip("optuna.testing.pytest_samplers", reason="Optuna publishes its tests since 4.6")
optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestPublished(
    published.BasicSamplerTestCase, published.RelativeSamplerTestCase, published.SingleOnlySamplerTestCase
):
    @pytest.fixture
    def sampler(self):
        return lambda: AutoBSSSampler(seed=0)


def mixed(trial):
    """A smooth score of four kinds of parameters, at least 0."""
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    width = trial.suggest_int("width", 1, 128, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    drop = trial.suggest_float("drop", 0.0, 0.9, step=0.1)
    return (
        (np.log10(rate) + 2.5) ** 2 + (np.log2(width) - 4) ** 2 / 5 + {"a": 0, "b": 1, "c": 2}[kind] + (drop - 0.3) ** 2
    )


def of_code(space):
    """A score that grows with each width, so that the best codes lie at the budget."""
    return lambda trial: sum(np.log(suggest_code(trial, space)))


def optimized(objective, sampler, n_trials, direction="minimize", **kwargs):
    study = optuna.create_study(sampler=sampler, direction=direction, **kwargs)
    study.optimize(objective, n_trials=n_trials)
    return study


def params(study):
    return [trial.params for trial in study.get_trials(deepcopy=False)]


SPACE = Space("toy", [Dimension("W1", (8, 16, 32)), Dimension("W2", (8, 16)), Dimension("K", (5, 3), ordered=False)])


def test_finds_more_than_random_search():
    best = {
        kind: [optimized(mixed, kind(seed=seed), 26).best_value for seed in range(3)]
        for kind in (AutoBSSSampler, RandomSampler)
    }
    assert statistics.mean(best[AutoBSSSampler]) < 0.7 * statistics.mean(best[RandomSampler])


def test_codes_keep_the_budget():
    space = get_space("resnet18_small", macs="10M")
    study = optimized(of_code(space), AutoBSSSampler(space, seed=0), 20, "maximize")
    codes = [suggest_code(trial, space) for trial in study.trials]
    assert len(set(codes)) == 20
    assert all(code in space for code in codes)
    assert suggest_code(study.best_trial, space) == max(codes, key=lambda code: sum(np.log(code)))


def test_proposals_are_those_of_a_session():
    """Sixteen of the first round, asked for one by one, and one that the model chose."""
    space = get_space("resnet18_small", macs="10M")
    session = Session(AutoBSS(space, seed=3))
    for _ in range(17):
        (code,) = session.ask(1)
        session.tell(code, float(sum(np.log(code))))
    study = optimized(of_code(space), AutoBSSSampler(space, seed=3), 17, "maximize")
    assert {suggest_code(trial, space) for trial in study.trials} == {o.code for o in session.observations}


def test_the_seed_is_all_and_a_study_that_is_resumed_goes_on_alike(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(2):
        study = optuna.create_study(sampler=AutoBSSSampler(seed=1), storage=url, study_name="mine", load_if_exists=True)
        study.optimize(mixed, n_trials=9)
    whole = optimized(mixed, AutoBSSSampler(seed=1), 18)
    assert params(study) == params(whole)
    assert params(whole) != params(optimized(mixed, AutoBSSSampler(seed=2), 20))
    assert params(optimized(mixed, AutoBSSSampler(), 2)) != params(optimized(mixed, AutoBSSSampler(), 2))


def test_trials_at_the_same_time_get_different_points():
    study = optuna.create_study(sampler=AutoBSSSampler(SPACE, seed=0))
    distributions = study.sampler.infer_relative_search_space(study, None)
    together = [study.ask(distributions) for _ in range(12)]
    assert len({tuple(trial.params.values()) for trial in together}) == SPACE.size == 12

    study = optuna.create_study(sampler=AutoBSSSampler(SPACE, seed=0))
    late = [study.ask() for _ in range(6)]  # all began before any had parameters
    assert len({suggest_code(trial, SPACE) for trial in late}) == 6


def test_a_sampler_pickles():
    sampler = pickle.loads(pickle.dumps(AutoBSSSampler(seed=1)))
    assert params(optimized(mixed, sampler, 5)) == params(optimized(mixed, AutoBSSSampler(seed=1), 5))


def test_threads():
    study = optuna.create_study(sampler=AutoBSSSampler(SPACE, seed=0))
    study.optimize(lambda trial: sum(suggest_code(trial, SPACE)), n_trials=12, n_jobs=3)
    assert len({suggest_code(trial, SPACE) for trial in study.trials}) == 12


def test_the_papers_preset_searches_too():
    study = optimized(of_code(SPACE), AutoBSSSampler(SPACE, preset="paper", seed=0), 12)
    assert len({suggest_code(trial, SPACE) for trial in study.trials}) == 12
    assert len(optimized(mixed, AutoBSSSampler(preset="paper", seed=0), 3).trials) == 3


def test_when_all_points_were_tried_they_are_tried_again():
    study = optimized(of_code(SPACE), AutoBSSSampler(SPACE, seed=0), 15)
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
    assert len({suggest_code(trial, SPACE) for trial in study.trials}) == 12


def test_failed_pruned_and_infinite_trials_are_not_proposed_again():
    def objective(trial):
        code = suggest_code(trial, SPACE)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise RuntimeError("no memory")
        return float("inf") if trial.number == 3 else sum(code)

    study = optuna.create_study(sampler=AutoBSSSampler(SPACE, seed=0))
    study.optimize(objective, n_trials=12, catch=RuntimeError)
    assert len({suggest_code(trial, SPACE) for trial in study.trials}) == 12


def test_known_and_enqueued_codes_count():
    study = optuna.create_study(sampler=AutoBSSSampler(SPACE, seed=0))
    study.enqueue_trial({"W1": 32, "W2": 16, "K": 3})
    study.optimize(of_code(SPACE), n_trials=12)
    assert str(suggest_code(study.trials[0], SPACE)) == "toy{32,16,3}"
    assert len({suggest_code(trial, SPACE) for trial in study.trials}) == 12


def test_fractions_are_parameters_too():
    space = get_space("resnet50", macs="4B")
    study = optimized(of_code(space), AutoBSSSampler(space, seed=0), 3, "maximize")
    assert all(suggest_code(trial, space) in space for trial in study.trials)


def test_what_it_cannot_do_it_says():
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=AutoBSSSampler(SPACE))
    with pytest.raises(ValueError, match="searches for one objective; this study has 2"):
        study.optimize(of_code(SPACE), n_trials=1)
    study = optuna.create_study(sampler=PartialFixedSampler({"W1": 8}, AutoBSSSampler(SPACE)))
    with pytest.raises(SpaceError, match="W1 is fixed by another sampler"):
        study.optimize(of_code(SPACE), n_trials=1)
    with pytest.raises(ValueError, match="preset: expected default or paper, got 'best'"):
        AutoBSSSampler(SPACE, preset="best")
    with pytest.raises(ValueError, match="seed: expected an integer of at least 0, got -1"):
        AutoBSSSampler(seed=-1)
    with pytest.raises(ValueError, match="W2"):
        suggest_code(optuna.trial.FixedTrial({"W1": 8, "K": 3}), SPACE)


def test_the_documented_example(capsys):
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import optuna\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(compile(example, "search.md", "exec"), {})
    assert capsys.readouterr().out.startswith("resnet18_small{")
