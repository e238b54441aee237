"""A study: a searcher, a ledger, an executor and an evaluator.

In rounds, the codes of a round are a pure function of the scores of the rounds before it, so that a study that was
killed at any moment goes on as if nothing had happened, and is the same on every executor: codes without a score are
scored again, and a round that was written in part is completed with exactly the missing codes. Asynchronously, a code
is asked for whenever a worker is free, given the scores so far and the codes that are being scored.

A trial that fails (an exception, NaN, a dead process, too long) is tried once more and then left out: the study goes on
with the scores that it has, and the searcher steers around the code.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from autobss_zoo.codes import Code

from ..errors import SpaceError, StudyError
from ..evaluators.evaluator import Evaluator, as_evaluator
from ..executors import Executor, InProcess, Job, Outcome, Started, in_a_line
from ..searchers.searcher import BATCH, Observation, Searcher
from .journal import Journal, here
from .ledger import Ledger, Record

ATTEMPTS = 2
_LONGEST_WAIT = 60.0  # seconds between attempts to write the ledger

T = TypeVar("T")


class Study:
    """Run a search and keep it on disk.

    Args:
        folder: The study's folder. If it holds a study already, that one is resumed.
        searcher: Proposes the codes.
        evaluate: An evaluator, or a function: `evaluate(code, seed)` returns the score. For worker processes it must be
            picklable.
        executor: Runs the evaluations; in this process, one after the other, when None.
        rounds, batch: Rounds, and codes in each: 4 and 16 in the paper.
        storage: An SQLAlchemy URL of a PostgreSQL or MySQL database; study.db in the folder when None.
        on_event: Called with a line of text whenever something happened that a user wants to know.
        asynchronous: Ask for a code whenever a worker is free, instead of for a round when the round before is done.

    Raises:
        StudyError: If another driver runs the study, or the folder holds another one.

    Examples:
        >>> with Study("my-study", AutoBSS(space), evaluate) as study:
        ...     study.run()
        ...     print(study.recommend())
    """

    def __init__(
        self,
        folder: str | Path,
        searcher: Searcher,
        evaluate: Evaluator | Callable[[Code, int], float],
        executor: Executor | None = None,
        rounds: int = 4,
        batch: int = BATCH,
        storage: str | None = None,
        on_event: Callable[[str], None] | None = None,
        asynchronous: bool = False,
    ) -> None:
        for name, value in (("rounds", rounds), ("batch", batch)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        self.searcher, self.rounds, self.batch, self.asynchronous = searcher, rounds, batch, asynchronous
        self._evaluator, self._executor = as_evaluator(evaluate), executor or InProcess()
        self.on_event = on_event or (lambda text: None)
        self._exhausted = False
        self.ledger = Ledger(Path(folder), searcher.space, self.identity(), storage, searcher.direction)
        self._journal = Journal(Path(folder))

    def identity(self) -> dict[str, Any]:
        """What a resumed study must have in common with the one that was started."""
        return {
            "space": self.searcher.space.describe(),
            "searcher": self.searcher.settings(),
            "batch": self.batch,
            "evaluator": self._evaluator.describe(),
            **({"asynchronous": True} if self.asynchronous else {}),
        }

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()

    @property
    def records(self) -> list[Record]:
        """The trials so far."""
        return self.ledger.records()

    def enqueue(self, code: Code) -> None:
        """Have a code, such as the hand-made one, scored next: in the next round, in one of its places.

        Raises:
            SpaceError: If the code is not in the space.
        """
        self.ledger.enqueue(code)

    def tell(self, code: Code, value: float) -> None:
        """Record a score that is known already, before the first round is proposed.

        Raises:
            SpaceError: If the code is not in the space.
            StudyError: If it has a trial, or the study is under way.
            ValueError: If the score is not finite.
        """
        self.searcher.space.check(code)
        if not math.isfinite(value):
            raise ValueError(f"{code}: expected a finite score, got {value!r}")
        if any(r.round >= 0 or r.code == code for r in self.records):
            raise StudyError(f"{code}: known scores are told once, before the first round")
        self.ledger.add(code, -1, "known", 0, float(value))

    def recommend(self) -> Code:
        """The searcher's answer.

        Raises:
            ValueError: If there is no score yet.
        """
        return self.searcher.recommend(r.observation for r in self.records if r.state != "waiting")

    def run(self) -> Code:
        """Score the codes that are left.

        Returns:
            The searcher's answer.

        Raises:
            ValueError: If no code could be scored.
        """
        self._journal.write("driver", "resumed" if self.records else "started", where=here())
        try:
            self._run()
            answer = self.recommend()
        except KeyboardInterrupt:
            self._journal.write("end", "interrupted")
            raise
        except Exception as error:
            self._journal.write("end", in_a_line(error))
            raise
        self._journal.write("end", "finished")
        return answer

    def _run(self) -> None:
        self._evaluator.prepare()
        with self._executor.start(self._evaluator) as workers:
            submitted: dict[int, Record] = {}
            while True:
                for record in self._due(submitted, workers.slots):
                    workers.submit(Job(record.number, record.code, record.seed))
                    submitted[record.number] = record
                if not submitted:
                    return
                for update in workers.wait():
                    if isinstance(update, Started):
                        self._note_start(submitted[update.id], update)
                    else:
                        self._finish(submitted.pop(update.id), update)

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write to the ledger; while that is impossible, as on a full disk, wait: no score that is known is lost."""
        wait = 1.0
        while True:
            try:
                return write()
            except (SQLAlchemyError, StorageInternalError, OSError) as error:
                cause = in_a_line(error.__cause__ or error)
                self._say("fault", f"the ledger cannot be written ({cause}): tried again in {wait:g} s")
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _due(self, submitted: Container[int], slots: int) -> Iterator[Record]:
        """The trials to submit now; new ones as soon as they are written."""
        records = self._patiently(self.ledger.records)
        waiting = [r for r in records if r.state == "waiting"]
        if self.asynchronous or submitted:
            yield from self._left([r for r in waiting if r.number not in submitted])
        if self.asynchronous:
            for _ in range(slots - len(waiting)):
                yield from self._ask()
        elif not submitted:
            done = Counter(r.round for r in records if r.state != "waiting")
            for round in (r for r in range(self.rounds) if done[r] < self.batch):
                if due := self._open(round):
                    yield from due
                    return

    def _left(self, records: list[Record]) -> list[Record]:
        """Without those that a killed driver found to have failed too often."""
        for number in (r.number for r in records if len(r.errors) >= ATTEMPTS):
            self._patiently(partial(self.ledger.finish, number, None))
        return [r for r in records if len(r.errors) < ATTEMPTS]

    def _open(self, round: int) -> Iterable[Record]:
        """A round's trials that have no score, the missing ones written as they are taken; none if there are none."""
        records = self._patiently(self.ledger.records)
        mine = [r for r in records if r.round == round]
        if len(mine) < self.batch and not any(r.source == "searcher" for r in mine):
            mine += self._claim(round, self.batch - len(mine))  # a round that is under way takes no more
        enqueued = [r.code for r in mine if r.source == "enqueued"]
        missing: dict[Code, int] = {}
        if len(mine) < self.batch:
            before = [r.observation for r in records if r.round < round]
            codes = self._propose(before, round, self.batch - len(enqueued), enqueued)
            seeds = itertools.count(round * self.batch + len(enqueued))
            written = {r.code for r in mine}
            missing = {code: seed for code, seed in zip(codes, seeds, strict=False) if code not in written}
        waiting = self._left([r for r in mine if r.state == "waiting"])
        if n := len(waiting) + len(missing):
            self._say("round", f"round {round + 1} of {self.rounds}: {n} codes to score")
        new = (self._add(code, round, seed) for code, seed in missing.items())
        return itertools.chain(waiting, new) if n else ()

    def _ask(self) -> list[Record]:
        """The next trial of an asynchronous study, if there is one."""
        records = self._patiently(self.ledger.records)
        number = sum(r.round >= 0 for r in records)
        if number >= self.rounds * self.batch:
            return []
        round = number // self.batch
        if claimed := self._claim(round, 1):
            return claimed
        before = [r.observation for r in records if r.state != "waiting"]
        pending = [r.code for r in records if r.state == "waiting"]
        return [self._add(code, round, number) for code in self._propose(before, round, 1, pending)]

    def _add(self, code: Code, round: int, seed: int) -> Record:
        """Write a trial, once."""

        def written() -> Record | None:
            return next((r for r in reversed(self.ledger.records()) if r.code == code), None)

        def write() -> Record:
            if written() is None:  # else it was, although an error was reported
                self.ledger.add(code, round, "searcher", seed)
            return cast(Record, written())

        return self._patiently(write)

    def _claim(self, round: int, most: int) -> list[Record]:
        """Give trials that users enqueued to a round."""
        known = {r.number for r in self._patiently(self.ledger.records)}

        def claim() -> list[Record]:
            """Those that were claimed before a write failed count."""
            count = sum(r.number not in known for r in self.ledger.records())
            for error in self.ledger.claim_enqueued(round, most - count):
                self._say("fault", error)
            return [r for r in self.ledger.records() if r.number not in known]

        return self._patiently(claim)

    def _propose(self, before: list[Observation], round: int, n: int, pending: list[Code]) -> list[Code]:
        """Ask the searcher, which has what was kept."""
        if self._exhausted:
            return []
        for name, compute in self.searcher.kept(before, round).items():
            kept = self.ledger.kept(name)
            if kept is None:
                array = compute()
                self._patiently(partial(self.ledger.keep, name, array))
            else:
                self.searcher.restore(name, kept)
        try:
            return self.searcher.propose(before, round, n, pending)
        except SpaceError as error:
            self._exhausted = True
            self._say("round", str(error))
            return []

    def _note_start(self, record: Record, started: Started) -> None:
        if started.attempt > 1:
            lost = f"{record.code}: its worker was lost; begun again on {started.where}"
            self._say("fault", lost, record.number)
        attempt = len(record.errors) + started.attempt
        self._journal.write("start", f"attempt {attempt}", record.number, started.where)

    def _finish(self, record: Record, outcome: Outcome) -> None:
        value, error = outcome.value, outcome.error
        if value is not None and not math.isfinite(value):
            value, error = None, f"the score is {value}"
        errors = [*record.errors, error] if error is not None else record.errors
        last = len(errors) >= ATTEMPTS
        self._patiently(lambda: self.ledger.finish(record.number, value, outcome.seconds, errors, last))
        if value is None:
            then = "left out" if last else "tried once more"
            self._say("fault", f"{record.code} failed ({error}): {then}", record.number)
        else:
            done = [r for r in self._patiently(self.ledger.records) if r.value is not None]
            best = max(done, key=lambda r: self.searcher.signed(r.value))  # type: ignore[arg-type]
            text = f"{record.code} {value:.6g} in {outcome.seconds:.1f} s; best {best.value:.6g} of {len(done)}"
            self._say("score", text, record.number)

    def _say(self, kind: str, text: str, trial: int | None = None) -> None:
        self._journal.write(kind, text, trial)
        self.on_event(text)
