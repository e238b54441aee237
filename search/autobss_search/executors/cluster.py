"""Scoring on a Ray cluster. Needs the extra `autobss-zoo[ray]`.

A trial is a Ray task: where it runs, when, and again after its worker or node was lost, is Ray's doing. A trial of
several GPUs or nodes has a placement group, and torchrun's engine in it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

from ..errors import StudyError
from ..evaluators.evaluator import Evaluator
from . import Executor, Job, Outcome, Scorer, Started, Workers, attempt, check_timeout, in_a_line
from .ranks import run_ranks

_TICK = 0.2  # seconds between looks at what has started
_PATIENCE = 30.0  # seconds until Ray knows that a node is gone


class RayCluster(Executor):
    """Jobs as tasks on a Ray cluster.

    Nodes need this package, and the folder that networks are kept in. A job whose worker or node is lost is begun again
    by Ray; training goes on from its last checkpoint.

    Args:
        address: The cluster: "auto" for the one that this machine belongs to, "ray://host:port", or None for
            RAY_ADDRESS, or else a new Ray on this machine. Ignored where Ray is connected already.
        cpus, gpus: Of each trial, in all. A trial of several GPUs has a process for each.
        nodes: Over how many nodes each trial is spread evenly.
        timeout: Seconds after which an attempt is stopped and has failed; never when None.
        retries: How often a job is begun again after its worker or node was lost.

    Raises:
        ValueError: If a number is out of its range, or GPUs cannot be divided among nodes and processes.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
        nodes: int = 1,
        timeout: float | None = None,
        retries: int = 3,
    ) -> None:
        for name, value, least in (("cpus", cpus, 0), ("gpus", gpus, 0), ("nodes", nodes, 1), ("retries", retries, 0)):
            if not value >= least:  # nor NaN
                raise ValueError(f"{name}: expected at least {least}, got {value!r}")
        if (gpus > 1 or nodes > 1) and (gpus % nodes or gpus % 1):
            raise ValueError(f"gpus: expected a multiple of {nodes} nodes, or a share of one GPU, got {gpus!r}")
        check_timeout(timeout)
        self.address, self.cpus, self.gpus, self.nodes = address, cpus, gpus, nodes
        self.timeout, self.retries = timeout, retries

    @property
    def bundle(self) -> dict[str, float]:
        """What a trial has of each of its nodes."""
        return {"CPU": self.cpus / self.nodes, "GPU": self.gpus / self.nodes}

    @property
    def processes(self) -> int:
        """A trial's processes on each of its nodes."""
        return max(1, int(self.gpus / self.nodes))

    @contextmanager
    def start(self, evaluator: Evaluator) -> Iterator[Workers]:
        """As of `Executor`.

        Raises:
            ConnectionError: If there is no such cluster.
            StudyError: If the cluster has no room for a trial; from `Workers.wait`, if its workers cannot begin any.
        """
        import ray

        connected = ray.is_initialized()
        if not connected:
            _check_address(self.address or os.environ.get("RAY_ADDRESS") or "auto")
            ray.init(self.address, log_to_driver=False)
        try:
            if not self.capacity():
                wanted = ", ".join(f"{amount:g} {name}" for name, amount in self.bundle.items() if amount)
                raise StudyError(f"the cluster has not {self.nodes} nodes with {wanted} for a trial; start such nodes")
            workers = _Trials(self, evaluator)
            try:
                yield workers
            finally:
                workers.stop()
        finally:
            if not connected:
                ray.shutdown()

    def capacity(self) -> int:
        """How many trials the cluster's nodes hold now."""
        import ray

        held = []
        for node in ray.nodes():
            room = [node["Resources"].get(name, 0) // amount for name, amount in self.bundle.items() if amount]
            held.append(int(min(room, default=1)) if node["Alive"] else 0)
        if self.nodes == 1:
            return sum(held)
        # The nodes of a trial are different ones: t trials fit if they find t x nodes places, at most t on each node.
        trials = 0
        while sum(min(n, trials + 1) for n in held) >= (trials + 1) * self.nodes:
            trials += 1
        return trials


def _check_address(address: str) -> None:
    """Raise a ConnectionError if nobody answers there, which Ray itself finds out in minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            message = f"{address}: no Ray cluster answers there ({error}); `ray start --head` starts one"
            raise ConnectionError(message) from None


@dataclass
class _Flight:
    """A job on its way.

    Attributes:
        job: The job.
        ticket: The submission's number: a study submits a failed job again.
        group: Its placement group, if it has one.
        since: When its latest attempt began, by time.monotonic; None before.
    """

    job: Job
    ticket: int
    group: Any
    since: float | None = None


class _Trials(Workers):
    def __init__(self, cluster: RayCluster, evaluator: Evaluator) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._cluster, self._token, self._evaluator = cluster, uuid.uuid4().hex, ray.put(evaluator)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        board = ray.remote(_Board).options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        self._board: Any = board.remote()
        self._flights: dict[Any, _Flight] = {}
        self._tickets = itertools.count()
        self._begun = False

    @property
    def slots(self) -> int:
        return max(1, self._cluster.capacity())

    def submit(self, job: Job) -> None:
        import ray

        cluster, ticket, group = self._cluster, next(self._tickets), None
        if cluster.nodes > 1 or cluster.processes > 1:
            strategy = "STRICT_SPREAD" if cluster.nodes > 1 else "STRICT_PACK"
            group = ray.util.placement_group([cluster.bundle] * cluster.nodes, strategy)
        again = {"max_retries": cluster.retries, "retry_exceptions": [_NodeLostError]}
        task = _task(_trial, cluster.bundle, group, 0, name=f"trial {job.id}", **again)
        room = (cluster.bundle, cluster.nodes, cluster.processes)
        ref = task.remote(self._evaluator, self._token, job, ticket, self._board, *room)
        self._flights[ref] = _Flight(job, ticket, group)

    def wait(self) -> list[Started | Outcome]:
        import ray

        while True:
            done, _ = ray.wait(list(self._flights), timeout=_TICK)
            updates: list[Started | Outcome] = []
            flights = {flight.ticket: flight for flight in self._flights.values()}
            for ticket, where, begun in ray.get(self._board.take.remote()):
                self._begun = True
                if ticket in flights:
                    flights[ticket].since = time.monotonic()
                    updates.append(Started(flights[ticket].job.id, where, begun))
            updates += [self._land(ref) for ref in done]
            updates += [self._stop_late(ref) for ref in list(self._flights) if self._late(ref)]
            if updates:
                return updates

    def _land(self, ref: Any) -> Outcome:
        import ray

        flight = self._forget(ref)
        try:
            return ray.get(ref)
        except ray.exceptions.RayError as error:
            cause = in_a_line(getattr(error, "cause", None) or error)
            if not self._begun and isinstance(
                error, (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError)
            ):
                # What a trial raises is its outcome: this is of all trials, such as a module that workers do not have.
                raise StudyError(f"the cluster's workers cannot begin a trial: {cause}") from None
            seconds = time.monotonic() - flight.since if flight.since is not None else 0.0
            return Outcome(flight.job.id, None, seconds, cause)

    def _late(self, ref: Any) -> bool:
        since, timeout = self._flights[ref].since, self._cluster.timeout
        return since is not None and timeout is not None and time.monotonic() > since + timeout

    def _stop_late(self, ref: Any) -> Outcome:
        import ray

        ray.cancel(ref, force=True)
        flight, timeout = self._forget(ref), self._cluster.timeout or 0.0
        return Outcome(flight.job.id, None, timeout, f"no score within {timeout:g} s: stopped")

    def _forget(self, ref: Any) -> _Flight:
        import ray

        flight = self._flights.pop(ref)
        if flight.group is not None:
            ray.util.remove_placement_group(flight.group)
        return flight

    def stop(self) -> None:
        import ray

        for ref in list(self._flights):
            ray.cancel(ref, force=True)
            self._forget(ref)
        ray.kill(self._board)


class _Board:
    """An actor that hears which attempts have begun, also those that Ray begins by itself."""

    def __init__(self) -> None:
        self._attempts: Counter[int] = Counter()
        self._news: list[tuple[int, str, int]] = []

    def start(self, ticket: int, where: str) -> None:
        self._attempts[ticket] += 1
        self._news.append((ticket, where, self._attempts[ticket]))

    def take(self) -> list[tuple[int, str, int]]:
        """Each ticket that has begun, where, and how often it has, since the last time."""
        news, self._news = self._news, []
        return news


class _NodeLostError(Exception):
    """Another node of a trial is gone; Ray begins the trial again."""


def _task(function: Any, bundle: dict[str, float], group: Any, index: int, **options: Any) -> Any:
    """A function as a task that takes a bundle: the one of that index of the group, if there is a group."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    if group is not None:
        options["max_calls"] = 1  # torchrun's processes and sockets end with the task's
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
    return ray.remote(num_cpus=bundle["CPU"], num_gpus=bundle["GPU"], **options)(function)


_SCORERS: dict[str, Scorer] = {}
"""What this worker process has opened, by the token of the cluster's workers: Ray's tasks share processes."""


def _trial(
    evaluator: Evaluator,
    token: str,
    job: Job,
    ticket: int,
    board: Any,
    bundle: dict[str, float],
    nodes: int,
    processes: int,
) -> Outcome:
    """The task that scores a job: alone, or as the first node of several."""
    import ray

    context = ray.get_runtime_context()
    where = f"{ray.util.get_node_ip_address()}, node {context.get_node_id()[:8]}, process {os.getpid()}"
    board.start.remote(ticket, where)
    if nodes == 1 and processes == 1:
        return _SCORERS.setdefault(token, Scorer(evaluator))(job)
    group = ray.util.get_current_placement_group()
    endpoint = f"{ray.util.get_node_ip_address()}:{_free_port()}"
    others = [
        _task(_join, bundle, group, i, max_retries=0).remote(evaluator, job, endpoint, nodes, i, processes)
        for i in range(1, nodes)
    ]
    result: Future[Outcome] = Future()
    run = partial(_join, evaluator, job, endpoint, nodes, 0, processes)
    Thread(target=lambda: result.set_result(run()), daemon=True).start()
    while not result.done():
        wait([result], timeout=1.0)
        _check(others, timeout=0.0)
    if result.result().value is None:  # perhaps since another node is gone, which is known a little later
        _check(others, timeout=_PATIENCE)
    return result.result()


def _join(evaluator: Evaluator, job: Job, endpoint: str, nodes: int, index: int, processes: int) -> Outcome:
    """A node's part of a trial; the task of a trial's other nodes."""
    return attempt(job, lambda: run_ranks(evaluator, job, endpoint, nodes, index, processes))


def _check(others: list[Any], timeout: float) -> None:
    """Raise a _NodeLostError if the task of another node is lost, and end this node's processes."""
    import ray

    for ref in ray.wait(others, num_returns=len(others), timeout=timeout)[0] if others else []:
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            for process in multiprocessing.active_children():
                process.kill()
            raise _NodeLostError(in_a_line(error)) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]
