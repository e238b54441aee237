"""Which trials of a study are to be scored next: those that are left, and new ones as its searcher proposes them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from typing import cast

from autobss_zoo.codes import Code

from ..errors import SpaceError
from ..searchers.searcher import Observation, Searcher
from .ledger import Ledger
from .patience import Patience
from .records import Record

ATTEMPTS = 2


class Agenda:
    """The trials of a study that are due.

    Args:
        searcher: Proposes the codes.
        ledger: Where they are written.
        rounds, batch: Rounds, and codes in each.
        asynchronous: Whether codes are asked for one by one.
        confirm: How many of the scores, the last ones, are of the best codes again.
        patiently: Calls the ledger.
        say: Told what happened: its kind and a text.
    """

    def __init__(
        self,
        searcher: Searcher,
        ledger: Ledger,
        rounds: int,
        batch: int,
        asynchronous: bool,
        confirm: int,
        patiently: Patience,
        say: Callable[[str, str], None],
    ) -> None:
        self.searcher, self.ledger, self.rounds, self.batch = searcher, ledger, rounds, batch
        self.asynchronous, self._patiently, self._say = asynchronous, patiently, say
        self._confirm, self._new = confirm, rounds * batch - confirm
        self._exhausted = False
        self._over: set[int] = set()  # rounds for which there are fewer codes

    def due(self, submitted: Container[int], slots: int) -> Iterator[Record]:
        """The trials to submit now; new ones as soon as they are written."""
        records = self._patiently(self.ledger.records)
        waiting = [r for r in records if r.state == "waiting"]
        if self.asynchronous or submitted:
            yield from self._left([r for r in waiting if r.number not in submitted])
        if self.asynchronous:
            for _ in range(slots - len(waiting)):
                yield from self._ask()
            yield from self._again()
        elif not submitted:
            done = Counter(r.round for r in records if r.state != "waiting" and r.source != "confirmation")
            for round in (r for r in range(self.rounds) if r not in self._over and done[r] < self._size(r)):
                if due := self._open(round):
                    yield from due
                    return
                self._over.add(round)
            yield from self._left(waiting)
            yield from self._again()

    def _size(self, round: int) -> int:
        """How many codes a round has."""
        return min(self.batch, max(0, self._new - round * self.batch))

    def _left(self, records: list[Record]) -> list[Record]:
        """Without those that a killed driver found to have failed too often."""
        for number in (r.number for r in records if len(r.errors) >= ATTEMPTS):
            self._patiently(partial(self.ledger.finish, number, None))
        return [r for r in records if len(r.errors) < ATTEMPTS]

    def _open(self, round: int) -> Iterable[Record]:
        """A round's trials that have no score, the missing ones written as they are taken; none if there are none."""
        records = self._patiently(self.ledger.records)
        size, mine = self._size(round), [r for r in records if r.round == round and r.source != "confirmation"]
        if len(mine) < size and not any(r.source == "searcher" for r in mine):
            mine += self._claim(round, size - len(mine))  # a round that is under way takes no more
        enqueued = [r.code for r in mine if r.source == "enqueued"]
        missing: dict[Code, int] = {}
        if len(mine) < size:
            before = [r.observation for r in records if r.round < round]
            codes = self._propose(before, round, size - len(enqueued), enqueued)
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
        number = sum(r.round >= 0 and r.source != "confirmation" for r in records)
        if number >= self._new:
            return []
        round = number // self.batch
        if claimed := self._claim(round, 1):
            return claimed
        before = [r.observation for r in records if r.state != "waiting"]
        pending = [r.code for r in records if r.state == "waiting"]
        return [self._add(code, round, number) for code in self._propose(before, round, 1, pending)]

    def _again(self) -> Iterator[Record]:
        """The best codes with further seeds, once all others have their scores; those that are not written."""
        records = self._patiently(self.ledger.records)
        others = [r for r in records if r.source != "confirmation"]
        written = {(r.code, r.seed) for r in records if r.source == "confirmation"}
        if len(written) >= self._confirm or any(r.state == "waiting" for r in others):
            return
        codes = self.searcher.confirm((r.observation for r in others), self._confirm)
        missing = [pair for pair in zip(codes, itertools.count(self._new)) if pair not in written]
        if missing:
            self._say("round", f"confirmation: {len(missing)} scores of the best codes with other seeds")
        for code, seed in missing:
            yield self._add(code, self.rounds, seed, "confirmation")

    def _add(self, code: Code, round: int, seed: int, source: str = "searcher") -> Record:
        """Write a trial, once."""

        def written() -> Record | None:
            same = (r for r in reversed(self.ledger.records()) if r.code == code and r.source == source)
            return next((r for r in same if r.seed == seed), None)

        def write() -> Record:
            if written() is None:  # else it was, although an error was reported
                self.ledger.add(code, round, source, seed)
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
            if name not in self.ledger.arrays:
                self._patiently(partial(self.ledger.keep, name, compute()))
        try:
            return self.searcher.propose(before, round, n, pending)
        except SpaceError as error:
            self._exhausted = True
            self._say("round", str(error))
            return []
