"""Where codes are scored: in this process, in processes of this machine (processes.py), on a Ray cluster (cluster.py).

A study hands jobs to an executor's workers and hears what becomes of them. A job that fails is an outcome, too; nothing
that a job does stops the others, or the study.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from typing_extensions import override

from autobss_zoo.codes import Code

from ..evaluators.evaluator import Evaluator, as_evaluator


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


class Started(NamedTuple):
    """A job has begun.

    Attributes:
        id: The trial's number.
        where: The worker, for people.
        attempt: 1; more when the executor has begun it again because its worker was lost.
    """

    id: int
    where: str
    attempt: int = 1


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        id: The trial's number.
        value: The score; None if it failed.
        seconds: How long it took.
        error: Why it failed, one line.
        exception: What was raised, where that was in the driver's process.
    """

    id: int
    value: float | None
    seconds: float
    error: str | None = None
    exception: Exception | None = None


class Workers(ABC):
    """What an executor has started to score codes with one evaluator."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many jobs can be scored side by side."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Have a job scored as soon as a worker is free."""

    @abstractmethod
    def wait(self) -> list[Started | Outcome]:
        """Wait until something happened to the jobs that were submitted: each has one outcome in the end."""


class Executor(ABC):
    """Where codes are scored."""

    @abstractmethod
    def start(self, evaluator: Evaluator) -> AbstractContextManager[Workers]:
        """Workers that score with the evaluator; at the end of the context they and their jobs are stopped."""

    def outcomes(self, evaluator: Evaluator, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Score every job and yield the outcomes as they come."""
        with self.start(evaluator) as workers:
            left = 0
            for job in jobs:
                workers.submit(job)
                left += 1
            while left:
                for update in workers.wait():
                    if isinstance(update, Outcome):
                        left -= 1
                        yield update


class InProcess(Executor):
    """One job after the other in this process."""

    @contextmanager
    @override
    def start(self, evaluator: Evaluator) -> Iterator[Workers]:
        yield _Here(evaluator)


class _Here(Workers):
    slots = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._score = Scorer(evaluator)
        self._jobs: deque[Job] = deque()
        self._begun = False

    def submit(self, job: Job) -> None:
        self._jobs.append(job)

    def wait(self) -> list[Started | Outcome]:
        self._begun = not self._begun
        if self._begun:
            return [Started(self._jobs[0].id, "this process")]
        job = self._jobs.popleft()
        return [attempt(job, lambda: self._score.score(job), here=True)]


class Scorer:
    """A worker's copy of an evaluator, or of a plain function, which is opened before its first score."""

    def __init__(self, evaluate: Evaluator | Callable[[Code, int], float]) -> None:
        self._evaluator, self._open = as_evaluator(evaluate), False

    def __call__(self, job: Job) -> Outcome:
        """Score a job here; whatever that raises but an interrupt is its outcome."""
        return attempt(job, lambda: self.score(job))

    def score(self, job: Job) -> float:
        """The score of a job."""
        if not self._open:
            self._evaluator.open()
            self._open = True
        return self._evaluator.score(job.code, job.seed)


def attempt(job: Job, score: Callable[[], Any], here: bool = False) -> Outcome:
    """The outcome of a job whose score a function returns; `here` is the driver's process, where it has the error."""
    start = time.perf_counter()
    try:
        value = score()
        if isinstance(value, (str, bytes, bool)):  # which float() might take
            raise TypeError(f"expected a number as the score, got {value!r}")
        return Outcome(job.id, float(value), time.perf_counter() - start)
    except Exception as error:  # a user's own code can raise anything
        return Outcome(job.id, None, time.perf_counter() - start, in_a_line(error), error if here else None)


def in_a_line(error: BaseException) -> str:
    """An error's type and the first line of its text."""
    return traceback.format_exception_only(error)[-1].strip().partition("\n")[0]


def check_timeout(timeout: float | None) -> None:
    """Raise a ValueError unless it is None or positive."""
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout: expected a positive number of seconds, got {timeout!r}")
