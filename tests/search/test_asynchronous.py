"""Asynchronous studies: a code is asked for whenever a worker is free."""

import contextlib
from collections import deque
from contextlib import contextmanager

import numpy as np
import pytest
from test_search_cli import table
from test_study import Crash, crash_at

from autobss_search import Constraint, RandomSearch, Space
from autobss_search.command.cli import main
from autobss_search.errors import StudyError
from autobss_search.executors import Executor, Scorer, Started, Workers
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.journal import read_journal
from autobss_search.studies.reading import read_records
from autobss_search.studies.study import Study
from conftest import long
from study_script import DIMENSIONS, Score, area, killable, study


class LastFirst(Executor, Workers):
    """Three workers, of whom the one that began last is done first; may be interrupted after some outcomes."""

    slots = 3

    def __init__(self, interrupt_after=None):
        self.begun, self.running, self.at_once = [], deque(), []
        self.left = interrupt_after

    @contextmanager
    def start(self, evaluate):
        self.evaluate, self.running = evaluate, deque()
        yield self

    def submit(self, job):
        self.running.append(job)
        self.begun.append(job)

    def wait(self):
        self.at_once.append([job.id for job in self.running])
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        job = self.running.pop()
        return [Started(job.id, "here"), Scorer(self.evaluate)(job)]


def essence(folder):
    return [(r.code, r.round, r.source, r.seed, r.state, r.value) for r in read_records(folder)]


def test_a_code_is_asked_for_when_a_worker_is_free(tmp_path):
    workers = LastFirst()
    with study(tmp_path, executor=workers, asynchronous=True) as running:
        answer = running.run()
        records = running.records
        assert answer in {r.code for r in records if r.value is not None}
    assert len({r.code for r in records}) == 24
    assert [r.seed for r in records] == list(range(24))
    assert [r.round for r in records] == [i // 8 for i in range(24)]
    assert [len(ids) for ids in workers.at_once[:20]] == [3] * 20
    assert all(0 in ids for ids in workers.at_once[:20]), "the first trial is still being scored at the end"


def test_each_code_is_proposed_given_the_scores_so_far_and_what_is_being_scored(tmp_path):
    workers = LastFirst()
    with study(tmp_path, executor=workers, asynchronous=True) as running:
        searcher, asked = running.searcher, []
        genuine = searcher.propose

        def propose(before, round, n, pending):
            before = list(before)
            asked.append((len(before), n, len(pending)))
            codes = genuine(before, round, n, pending)
            assert not {*codes} & {o.code for o in before} | {*codes} & {*pending}
            return codes

        searcher.propose = propose
        running.run()
    assert [n for _, n, _ in asked] == [1] * 24
    assert [before + pending for before, _, pending in asked] == list(range(24))
    assert [pending for _, _, pending in asked] == [0, 1] + [2] * 22


def test_an_interrupted_study_goes_on_with_what_was_being_scored(tmp_path):
    first = LastFirst(interrupt_after=9)
    with study(tmp_path, executor=first, asynchronous=True) as running, pytest.raises(KeyboardInterrupt):
        running.run()
    before = essence(tmp_path)
    waiting = [r.number for r in read_records(tmp_path) if r.state == "waiting"]
    assert len(waiting) == 3
    assert [e.text for e in read_journal(tmp_path) if e.kind == "end"] == ["interrupted"]
    second = LastFirst()
    with study(tmp_path, executor=second, asynchronous=True) as running:
        running.run()
    assert sorted(second.at_once[0]) == waiting
    after = essence(tmp_path)
    assert [a for a, b in zip(after, before, strict=False) if b[4] != "waiting"] == [
        b for b in before if b[4] != "waiting"
    ]
    assert [r.seed for r in read_records(tmp_path)] == list(range(24))


def test_the_same_order_of_outcomes_gives_the_same_study(tmp_path):
    for name in ("one", "two"):
        with study(tmp_path / name, executor=LastFirst(), asynchronous=True) as running:
            running.run()
    assert essence(tmp_path / "one") == essence(tmp_path / "two")


@pytest.mark.parametrize("write", ["set_trial_user_attr", "set_trial_state_values", "create_new_trial"])
@pytest.mark.parametrize("after", [3, *long(0, 20)])
def test_a_crash_at_any_write_loses_no_score_and_asks_no_code_twice(tmp_path, monkeypatch, write, after):
    with study(tmp_path, executor=LastFirst(), asynchronous=True) as running:
        running.enqueue(killable().decode(np.full((1, 5), 2))[0])
        crash_at(monkeypatch, write, after)
        with contextlib.suppress(Crash):
            running.run()
    monkeypatch.undo()
    scored = {r.number: r.value for r in read_records(tmp_path) if r.value is not None}
    with study(tmp_path, executor=LastFirst(), asynchronous=True) as running:
        running.run()
    records = read_records(tmp_path)
    assert scored.items() <= {r.number: r.value for r in records}.items()
    assert len(records) == len({r.code for r in records}) == 24
    assert [r.source for r in records].count("enqueued") == 1
    assert not [r for r in records if r.state == "waiting"]


def test_worker_processes(tmp_path):
    with study(tmp_path, executor=LocalProcesses(2), asynchronous=True) as running:
        running.run()
    records = read_records(tmp_path)
    assert len({r.code for r in records}) == 24
    assert {r.state for r in records} == {"complete", "failed"}
    failed = [r for r in records if r.state == "failed"]
    assert all(len(r.errors) == 2 for r in failed)


def test_it_is_not_resumed_in_rounds(tmp_path):
    with study(tmp_path, asynchronous=True):
        pass
    with pytest.raises(StudyError, match="its asynchronous is True, not None"):
        study(tmp_path)


@pytest.mark.parametrize("asynchronous", [True, *long(False)])
def test_a_study_ends_when_all_codes_were_asked_for(tmp_path, asynchronous):
    said, space = [], Space("killable", DIMENSIONS, [Constraint("area", 4, area)])
    size = sum(map(len, space.enumerate()))
    settings = {"rounds": 9, "batch": 8, "on_event": said.append, "asynchronous": asynchronous}
    with Study(tmp_path, RandomSearch(space), Score(), LastFirst(), **settings) as running:
        running.run()
    assert 8 < size < 72
    assert len(read_records(tmp_path)) == size
    assert f"all codes of the space were asked for: {size}" in said


def test_the_command(tmp_path, capsys):
    folder = str(tmp_path / "s")
    command = ["search", "--table", table(tmp_path, "asynchronous"), "--rounds", "2", "--batch", "4", "--asynchronous"]
    assert main([*command, "--folder", folder, "--workers", "2"]) == 0
    assert len(read_records(tmp_path / "s")) == 8
    assert "asynchronous: true" in (tmp_path / "s" / "search.yaml").read_text()
    first = capsys.readouterr().out
    assert main(["resume", folder]) == 0
    assert capsys.readouterr().out == first
    assert main(["search", "small/digits_search", "--set", "asynchronous=perhaps"]) == 2
    assert "asynchronous: expected true or false, got 'perhaps'" in capsys.readouterr().err
