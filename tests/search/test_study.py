"""Studies: the ledger, failures, what a kill loses (nothing), and what is refused."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import optuna
import pytest

import forked
import study_script
from autobss_search import AutoBSS, RandomSearch
from autobss_search.errors import SpaceError, StudyError
from autobss_search.executors import Job
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.reading import read_records
from autobss_search.studies.study import Study
from conftest import MODULES, long
from study_script import Score, killable, study

SCRIPT = Path(study_script.__file__)


def outcome(folder):
    """All that must not depend on interruptions, as text."""
    records = sorted(read_records(folder), key=lambda r: (r.round, r.seed))
    return "\n".join(f"{r.code} {r.round} {r.source} {r.seed} {r.state} {r.value!r} {r.costs}" for r in records)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    with study(folder) as running:
        running.run()
    return outcome(folder)


CENTRE = killable().decode(np.full((1, 5), 2))[0]


@pytest.fixture(scope="module")
def enqueued(tmp_path_factory):
    """The outcome of a study that was given a code."""
    folder = tmp_path_factory.mktemp("enqueued")
    with study(folder) as running:
        running.enqueue(CENTRE)
        running.run()
    return outcome(folder)


def script(folder, kill_after=0, seconds=0.0, workers=0):
    return forked.start(SCRIPT, folder, kill_after, seconds, workers, errors=folder.with_suffix(".errors"))


def test_a_study_spends_its_scores_and_recommends(uninterrupted, tmp_path):
    said = []
    with study(tmp_path, on_event=said.append) as running:
        answer = running.run()
        records = running.records
    assert Counter(r.round for r in records) == {0: 8, 1: 8, 2: 8}
    assert {r.seed for r in records} == set(range(24))
    assert len({r.code for r in records}) == 24
    assert answer in {r.code for r in records if r.value is not None}
    assert outcome(tmp_path) == uninterrupted
    assert any("round 2 of 3: 8 codes to score" in line for line in said)


def test_a_failed_trial_is_tried_twice_and_left_out(uninterrupted, tmp_path):
    said = []
    with study(tmp_path, on_event=said.append) as running:
        running.run()
        failed = [r for r in running.records if r.state == "failed"]
    assert failed
    for record in failed:
        assert record.errors == ("RuntimeError: out of memory",) * 2
        assert record.value is None
        assert sum(f"{record.code} failed" in line for line in said) == 2
    assert any("tried once more" in line for line in said)
    assert any("left out" in line for line in said)


def test_two_worker_processes_give_the_same_study(uninterrupted, tmp_path):
    with study(tmp_path, workers=2) as running:
        running.run()
    assert outcome(tmp_path) == uninterrupted


@pytest.mark.parametrize("kill_after", [3, 13, *long(1, 8)])
def test_a_kill_between_two_writes_of_a_batch_changes_nothing(uninterrupted, tmp_path, kill_after):
    process = script(tmp_path, kill_after)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert len(read_records(tmp_path)) == kill_after
    with study(tmp_path) as running:
        running.run()
    assert outcome(tmp_path) == uninterrupted


class Crash(BaseException):
    """Stands for a kill at a place where a real one cannot be timed."""


def crash_at(monkeypatch, write, after):
    """Have the genuine storage crash instead of a write, after so many of them."""
    storage, left = optuna.storages.RDBStorage, [after]
    genuine = getattr(storage, write)

    def crashes(self, *args, **kwargs):
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        return genuine(self, *args, **kwargs)

    monkeypatch.setattr(storage, write, crashes)


@pytest.mark.parametrize(
    "write", ["set_trial_user_attr", "set_trial_param", "set_trial_state_values", "create_new_trial"]
)
@pytest.mark.parametrize("after", [2, 40, *long(0, 5, 11)])
def test_a_crash_at_any_write_changes_nothing(enqueued, tmp_path, monkeypatch, write, after):
    with study(tmp_path) as running:
        running.enqueue(CENTRE)
        crash_at(monkeypatch, write, after)
        with contextlib.suppress(Crash):  # for want of so many writes it may run to its end
            running.run()
    monkeypatch.undo()
    with study(tmp_path) as running:
        running.run()
    assert outcome(tmp_path) == enqueued


def sources(records):
    """How many trials there are of each source in each round."""
    return Counter((r.round, r.source == "confirmation") for r in records)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_last_scores_are_of_the_best_codes_again(tmp_path, asynchronous):
    with study(tmp_path, confirm=5, asynchronous=asynchronous) as running:
        answer = running.run()
        records = running.records
    assert sources(records) == {(0, False): 8, (1, False): 8, (2, False): 3, (3, True): 5}
    assert {r.seed for r in records} == set(range(24))
    again = [r.code for r in records if r.source == "confirmation"]
    assert len(set(again)) == 3
    before = {r.code: r.value for r in records if r.source != "confirmation"}
    best = sorted((value for value in before.values() if value is not None), reverse=True)
    assert all(before[code] >= best[len(best) // 2] for code in again)
    assert answer in before
    with study(tmp_path, confirm=5, asynchronous=asynchronous) as resumed:
        assert resumed.run() == answer
        assert len(resumed.records) == 24
    with pytest.raises(StudyError, match="its confirm is 5, not None"):
        study(tmp_path, asynchronous=asynchronous)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("after", [19, 21, 23])
def test_a_crash_among_confirmations_loses_none(tmp_path, monkeypatch, asynchronous, after):
    with study(tmp_path / "whole", confirm=5, asynchronous=asynchronous) as running:
        running.run()
    with study(tmp_path / "parts", confirm=5, asynchronous=asynchronous) as running:
        crash_at(monkeypatch, "create_new_trial", after)
        with pytest.raises(Crash):
            running.run()
    monkeypatch.undo()
    assert len(read_records(tmp_path / "parts")) == after
    with study(tmp_path / "parts", confirm=5, asynchronous=asynchronous) as running:
        running.run()
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def finished(folder):
    """How many scores a study has, without disturbing the driver that is writing."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / 'study.db'}?mode=ro", uri=True)) as database:
            return database.execute("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
    except sqlite3.OperationalError:  # there is no file or no table yet, or it is locked
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, *long(0)])
def test_kill_9_in_a_loop_changes_nothing(uninterrupted, tmp_path, workers):
    """Killed up to a second after some more scores, on machines of any speed: while scoring, writing or asking."""
    chance, kills, scored = random.Random(workers), 0, {}
    while True:
        process = script(tmp_path, seconds=0.25, workers=workers)
        enough = len(scored) + chance.randint(1, 6)
        while process.is_alive() and finished(tmp_path) < enough:
            time.sleep(0.02)
        process.join(chance.uniform(0, 1))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        now = {r.number: r.value for r in read_records(tmp_path) if r.value is not None}
        assert scored.items() <= now.items(), "a finished score was lost"
        scored = now
    assert process.exitcode == 0, tmp_path.with_suffix(".errors").read_text()
    assert kills >= 2
    assert outcome(tmp_path) == uninterrupted


