"""Scoring on a Ray cluster of several nodes: raylets of their own on this machine, with GPUs that only Ray counts."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from test_executors import misbehaves, updates
from test_study import outcome

from autobss_search import AutoBSS
from autobss_search.command.cli import main
from autobss_search.errors import StudyError
from autobss_search.evaluators.training import Training
from autobss_search.executors import Job, Outcome, Started
from autobss_search.executors.cluster import RayCluster
from autobss_search.studies.journal import read_journal, status
from autobss_search.studies.reading import read_records
from autobss_search.studies.study import Study
from autobss_zoo import Code
from conftest import MODULES, long
from study_script import killable, study

ray = pytest.importorskip("ray", reason="needs the extra ray")


class Nodes:
    """A head without room, and nodes of two CPUs and two GPUs each."""

    def __init__(self, n):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=2, num_gpus=2) for _ in range(n)]
        self.cluster.wait_for_nodes()

    @property
    def address(self):
        return self.cluster.address

    def remove(self, id):
        node = next(n for n in self.nodes if n.node_id.startswith(id))
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Workers have the tests' modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", MODULES)
        yield


@pytest.fixture(scope="module")
def address(importable):
    nodes = Nodes(2)
    yield nodes.address
    nodes.cluster.shutdown()


@pytest.fixture
def connected(address):
    ray.init(address, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_study_on_a_cluster_is_the_one_in_this_process(address, tmp_path):
    for name, executor in (("here", None), ("ray", RayCluster(address))):
        with study(tmp_path / name, executor=executor) as running:
            running.run()
    assert outcome(tmp_path / "ray") == outcome(tmp_path / "here")
    faults = [e.text for e in status(read_journal(tmp_path / "ray")).faults]
    assert faults
    assert not any("worker was lost" in text for text in faults), "failed trials, which the study has tried once more"
    assert not ray.is_initialized()


@pytest.mark.long
def test_failures_poison_and_hanging_are_outcomes(connected):
    out = updates(RayCluster(timeout=10), misbehaves, [1, 3, 6, 11])
    outcomes = {u.id: u for u in out if isinstance(u, Outcome)}
    assert [outcomes[i].value for i in range(4)] == [None, None, 6.0, None]
    assert outcomes[0].error == "no score within 10 s: stopped"
    assert outcomes[1].error == "ValueError: first line"
    assert outcomes[3].error == "TypeError: expected a number as the score, got '71.2'"
    where = next(u.where for u in out if isinstance(u, Started) and u.id == 0)
    pid = int(re.search(r"process (\d+)", where)[1])
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the hanging process is still there")


@pytest.mark.long
def test_a_job_that_kills_its_workers_is_begun_again_so_often_and_has_failed(connected):
    out = updates(RayCluster(retries=1), misbehaves, [8])
    assert [u.attempt for u in out if isinstance(u, Started)] == [1, 2]
    assert out[-1].value is None
    assert "WorkerCrashedError" in out[-1].error


@pytest.mark.parametrize(
    ("settings", "trials"),
    [
        ({}, 4),
        ({"cpus": 2}, 2),
        ({"gpus": 2}, 2),
        ({"gpus": 0.5, "cpus": 0.5}, 8),
        ({"gpus": 4, "nodes": 2, "cpus": 2}, 1),
        ({"gpus": 2, "nodes": 2, "cpus": 2}, 2),
    ],
)
def test_as_many_trials_at_a_time_as_the_nodes_hold(connected, settings, trials):
    assert RayCluster(**settings).capacity() == trials


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpus": 4}, "the cluster has not 1 nodes with 1 CPU, 4 GPU for a trial"),
        ({"gpus": 3, "nodes": 3}, "the cluster has not 3 nodes with 0.333333 CPU, 1 GPU for a trial"),
    ],
)
def test_a_trial_that_no_node_holds_is_refused(connected, settings, message):
    with pytest.raises(StudyError, match=message), RayCluster(**settings).start(misbehaves):
        pass


def test_the_command_on_a_cluster(address, tmp_path, capsys):
    small = ["epochs=2", "input_size=8", "holdout=0.2"]
    command = ["search", "small/digits_search", "--budget", "200K", "--rounds", "1", "--batch", "2"]
    command += [word for setting in small for word in ("--set", f"training.{setting}")]
    scores = []
    for name, options in (("ray", ["--executor", "ray", "--address", address]), ("here", [])):
        assert main([*command, "--folder", str(tmp_path / name), *options]) == 0
        scores.append([(r.code, r.value) for r in read_records(tmp_path / name)])
        assert len(list((tmp_path / name / "models").glob("*/result.json"))) == 2
    assert scores[0] == scores[1]
    assert "answer: resnet18_small{" in capsys.readouterr().out


def test_a_cluster_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["search", "small/digits_search", "--executor", "ray", "--address", "127.0.0.1:1", "--folder", "s"]
    assert main(command) == 1
    assert "error: 127.0.0.1:1: no Ray cluster answers there (" in capsys.readouterr().err


def test_workers_that_cannot_begin_a_trial_stop_the_study_which_keeps_its_codes(address, tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("def evaluate(code, seed):\n    return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere

    with Study(tmp_path, AutoBSS(killable(), n_candidates=100), elsewhere.evaluate, RayCluster(address)) as running:
        with pytest.raises(StudyError, match=r"cannot begin a trial: .*No module named 'elsewhere'"):
            running.run()
        assert {r.state for r in running.records} == {"waiting"}


class Ranks:
    """Leaves a file for each process of a trial, and waits."""

    def __init__(self, folder, seconds=0.0):
        self.folder, self.seconds = folder, seconds

    def __call__(self, code, seed):
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES")
        seen = "-".join(os.environ.get(name, "") for name in names)
        Path(self.folder, f"{seen} {os.getpid()}").touch()
        time.sleep(self.seconds)
        return float(seed)


def seen(folder):
    return sorted(p.name.partition(" ")[0] for p in folder.iterdir())


@pytest.mark.slow
def test_a_trial_of_two_gpus_is_trained_by_two_processes_of_torchrun(connected, tmp_path):
    out = updates(RayCluster(cpus=2, gpus=2), Ranks(tmp_path), [7, 8])
    assert sorted(u.value for u in out if isinstance(u, Outcome)) == [7.0, 8.0]
    assert seen(tmp_path) == ["0-2-0-0,1"] * 2 + ["1-2-1-0,1"] * 2
    training = Training({"base": "small/digits", "input_size": 8, "epochs": 8}, str(tmp_path / "models"))
    job = Job(0, Code.parse("resnet18_small{8,8,16,32,1,1,1,1}"), 1)
    (trained,) = RayCluster(cpus=2, gpus=2).outcomes(training, [job])
    assert trained.value > 80, trained


@pytest.mark.slow
def test_an_error_of_one_process_is_the_trials(connected):
    (last,) = (u for u in updates(RayCluster(cpus=2, gpus=2), misbehaves, [3]) if isinstance(u, Outcome))
    assert last.value is None
    assert re.fullmatch(r"RuntimeError: rank [01]: second line", last.error)


@pytest.mark.slow
@pytest.mark.parametrize("lost", long("first", "second"))
def test_a_trial_on_two_nodes_is_begun_again_when_one_is_lost(tmp_path, lost):
    nodes = Nodes(3)
    try:
        ray.init(nodes.address, log_to_driver=False)

        def lose():
            while len(seen(tmp_path)) < 4:
                time.sleep(0.1)
            (group,) = (g for g in ray.util.placement_group_table().values() if g["state"] == "CREATED")
            nodes.remove(group["bundles_to_node_id"][lost == "second"])

        thread = threading.Thread(target=lose)
        thread.start()
        out = updates(RayCluster(cpus=2, gpus=4, nodes=2), Ranks(tmp_path, seconds=15), [5])
        thread.join()
        assert [u.attempt for u in out if isinstance(u, Started)] == [1, 2]
        assert out[-1].value == 5.0
        assert seen(tmp_path) == [f"{rank}-4-{rank % 2}-0,1" for rank in range(4) for _ in range(2)]
    finally:
        ray.shutdown()
        nodes.cluster.shutdown()
