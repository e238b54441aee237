"""Scoring in worker processes of this machine, one a GPU where there are GPUs."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from typing_extensions import override

from ..evaluators.evaluator import Evaluator
from . import Executor, Job, Outcome, Scorer, Started, Workers, check_timeout

_START_UP = 600.0
"""Seconds within which a worker that is not stuck has begun."""


class LocalProcesses(Executor):
    """Jobs in worker processes of this machine.

    With GPUs each worker sees one of them (CUDA_VISIBLE_DEVICES); more workers than GPUs share them. A worker that dies
    fails the job it had and is replaced. Workers end with the process that started them, even if that is killed.

    Args:
        workers: How many; as many as there are GPUs, or one, when None.
        timeout: Seconds after which a job is stopped and has failed; never when None.

    Raises:
        ValueError: If one of them is not positive.
    """

    def __init__(self, workers: int | None = None, timeout: float | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers: expected a positive integer, got {workers!r}")
        check_timeout(timeout)
        self._gpus = visible_gpus()
        self.workers, self.timeout = workers or max(1, len(self._gpus)), timeout

    @contextmanager
    @override
    def start(self, evaluator: Evaluator) -> Iterator[Workers]:
        gpus = [self._gpus[place % len(self._gpus)] if self._gpus else None for place in range(self.workers)]
        workers = _Processes(evaluator, gpus, self.timeout)
        try:
            yield workers
        finally:
            workers.stop()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (listed := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in listed.split(",") if name.strip()]
    import torch

    return [str(i) for i in range(torch.cuda.device_count())]


@dataclass
class _Worker:
    """A process, and what it is doing.

    Attributes:
        process, pipe: The process; the way to it.
        gpu: What it may use.
        job, since: What it scores, and since when by time.monotonic; None if it is free.
        begun: Whether it has the job in hand; before, it may still be starting.
    """

    process: Any
    pipe: Connection
    gpu: str | None
    job: Job | None = None
    since: float = 0.0
    begun: bool = False

    def ends(self, timeout: float) -> float:
        """When its time is over: a new process imports before it begins, which the limit of a job does not count."""
        return self.since + (timeout if self.begun else max(timeout, _START_UP))


class _Processes(Workers):
    def __init__(self, evaluator: Evaluator, gpus: list[str | None], timeout: float | None) -> None:
        self._evaluator, self._timeout = evaluator, timeout
        self._slots, self._vacant = len(gpus), gpus[::-1]
        self._jobs: deque[Job] = deque()
        self._workers: list[_Worker] = []
        self._started: list[Started | Outcome] = []

    @property
    def slots(self) -> int:
        return self._slots

    def submit(self, job: Job) -> None:
        self._jobs.append(job)
        self._begin()

    def wait(self) -> list[Started | Outcome]:
        self._begin()
        if self._started:
            started, self._started = self._started, []
            return started
        heard: list[Started | Outcome] = []
        while not heard:
            busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
            left = None
            if self._timeout is not None:
                left = max(0.0, min(w.ends(self._timeout) for w in busy.values()) - time.monotonic())
            if ready := wait(list(busy), left):
                heard += filter(None, [self._hear(busy[pipe]) for pipe in busy if pipe in ready])
            elif self._timeout is not None:
                late = [w for w in busy.values() if time.monotonic() >= w.ends(self._timeout)]
                heard += [self._lose(worker, f"no score within {self._timeout:g} s: stopped") for worker in late]
        self._begin()  # so that no worker waits while the outcomes are written
        return heard

    def _begin(self) -> None:
        """Give waiting jobs to free workers."""
        while self._jobs:
            worker = next((w for w in self._workers if w.job is None), None)
            if worker is None and not self._vacant:
                break
            worker = worker or self._hire()
            job = self._jobs.popleft()
            worker.job, worker.since, worker.begun = job, time.monotonic(), False
            try:
                worker.pipe.send(job)
            except OSError:  # it died while it was free
                self._jobs.appendleft(job)
                self._dismiss(worker)
                continue
            where = f"process {worker.process.pid}" + (f", GPU {worker.gpu}" if worker.gpu is not None else "")
            self._started.append(Started(job.id, where))

    def _hire(self) -> _Worker:
        gpu = self._vacant.pop()
        context, (here, there) = _context(), multiprocessing.Pipe()
        visible = {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
        process = context.Process(target=_work, args=(self._evaluator, there, {**os.environ, **visible}), daemon=True)
        process.start()
        there.close()
        self._workers.append(worker := _Worker(process, here, gpu))
        return worker

    def _hear(self, worker: _Worker) -> Outcome | None:
        """A busy worker has begun (None), has a score, or has died."""
        try:
            outcome = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            return self._lose(worker, f"the worker process died with exit code {worker.process.exitcode}")
        if outcome is None:
            worker.since, worker.begun = time.monotonic(), True
        else:
            worker.job = None
        return outcome

    def _lose(self, worker: _Worker, error: str) -> Outcome:
        assert worker.job is not None
        self._dismiss(worker)
        return Outcome(worker.job.id, None, time.monotonic() - worker.since, error)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._vacant.append(worker.gpu)
        worker.pipe.close()
        worker.process.kill()
        worker.process.join()

    def stop(self) -> None:
        for worker in list(self._workers):
            self._dismiss(worker)


def _context() -> Any:
    """How processes are started: forked from a clean server that has torch already, where there is such a thing.

    Forks of this process could hang, since it may have used torch; processes of their own would import it each.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "timm"])
    return context


def _work(evaluator: Evaluator, pipe: Connection, environment: Mapping[str, str]) -> None:
    """A worker: score jobs until the pipe is closed or the parent is gone."""
    os.environ.clear()  # a fork server's is that of its start
    os.environ.update(environment)
    # The system's: by the fork server's, the data workers of each training would have one of their own, which stays
    # when a trial is killed.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    end_with_parent()
    score = Scorer(evaluator)
    try:
        while True:
            job = pipe.recv()
            pipe.send(None)  # it has begun
            pipe.send(score(job))
    except (EOFError, OSError, KeyboardInterrupt):
        pass


def end_with_parent() -> None:
    """End this process when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()
