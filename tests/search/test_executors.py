"""Scoring in this process and in processes of this machine; the command's options for it."""

import multiprocessing
import os
import signal
import time

import pytest

from autobss_search.command.cli import main
from autobss_search.executors import InProcess, Job, Outcome, Started
from autobss_search.executors.processes import LocalProcesses, visible_gpus
from study_script import killable


def jobs(seeds):
    return [Job(i, killable().code((1, 1, 1, 1, 2)), seed) for i, seed in enumerate(seeds)]


def updates(executor, evaluate, seeds):
    """Everything that workers say, in order."""
    out = []
    with executor.start(evaluate) as workers:
        for job in jobs(seeds):
            workers.submit(job)
        while sum(isinstance(u, Outcome) for u in out) < len(seeds):
            out += workers.wait()
    return out


def misbehaves(code, seed):
    """By its seed: sleeps, dies, fails, or says what it sees."""
    if seed == 1:
        time.sleep(600)
    if seed in (2, 8):
        time.sleep(seed - 2)
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == 3:
        raise ValueError("first line\nsecond line")
    if seed == 4:
        return float(os.environ["CUDA_VISIBLE_DEVICES"])
    if seed == 5:
        return float(os.environ["AUTOBSS_TEST"])
    if seed == 9:
        return float(multiprocessing.get_all_start_methods().index(multiprocessing.get_start_method()))
    return [0.5, "71.2", b"71.2", True, None, [1, 2]][seed - 10] if seed >= 10 else float(seed)


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)])
def test_every_job_begins_once_and_has_one_outcome(executor):
    out = updates(executor, misbehaves, [0, 3, 6, 7])
    for i in range(4):
        mine = [u for u in out if u.id == i]
        assert [type(u) for u in mine] == [Started, Outcome]
        assert mine[0].attempt == 1
    assert {u.id: u.value for u in out if isinstance(u, Outcome)} == {0: 0.0, 1: None, 2: 6.0, 3: 7.0}
    assert [u.error for u in out if isinstance(u, Outcome) and u.id == 1] == ["ValueError: first line"]


def test_only_numbers_are_scores():
    outcomes = {o.id: o for o in InProcess().outcomes(misbehaves, jobs(range(10, 16)))}
    assert outcomes[0].value == 0.5
    assert all(outcomes[i].value is None for i in range(1, 6))
    assert outcomes[1].error == "TypeError: expected a number as the score, got '71.2'"
    assert outcomes[3].error == "TypeError: expected a number as the score, got True"


def test_a_hanging_job_is_stopped_and_its_worker_replaced():
    out = updates(LocalProcesses(1, timeout=2), misbehaves, [1, 6])
    outcomes = [u for u in out if isinstance(u, Outcome)]
    assert [(o.id, o.value) for o in outcomes] == [(0, None), (1, 6.0)]
    assert outcomes[0].error == "no score within 2 s: stopped"
    assert 2 <= outcomes[0].seconds < 60


def test_jobs_go_on_after_workers_have_died():
    outcomes = {o.id: o for o in LocalProcesses(2).outcomes(misbehaves, jobs([2, 2, 2, 6, 7]))}
    assert [outcomes[i].value for i in range(5)] == [None, None, None, 6.0, 7.0]
    assert outcomes[0].error == "the worker process died with exit code -9"


def test_each_worker_sees_one_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]
    executor = LocalProcesses()
    assert executor.workers == 2
    out = updates(executor, misbehaves, [4, 4, 4, 4])
    assert {u.value for u in out if isinstance(u, Outcome)} <= {3.0, 5.0}
    assert {u.where.partition(", ")[2] for u in out if isinstance(u, Started)} == {"GPU 3", "GPU 5"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert LocalProcesses().workers == 1


def test_workers_have_the_environment_of_now(monkeypatch):
    for value in ("1", "2"):
        monkeypatch.setenv("AUTOBSS_TEST", value)
        (outcome,) = LocalProcesses(1).outcomes(misbehaves, jobs([5]))
        assert outcome.value == float(value)


def test_processes_of_workers_start_as_the_system_does():
    """By the fork server's method each training's data workers would have a fork server of their own."""
    (outcome,) = LocalProcesses(1).outcomes(misbehaves, jobs([9]))
    assert outcome.value == 0.0, outcome.error


def test_no_worker_is_left_at_the_end():
    with LocalProcesses(2).start(misbehaves) as workers:
        for job in jobs([1, 1]):
            workers.submit(job)
        pids = [int(u.where.removeprefix("process ").partition(",")[0]) for u in workers.wait()]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("timeout", [0, -1.5, float("nan")])
def test_a_timeout_is_positive(timeout):
    with pytest.raises(ValueError, match="timeout: expected a positive number of seconds"):
        LocalProcesses(1, timeout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "ray", "--workers", "2"], "workers: a Ray cluster has as many as there is room for, got 2"),
        (["--gpus-per-trial", "4"], "gpus: is an option of --executor ray, not of here"),
        (["--executor", "here", "--timeout", "5"], "give --executor processes"),
        (["--executor", "ray", "--gpus-per-trial", "3", "--nodes-per-trial", "2"], "gpus: expected a multiple of 2"),
        (["--executor", "ray", "--gpus-per-trial", "1.5"], "or a share of one GPU, got 1.5"),
        (["--executor", "ray", "--retries", "-1"], "retries: expected an integer from 0 up to 2147483647, got '-1'"),
        (["--timeout", "0"], "timeout: expected a number from 0.001 to 1e+08, got '0'"),
        (["--executor", "slurm"], "invalid choice: 'slurm'"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["search", "small/digits_search", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
