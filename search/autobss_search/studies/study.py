"""A study: a searcher, a ledger, an executor and an evaluator.

In rounds, the codes of a round are a pure function of the scores of the rounds before it, so that a study that was
killed at any moment goes on as if nothing had happened, and is the same on every executor: codes without a score are
scored again, and a round that was written in part is completed with exactly the missing codes. Asynchronously, a code
is asked for whenever a worker is free, given the scores so far and the codes that are being scored.

A trial that fails (an exception, NaN, a dead process, too long) is tried once more and then left out: the study goes on
with the scores that it has, and the searcher steers around the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autobss_zoo.codes import Code

from ..errors import StudyError
from ..evaluators.evaluator import Evaluator, as_evaluator
from ..executors import Executor, InProcess, Job, Outcome, Started, in_a_line
from ..searchers.searcher import BATCH, Searcher
from .agenda import ATTEMPTS, Agenda
from .description import Description
from .journal import Journal, here
from .ledger import Ledger
from .patience import Patience
from .records import Record
from .telling import describe_study, make_evaluator, make_searcher, make_space
from .winner import load_model, model_path

if TYPE_CHECKING:
    from torch import nn


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
        confirm: So many of the scores, the last ones, are of the best codes again, with other seeds.

    Raises:
        StudyError: If another driver runs the study, the folder holds another one or is damaged, or there can be no
            such storage. Nothing is made or changed then.

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
        confirm: int = 0,
    ) -> None:
        for name, value in (("rounds", rounds), ("batch", batch)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        if not isinstance(confirm, int) or not 0 <= confirm < rounds * batch:
            raise ValueError(f"confirm: expected an integer from 0 to {rounds * batch - 1}, got {confirm!r}")
        if asynchronous and searcher.stepwise:
            raise ValueError(f"asynchronous: {type(searcher).__name__} goes step by step; leave it out")
        self.folder, self.searcher, self.rounds, self.batch = Path(folder), searcher, rounds, batch
        self._evaluator, self._executor = as_evaluator(evaluate), executor or InProcess()
        self.on_event = on_event or (lambda text: None)
        description = describe_study(searcher, self._evaluator, rounds, batch, storage, asynchronous, confirm)
        self.ledger = Ledger(self.folder, searcher.space, description)
        for name, array in self.ledger.arrays.items():
            searcher.restore(name, array)
        self._journal = Journal(self.folder)
        self._patiently = Patience(lambda text: self._say("fault", text))
        modes = (asynchronous, confirm)
        self._agenda = Agenda(searcher, self.ledger, rounds, batch, *modes, self._patiently, self._say)
        self._cause: BaseException | None = None

    @classmethod
    def resume(cls, folder: str | Path, executor: Executor | None = None) -> Study:
        """The study of a folder as its study.json tells it, whose `run` goes on.

        Args:
            folder: The study's folder.
            executor: As of the class.

        Raises:
            StudyError: If there is none, it is damaged, or its evaluator, its searcher or a cost of its space are a
                user's own and no functions of a module: then it is resumed in Python as it was started.
        """
        folder = Path(folder)
        told = Description.read(folder)
        evaluate = make_evaluator(told, folder)
        searcher = make_searcher(told.searcher, make_space(told, evaluate))
        settings = (told.rounds, told.batch, told.storage)
        modes: Any = {"asynchronous": told.asynchronous, "confirm": told.confirm}
        return cls(folder, searcher, evaluate, executor, *settings, **modes)

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

    def recommendations(self) -> list[Code]:
        """The searcher's answers, mostly one; of a search for several networks all, the one of `recommend` last.

        Raises:
            ValueError: If there is no score yet.
        """
        return self.searcher.recommendations(r.observation for r in self.records if r.state != "waiting")

    def front(self) -> list[Code]:
        """The searcher's answers where a cost is an objective beside the score, the cheapest first.

        Raises:
            ValueError: If there is no score yet, or the score is the only objective.
        """
        return self.searcher.front(r.observation for r in self.records if r.state != "waiting")

    @property
    def best_folder(self) -> Path:
        """The folder of the answer's trained network.

        Raises:
            StudyError: If none is kept there.
            ValueError: If there is no score yet.
        """
        answer = self.recommend()
        return model_path(self.folder, next(r for r in self.records if r.code == answer))

    def best_model(self) -> nn.Module:
        """The answer's network as the search has trained it, with its weights.

        Raises:
            StudyError: If no trained networks are kept, as by an evaluator that looks scores up.
            ValueError: If there is no score yet.
        """
        return load_model(self.best_folder)

    def run(self) -> Code:
        """Score the codes that are left.

        Returns:
            The searcher's answer.

        Raises:
            StudyError: If no code could be scored: the evaluator's first error, which is its cause where the code was
                scored in this process.
        """
        self._journal.write("driver", "resumed" if self.records else "started", where=here())
        try:
            self._drive()
            self._check_scores()
            answer = self.recommend()
        except KeyboardInterrupt:
            self._journal.write("end", "interrupted")
            raise
        except Exception as error:
            self._journal.write("end", in_a_line(error))
            raise
        self._journal.write("end", "finished")
        return answer

    def _drive(self) -> None:
        self._evaluator.prepare()
        with self._executor.start(self._evaluator) as workers:
            submitted: dict[int, Record] = {}
            while True:
                for record in self._agenda.due(submitted, workers.slots):
                    workers.submit(Job(record.number, record.code, record.seed))
                    submitted[record.number] = record
                if not submitted:
                    return
                for update in workers.wait():
                    if isinstance(update, Started):
                        self._begin(submitted[update.id], update)
                    else:
                        self._finish(submitted.pop(update.id), update)

    def _check_scores(self) -> None:
        failed = [r for r in self.records if r.state != "waiting"]
        if failed and all(r.value is None for r in failed):
            first = failed[0].errors[0] if failed[0].errors else "no score"
            raise StudyError(f"no code could be scored: {first}") from self._cause

    def _begin(self, record: Record, started: Started) -> None:
        self._patiently(lambda: self.ledger.begin(record.number))
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
        model = self._evaluator.kept_model(record.code, record.seed)
        self._patiently(lambda: self.ledger.finish(record.number, value, outcome.seconds, errors, last, model))
        if value is None:
            self._cause = self._cause or outcome.exception
            then = "left out" if last else "tried once more"
            self._say("fault", f"{record.code} failed ({error}): {then}", record.number)
        else:
            self._say_score(record, value, outcome.seconds)

    def _say_score(self, record: Record, value: float, seconds: float) -> None:
        scores = [r.value for r in self._patiently(self.ledger.records) if r.value is not None]
        best = max(scores, key=self.searcher.signed)
        text = f"{record.code} {value:.6g} in {seconds:.1f} s; best {best:.6g} of {len(scores)}"
        self._say("score", text, record.number)

    def _say(self, kind: str, text: str, trial: int | None = None) -> None:
        self._journal.write(kind, text, trial)
        self.on_event(text)
