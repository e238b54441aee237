"""A study's folder without the program that made it: reported, watched, resumed; its winner; Optuna's tables."""

import contextlib
import json
import time
from datetime import datetime, timedelta

import optuna
import pytest
import torch
from optuna.trial import TrialState
from test_evaluators import entries

import study_script
from autobss_search import AutoBSS, Constraint, RandomSearch, Space, Study, Table, Training, get_space
from autobss_search.command.cli import main
from autobss_search.errors import StudyError
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.optuna_tables import NAME, Tables
from autobss_search.studies.reading import StudyFolder, read_records
from autobss_zoo import from_pretrained
from conftest import exports
from study_script import easy


class Picky(RandomSearch):
    """A searcher of a user's own."""

    def settings(self):
        return {**super().settings(), "mood": "bad"}


def test_a_study_made_in_python_is_a_study_for_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    searcher = AutoBSS(study_script.killable(), n_candidates=100)
    with Study("study", searcher, easy, rounds=2, batch=8) as study:
        answer = str(study.run())
    files = ["--html", "r.html", "--plots", "plots", "--csv", "t.csv", "--json", "t.json"]
    assert main(["report", "study", *files]) == 0
    assert f"answer: {answer}\n" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    for text in ("AutoBSS, preset default, seed 0", "area up to 4,000", "of 16", 'id="refined"', answer):
        assert text in page
    assert (tmp_path / "plots" / "refining.png").exists()
    assert main(["watch", "study", "--once"]) == 0
    out = capsys.readouterr().out
    assert "study: AutoBSS (default) over killable, area up to 4,000" in out
    assert "16 of 16" in out
    before = {p: p.read_bytes() for p in (tmp_path / "study").iterdir() if p.is_file() and p.suffix != ".jsonl"}
    assert main(["resume", "study"]) == 0
    assert f"answer: {answer}\n" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in before} == before