def test_a_second_driver_is_refused_and_the_first_goes_on(tmp_path):
    with study(tmp_path) as running:
        with pytest.raises(StudyError, match="another driver runs this study"):
            study(tmp_path)
        running.run()
    with study(tmp_path) as again:
        assert again.run() == running.recommend()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda: (AutoBSS(killable(), seed=5, n_candidates=300), Score()),
            "searcher.seed is 0, not 5",
        ),
        (lambda: (RandomSearch(killable()), Score()), "searcher.clustering is False, not None"),
        (lambda: (AutoBSS(killable(), n_candidates=300), fails_for_two), "evaluator is rugged"),
        (
            lambda: (AutoBSS(killable().under(), n_candidates=300), Score()),
            r"space.constraints.area is \{'upper': 4000, 'of': 'area'\}, not None",
        ),
    ],
)
def test_another_study_in_the_same_folder_is_refused(tmp_path, change, message):
    with study(tmp_path):
        pass
    searcher, evaluate = change()
    with pytest.raises(StudyError, match=message):
        Study(tmp_path, searcher, evaluate, batch=8)
    with study(tmp_path):  # and the lock is free again
        pass


def test_a_database_serves_one_folder(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with (
        study(tmp_path / "one", storage=url),
        pytest.raises(StudyError, match="belongs to the study of another folder"),
    ):
        study(tmp_path / "two", storage=url)
    with study(tmp_path / "one", storage=url) as again:
        again.run()
    assert len(read_records(tmp_path / "one")) == 24


def test_the_candidate_set_is_kept_by_its_hash(tmp_path):
    with study(tmp_path) as running:
        running.run()
        np.testing.assert_array_equal(running.ledger.arrays["candidates"], running.searcher.candidates)
    (path,) = (tmp_path / "arrays").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(StudyError, match="missing or were changed"):
        study(tmp_path)


def test_a_resumed_study_uses_the_kept_candidates(tmp_path):
    with study(tmp_path) as running:
        other = running.searcher.candidates[:100]
        running.ledger.keep("candidates", other)
    with study(tmp_path) as running:
        running.run()
        np.testing.assert_array_equal(running.searcher.candidates, other)


def test_refining_matrices_are_kept(tmp_path):
    searcher = AutoBSS(killable(), "paper", n_candidates=300)
    with Study(tmp_path, searcher, Score(), rounds=3, batch=8) as running:
        running.run()
        one, two = running.ledger.arrays["refining_1"], running.ledger.arrays["refining_2"]
    assert one.shape == (5, 5)
    assert (one != two).any()


def test_enqueued_codes_take_places_of_the_next_round(tmp_path):
    code = killable().code((8, 8, 8, 4, 1))
    with study(tmp_path) as running:
        running.enqueue(code)
        running.enqueue(code)  # once is enough
        with pytest.raises(SpaceError, match="W1 = 3 is none of"):
            running.enqueue(killable().code((3, 8, 8, 4, 1)))
        running.run()
        mine = [r for r in running.records if r.source == "enqueued"]
        assert [(r.code, r.round, r.state) for r in mine] == [(code, 0, "complete")]
        assert Counter(r.round for r in running.records) == {0: 8, 1: 8, 2: 8}


def test_known_scores_are_learnt_from_and_not_asked_for_again(tmp_path):
    rows = np.concatenate(list(killable().enumerate()))
    known = killable().decode(rows[::97][:20])
    with study(tmp_path) as running:
        for code in known:
            running.tell(code, float(sum(code.values)))
        with pytest.raises(StudyError, match="told once, before the first round"):
            running.tell(known[0], 3.0)
        with pytest.raises(ValueError, match="expected a finite score, got nan"):
            running.tell(killable().decode(rows[[1]])[0], float("nan"))
        running.run()
        assert Counter(r.round for r in running.records) == {-1: 20, 0: 8, 1: 8, 2: 8}
        assert len({r.code for r in running.records}) == 44
        with pytest.raises(StudyError, match="before the first round"):
            running.tell(killable().decode(rows[[1]])[0], 3.0)


def test_optunas_own_enqueue_is_honoured_and_nonsense_is_named(tmp_path):
    said = []
    with study(tmp_path, on_event=said.append) as running:
        peer = optuna.load_study(study_name="autobss", storage=f"sqlite:///{tmp_path / 'study.db'}")
        peer.enqueue_trial({f"W{i}": 4 for i in range(1, 6)})
        peer.enqueue_trial({"W1": 7})
        running.run()
        assert [r.code.values for r in running.records if r.source == "enqueued"] == [(4,) * 5]
        assert len(running.records) == 24
    assert any("enqueued trial 1: W1: expected one of 1, 2, 4, 6, 8, got 7" in line for line in said)


def test_optunas_tools_work_on_the_ledger(tmp_path):
    with study(tmp_path) as running:
        running.run()
        best = max(r.value for r in running.records if r.value is not None)
    peer = optuna.load_study(study_name="autobss", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert peer.best_value == best
    frame = peer.trials_dataframe()
    assert len(frame) == 24
    assert {"params_W1", "user_attrs_round", "user_attrs_code", "user_attrs_seconds"} <= set(frame.columns)
    assert set(optuna.importance.get_param_importances(peer)) == {f"W{i}" for i in range(1, 6)}


def test_nan_and_text_scores_are_failures(tmp_path):
    values = iter([float("nan"), float("inf"), "71.2%", None] * 100)

    def evaluate(code, seed):
        return next(values) if seed % 2 else 70.0 + seed

    with Study(tmp_path, RandomSearch(killable()), evaluate, rounds=1, batch=8) as running:
        running.run()
        records = {r.seed: r for r in running.records}
    assert [records[s].state for s in range(8)] == ["complete", "failed"] * 4
    errors = " ".join(e for r in records.values() for e in r.errors)
    for text in ("the score is nan", "the score is inf", "expected a number as the score, got '71.2%'"):
        assert text in errors


@pytest.mark.parametrize(("name", "value"), [("rounds", 0), ("batch", 1.5)])
def test_bad_settings_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got {value}"):
        Study(tmp_path, RandomSearch(killable()), Score(), **{name: value})


@pytest.mark.parametrize("value", [-1, 24, 2.5])
def test_more_confirmations_than_scores_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match=f"confirm: expected an integer from 0 to 23, got {value}"):
        Study(tmp_path / "study", RandomSearch(killable()), Score(), rounds=3, batch=8, confirm=value)
    assert not (tmp_path / "study").exists()


def jobs(n=4):
    return [Job(i, killable().code((1, 1, 1, 1, 1 + i)), i) for i in range(n)]


def test_workers_report_errors_and_survive_them():
    outcomes = {o.id: o for o in LocalProcesses(2).outcomes(fails_for_two, jobs())}
    assert outcomes[2].value is None
    assert outcomes[2].error == "ValueError: two"
    assert [outcomes[i].value for i in (0, 1, 3)] == [0.0, 1.0, 3.0]
    with pytest.raises(ValueError, match="workers: expected a positive integer"):
        LocalProcesses(0)


def test_a_dead_worker_fails_its_job_only():
    outcomes = {o.id: o for o in LocalProcesses(2).outcomes(dies_for_two, jobs(6))}
    assert outcomes[2].value is None
    assert "died with exit code -9" in outcomes[2].error
    assert sorted(i for i, o in outcomes.items() if o.value is not None) == [0, 1, 3, 4, 5]


def fails_for_two(code, seed):
    if seed == 2:
        raise ValueError("two")
    return seed


def dies_for_two(code, seed):
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return seed


def leaves_its_pid(code, seed):
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    time.sleep(120)


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    program = (
        "import test_study as t\nfrom autobss_search.executors.processes import LocalProcesses\n"
        "if __name__ == '__main__': list(LocalProcesses(2).outcomes(t.leaves_its_pid, t.jobs()))\n"
    )
    path = tmp_path / "driver.py"
    path.write_text(program)
    pids = tmp_path / "pids"
    pids.mkdir()
    env = {**os.environ, "PIDS": str(pids), "PYTHONPATH": MODULES}
    driver = subprocess.Popen([sys.executable, str(path)], env=env)
    for _ in range(600):
        if len(list(pids.iterdir())) == 2:
            break
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    workers = [int(p.name) for p in pids.iterdir()]
    assert len(workers) == 2
    for _ in range(100):
        if not any(alive(pid) for pid in workers):
            break
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
