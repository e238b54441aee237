"""An evaluator of a user's own: prepared once, opened once a worker, described, and named in a recipe."""

import json
import os
from pathlib import Path

import pytest
import yaml

from autobss_search import RandomSearch
from autobss_search.errors import StudyError
from autobss_search.evaluators.evaluator import EVALUATORS, Evaluator, register_evaluator
from autobss_search.executors import InProcess, Job
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.recipe import SearchRecipe
from autobss_search.studies.study import Study
from study_script import killable


class Noted(Evaluator):
    """Scores by a number that is prepared once, and notes what is called in which process."""

    def __init__(self, folder, offset=1):
        self.folder, self.offset, self._number = str(folder), offset, None

    def _note(self, what):
        with open(Path(self.folder) / "calls", "a", encoding="utf-8") as file:
            file.write(f"{what} {os.getpid()}\n")

    def prepare(self):
        number = Path(self.folder) / "number"
        if not number.exists():
            self._note("prepare")
            number.write_text("7")

    def open(self):
        self._note("open")
        self._number = int((Path(self.folder) / "number").read_text())

    def describe(self):
        return {"noted": self.offset}

    def score(self, code, seed):
        return float(sum(code) + self._number + self.offset)

    def to_recipe(self):
        return {"folder": self.folder, "offset": self.offset}

    @classmethod
    def from_recipe(cls, settings, models):
        return cls(**settings)


def calls(folder):
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)])
def test_it_is_prepared_once_and_opened_once_a_worker(tmp_path, executor):
    for _ in range(2):  # started and resumed
        with Study(tmp_path, RandomSearch(killable()), Noted(tmp_path), executor, rounds=2, batch=8) as study:
            study.run()
            assert all(r.value == sum(r.code) + 8 for r in study.records)
    made = calls(tmp_path)
    assert [what for what, _ in made].count("prepare") == 1
    assert made[0] == ["prepare", str(os.getpid())]
    opened = [pid for what, pid in made if what == "open"]
    assert 1 <= len(opened) <= (1 if isinstance(executor, InProcess) else 2)
    assert len(set(opened)) == len(opened)


def test_what_fails_when_it_opens_is_an_outcome(tmp_path):
    (outcome,) = InProcess().outcomes(Noted(tmp_path), [Job(0, killable().code((1, 1, 1, 1, 1)), 0)])
    assert "FileNotFoundError" in outcome.error


def test_a_study_of_another_description_is_refused(tmp_path):
    with Study(tmp_path, RandomSearch(killable()), Noted(tmp_path), rounds=1, batch=2):
        pass
    with pytest.raises(StudyError, match=r"evaluator.noted is 1, not 2"):
        Study(tmp_path, RandomSearch(killable()), Noted(tmp_path, 2), rounds=1, batch=2)


def test_a_recipe_names_its_kind(tmp_path):
    register_evaluator("noted")(Noted)
    try:
        score = {"kind": "noted", "folder": str(tmp_path), "offset": 3}
        recipe = SearchRecipe.load({"space": "resnet18_small", "budget": "3M", "score": score, "rounds": 1, "batch": 4})
        again = SearchRecipe.load(yaml.safe_load(recipe.dump()))
        assert again == recipe
        evaluate = recipe.make_evaluator()
        with Study(tmp_path / "study", recipe.make_searcher(), evaluate, rounds=1, batch=4) as study:
            study.run()
        changed = SearchRecipe.load(yaml.safe_load(recipe.dump()), {"score": {"offset": 4}})
        assert changed.make_evaluator().offset == 4
    finally:
        del EVALUATORS["noted"]
    with pytest.raises(ValueError, match="score: kind: 'noted': known: supernet, surrogate, table, training"):
        SearchRecipe.load({"space": "resnet18_small", "score": score})


def test_a_kind_that_is_no_name_is_named():
    with pytest.raises(ValueError, match=r"score: kind: \['x'\]: known: supernet, surrogate, table, training"):
        SearchRecipe.load({"space": "resnet18_small", "score": {"kind": ["x"]}})


def test_short_keys_and_kinds_mean_the_same():
    short = SearchRecipe.load({"space": "resnet18_small", "training": {"base": "small/digits", "epochs": 2}})
    score = {"kind": "training", "base": "small/digits", "epochs": 2}
    assert short == SearchRecipe.load({"space": "resnet18_small", "score": score})
    assert json.loads(json.dumps(short.make_evaluator().describe())) == short.make_evaluator().describe()
    with pytest.raises(ValueError, match="expected one of training"):
        SearchRecipe.load({"space": "resnet18_small", "training": "small/digits", "score": score})