def test_what_cannot_be_told_is_reported_and_resumed_in_python(tmp_path, capsys):
    with Study(tmp_path, Picky(study_script.killable()), lambda code, seed: 1.0 + seed, rounds=1, batch=9) as study:
        study.run()
    assert main(["report", str(tmp_path), "--html", str(tmp_path / "r.html"), "--plots", str(tmp_path / "p")]) == 0
    out = capsys.readouterr().out
    assert "answer" not in out  # which only the searcher's own program knows
    assert "Best scores" in out
    assert main(["watch", str(tmp_path), "--once"]) == 0
    assert "Picky over killable" in capsys.readouterr().out
    assert main(["resume", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"resume it in Python as it was started: Study({str(tmp_path)!r}, searcher, evaluate).run()" in err


def test_a_searcher_that_cannot_be_told_is_named_before_anything_is_resumed(tmp_path):
    with Study(tmp_path, Picky(study_script.killable()), easy, rounds=1, batch=2):
        pass
    with pytest.raises(StudyError, match="searcher: 'Picky' is none of autobss_search; resume the study in Python"):
        Study.resume(tmp_path)


def test_a_table_and_its_space_are_told(tmp_path):
    (tmp_path / "told.json").write_text(json.dumps(entries("1234", 4, "acc")))
    table = Table(tmp_path / "told.json")
    with Study(tmp_path / "study", RandomSearch(table.space(macs=1000)), table, rounds=3, batch=4) as study:
        answer = study.run()
        records = study.records
    study_folder = StudyFolder(tmp_path / "study")
    assert study_folder.answer(study_folder.records()) == answer
    with Study.resume(tmp_path / "study") as study:
        assert study.searcher.space.count() == table.space(macs=1000).count()
        assert study.run() == answer
        assert study.records == records


@pytest.mark.parametrize("name", ["resnet18_small", "efficientnet_b0_small", "mnv2"])
def test_declared_spaces_come_back_from_their_descriptions(tmp_path, name):
    space = get_space(name, macs="3M..900M", params="100M")
    with Study(tmp_path, RandomSearch(space), easy):
        pass
    assert StudyFolder(tmp_path).space == space


def test_own_costs_are_known_by_name_and_the_answer_by_what_was_kept(tmp_path):
    costs = [Constraint("area", 4000, lambda codes: codes.prod(axis=1))]
    searcher = AutoBSS(Space("untold", study_script.DIMENSIONS, costs), n_candidates=100)
    with Study(tmp_path, searcher, easy, rounds=2, batch=8) as study:
        answer = study.run()
    folder = StudyFolder(tmp_path)
    assert folder.answer(folder.records()) == answer
    with pytest.raises(StudyError, match="the cost area"):
        Study.resume(tmp_path)


class BrokenError(Exception):
    pass


def breaks(code, seed):
    raise BrokenError(f"no such thing as {seed}")


def test_an_evaluators_own_error_is_raised_when_nothing_was_scored(tmp_path):
    with (
        Study(tmp_path / "here", RandomSearch(study_script.killable()), breaks, rounds=1, batch=2) as study,
        pytest.raises(StudyError, match=r"no code could be scored: .*BrokenError: no such thing as 0") as caught,
    ):
        study.run()
    assert isinstance(caught.value.__cause__, BrokenError)
    with (
        Study(tmp_path / "there", RandomSearch(study_script.killable()), breaks, LocalProcesses(1), 1, 2) as study,
        pytest.raises(StudyError, match=r"no code could be scored: .*BrokenError: no such thing as "),
    ):
        study.run()


@exports
def test_the_winner_as_a_trained_network(tmp_path, capsys):
    evaluate = Training({"base": "small/digits", "epochs": 2, "input_size": 8}, str(tmp_path / "study" / "models"))
    searcher = RandomSearch(get_space("resnet18_small", macs="300K", setting=evaluate.setting))
    with Study(tmp_path / "study", searcher, evaluate, rounds=1, batch=1) as study:
        answer = study.run()
        assert study.best_folder.parent.parent == tmp_path / "study" / "models"
        before = study.best_model()
    (tmp_path / "study").rename(tmp_path / "moved")
    assert main(["report", str(tmp_path / "moved"), "--export", str(tmp_path / "m.onnx")]) == 0
    out = capsys.readouterr().out.replace("\n", "")
    (record,) = read_records(tmp_path / "moved")
    assert record.code == answer
    assert f"its trained network: {tmp_path / 'moved' / record.model}" in out
    assert f"wrote {tmp_path / 'm.onnx'}: {answer}" in out
    image = torch.rand(2, 1, 8, 8)
    after = from_pretrained(tmp_path / "moved" / record.model)
    assert torch.equal(before.eval()(image), after.eval()(image))


@exports
def test_without_trained_networks_that_is_said(tmp_path, capsys):
    with Study(tmp_path, RandomSearch(study_script.killable()), easy, rounds=1, batch=2) as study:
        study.run()
        with pytest.raises(StudyError, match="has no trained network: the study's evaluator keeps none"):
            study.best_model()
    assert main(["report", str(tmp_path)]) == 0
    assert "trained network" not in capsys.readouterr().out
    assert main(["report", str(tmp_path), "--export", str(tmp_path / "m.onnx")]) == 1
    assert "keeps none" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--top", "-1"]) == 2
    assert capsys.readouterr().err.startswith("autobss: error: --top: expected a positive integer")


def test_trials_have_start_times_which_optunas_timeline_shows(tmp_path):
    def slow(code, seed):
        time.sleep(0.3)
        if seed == 1:
            raise RuntimeError("late")
        return easy(code, seed)

    began = datetime.now()
    with Study(tmp_path, RandomSearch(study_script.killable()), slow, rounds=1, batch=3) as study:
        study.run()
    peer = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'study.db'}")
    for trial in peer.trials:
        assert began <= trial.datetime_start <= trial.datetime_complete <= datetime.now()
        assert timedelta(seconds=0.25) < trial.duration < timedelta(seconds=30)
    first, failed, _ = peer.trials
    assert failed.state == TrialState.FAIL
    assert failed.datetime_start >= first.datetime_complete  # that of its second attempt
    figure = optuna.visualization.plot_timeline(peer)
    bars = {bar.name: list(bar.y) for bar in figure.data}
    assert bars == {"COMPLETE": [0, 2], "FAIL": [1]}


def test_a_trial_that_is_being_scored_is_running_for_optuna_and_waits_if_its_driver_is_killed(tmp_path):
    class Killed(BaseException):
        pass

    def killed(code, seed):
        peer = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'study.db'}")
        assert [t.state for t in peer.trials] == [TrialState.RUNNING, TrialState.WAITING]
        assert [r.state for r in read_records(tmp_path)] == ["waiting", "waiting"]
        raise Killed

    killed.__qualname__ = easy.__qualname__  # the same evaluator for the study
    with (
        Study(tmp_path, RandomSearch(study_script.killable()), killed, rounds=1, batch=2) as study,
        contextlib.suppress(Killed),
    ):
        study.run()
    with Study(tmp_path, RandomSearch(study_script.killable()), easy, rounds=1, batch=2) as study:
        study.run()
        assert [r.state for r in study.records] == ["complete", "complete"]


def test_optunas_tables_are_those_that_are_read(tmp_path):
    """Fails when Optuna changes its tables: compare them, and then the queries of optuna_tables.py."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name=NAME, storage=url, direction="minimize")
    study.set_user_attr("identity", {"a": [1, None, "ä"]})
    study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, value=0.5, user_attrs={"code": "x", "n": 1}))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs={"errors": ["one", "two"]}))
    study.add_trial(optuna.create_trial(state=TrialState.PRUNED))
    study.enqueue_trial({"x": 1})
    study.enqueue_trial({"x": 2})
    assert study.ask().number == 3
    tables = Tables(tmp_path, None)
    tables.check()
    stored = tables.study()
    assert (stored.direction, stored.trials) == ("minimize", 5)
    assert stored.attributes == study.user_attrs
    rows = tables.trials(stored.id)
    theirs = [(t.number, t.state.name, t.value, t.user_attrs, t.state.is_finished()) for t in study.trials]
    assert [(r.number, r.state, r.value, r.attributes, r.finished) for r in rows] == theirs
    assert [r.state for r in rows] == ["COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING"]
    assert tables.trials(stored.id, last=2) == rows[3:]
