"""Where codes are scored: in this process, or in local worker processes.

An executor is called with a function and jobs and yields an outcome for each job as it is done, in any order. A job
that fails is an outcome, too; nothing that a job does stops the others.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from autobss_zoo.codes import Code


class Job(NamedTuple):
    """A code to score.

    Attributes:
        id: The trial's number.
        code: The code.
        seed: Of its training.
    """

    id: int
    code: Code
    seed: int


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        id: The trial's number.
        value: The score; None if it failed.
        seconds: How long it took.
        error: Why it failed, one line.
    """

    id: int
    value: float | None
    seconds: float
    error: str | None = None


Evaluator = Callable[[Code, int], float]


class Executor(Protocol):
    """Runs jobs."""

    def __call__(self, evaluate: Evaluator, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Score every job and yield the outcomes as they come."""


def score(evaluate: Evaluator, job: Job) -> Outcome:
    """Run one job here; whatever it raises but an interrupt is its outcome."""
    start = time.perf_counter()
    try:
        value: Any = evaluate(job.code, job.seed)
        return Outcome(job.id, float(value), time.perf_counter() - start)
    except Exception as error:  # a user's own code can raise anything
        text = traceback.format_exception_only(error)[-1].strip()
        return Outcome(job.id, None, time.perf_counter() - start, text)


def in_process(evaluate: Evaluator, jobs: Iterable[Job]) -> Iterator[Outcome]:
    """The executor that scores one job after the other in this process."""
    return (score(evaluate, job) for job in jobs)


class LocalProcesses:
    """The executor that scores jobs in worker processes of this machine.

    A worker that dies fails the job it had and is replaced. Workers end with the process that started them, even if
    that is killed.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers: expected a positive integer, got {workers!r}")
        self.workers = workers

    def __call__(self, evaluate: Evaluator, jobs: Iterable[Job]) -> Iterator[Outcome]:
        todo = list(jobs)[::-1]
        running: dict[Connection, tuple[Any, Job, float]] = {}
        try:
            idle = [_start(evaluate) for _ in range(min(self.workers, len(todo)))]
            while todo or running:
                while todo and idle:
                    pipe, process = idle.pop()
                    job = todo.pop()
                    running[pipe] = process, job, time.perf_counter()
                    pipe.send(job)
                ready = wait(list(running))
                for pipe in [p for p in running if p in ready]:
                    process, job, start = running.pop(pipe)
                    try:
                        outcome = pipe.recv()
                        idle.append((pipe, process))
                    except (EOFError, OSError):
                        process.join()
                        error = f"the worker process died with exit code {process.exitcode}"
                        outcome = Outcome(job.id, None, time.perf_counter() - start, error)
                        if todo:
                            idle.append(_start(evaluate))
                    yield outcome
            for pipe, _ in idle:
                pipe.close()  # at which the worker ends
        finally:
            for process, _, _ in running.values():
                process.kill()


def _start(evaluate: Evaluator) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("spawn")  # forks of a process that has used torch can hang
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(evaluate, there), daemon=True)
    process.start()
    there.close()
    return here, process


def _work(evaluate: Evaluator, pipe: Connection) -> None:
    """A worker: score jobs until the pipe is closed or the parent is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            pipe.send(score(evaluate, pipe.recv()))
    except (EOFError, OSError, KeyboardInterrupt):
        pass


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
