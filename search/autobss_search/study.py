"""A study: a searcher, a ledger, an executor and an evaluator, driven round by round.

The unit is the round. A round's codes are a pure function of the scores of the rounds before it, so that a study that
was killed at any moment goes on as if nothing had happened: codes without a score are scored again, and a round that
was written in part is completed with exactly the missing codes.

A trial that fails (an exception, NaN, a dead process) is tried once more and then left out: the round goes on with the
scores that it has, and the searcher steers around the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from autobss_zoo.codes import Code

from .autobss import AutoBSS
from .errors import StudyError
from .executors import Evaluator, Executor, Job, Outcome, in_process
from .ledger import Ledger, Record
from .searcher import BATCH, Searcher

ATTEMPTS = 2


class Study:
    """Run a search and keep it on disk.

    Args:
        folder: The study's folder. If it holds a study already, that one is resumed.
        searcher: Proposes the codes; its own observations are not used.
        evaluate: `evaluate(code, seed)` returns the score. For worker processes it must be picklable.
        executor: Runs the evaluations; in this process, one after the other, when None.
        rounds, batch: Rounds, and codes in each: 4 and 16 in the paper.
        storage: An SQLAlchemy URL of a PostgreSQL or MySQL database; study.db in the folder when None.
        on_event: Called with a line of text whenever something happened that a user wants to know.

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
        evaluate: Evaluator,
        executor: Executor | None = None,
        rounds: int = 4,
        batch: int = BATCH,
        storage: str | None = None,
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        for name, value in (("rounds", rounds), ("batch", batch)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        self.searcher, self.rounds, self.batch = searcher, rounds, batch
        self._evaluate, self._executor = evaluate, executor or in_process
        self.on_event = on_event or (lambda text: None)
        self.ledger = Ledger(Path(folder), searcher.space, self.identity(), storage, searcher.direction)

    def identity(self) -> dict[str, Any]:
        """What a resumed study must have in common with the one that was started."""
        describe = getattr(self._evaluate, "describe", None)
        return {
            "space": self.searcher.space.describe(),
            "searcher": self.searcher.settings(),
            "batch": self.batch,
            "evaluator": describe() if describe else getattr(self._evaluate, "__qualname__", "unnamed"),
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
        """Have a code, such as the hand-made one, scored in the next round in one of its places.

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
        records = self.records
        if any(r.round >= 0 for r in records) or code in {r.code for r in records}:
            raise StudyError(f"{code}: known scores are told once, before the first round")
        self.ledger.add(code, -1, "known", 0, float(value))

    def recommend(self) -> Code:
        """The searcher's answer.

        Raises:
            ValueError: If there is no score yet.
        """
        return self.searcher.recommend(r.observation for r in self.records if r.state != "waiting")

    def run(self) -> Code:
        """Run the rounds that are left.

        Returns:
            The searcher's answer.

        Raises:
            ValueError: If no code could be scored.
        """
        for round in range(self.rounds):
            waiting = self._open(round)
            if waiting:
                self.on_event(f"round {round + 1} of {self.rounds}: {len(waiting)} codes to score")
            while waiting:
                for record in [r for r in waiting if len(r.errors) >= ATTEMPTS]:  # killed while it was written
                    self.ledger.finish(record.number, None, 0.0, None, last=True)
                jobs = [Job(r.number, r.code, r.seed) for r in waiting if len(r.errors) < ATTEMPTS]
                for outcome in self._executor(self._evaluate, jobs):
                    self._finish(outcome)
                waiting = [r for r in self.records if r.round == round and r.state == "waiting"]
        return self.recommend()

    def _open(self, round: int) -> list[Record]:
        """Write what is missing of a round's trials; those that wait for a score."""
        records = self.records
        mine = [r for r in records if r.round == round]
        if len(mine) < self.batch:
            if not any(r.source == "searcher" for r in mine):  # a round that is under way takes no more
                for error in self.ledger.claim_enqueued(round, self.batch - len(mine)):
                    self.on_event(error)
                mine = [r for r in self.records if r.round == round]
            enqueued = [r.code for r in mine if r.source == "enqueued"]
            if len(enqueued) < self.batch:
                self._prepare(round, records)
                before = [r.observation for r in records if r.round < round]
                codes = self.searcher.propose(before, round, self.batch - len(enqueued), enqueued)
                written = {r.code for r in mine}
                for place, code in enumerate(codes):
                    if code not in written:
                        self.ledger.add(code, round, "searcher", round * self.batch + len(enqueued) + place)
        return [r for r in self.records if r.round == round and r.state == "waiting"]

    def _prepare(self, round: int, records: list[Record]) -> None:
        """Keep the candidate set and the refining matrix, and use the kept set: libraries' random streams change."""
        if not isinstance(self.searcher, AutoBSS):
            return
        kept = self.ledger.kept("candidates")
        if kept is None:
            self.ledger.keep("candidates", self.searcher.candidates)
        else:
            self.searcher.use_candidates(kept)
        if self.searcher.refining and round:
            before = [r.observation for r in records if r.round < round]
            self.ledger.keep(f"refining_{round}", self.searcher.refine(before))

    def _finish(self, outcome: Outcome) -> None:
        record = next(r for r in self.records if r.number == outcome.id)
        value, error = outcome.value, outcome.error
        if value is not None and not math.isfinite(value):
            value, error = None, f"the score is {value}"
        last = len(record.errors) + 1 >= ATTEMPTS
        self.ledger.finish(outcome.id, value, outcome.seconds, error, last)
        if error is not None:
            self.on_event(f"{record.code} failed ({error}): {'left out' if last else 'tried once more'}")
        else:
            done = [r for r in self.records if r.value is not None]
            best = max(done, key=lambda r: self.searcher._signed(r.value))  # type: ignore[arg-type]
            self.on_event(f"{record.code} {value:.6g} in {outcome.seconds:.1f} s; best {best.value:.6g} of {len(done)}")
