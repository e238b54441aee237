"""The trials of a study as values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autobss_zoo.codes import Code, Layout
from autobss_zoo.errors import AutoBSSError

from ..errors import StudyError
from ..searchers.searcher import Observation
from .optuna_tables import Row, Tables


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        number: The trial's number in the storage.
        code: The code.
        round: The round that it belongs to, from 0; -1 if its score was known before.
        source: "searcher"; "enqueued" or "known" by a user; "confirmation" if the code was scored before.
        seed: Of its training.
        state: "waiting", "complete" or "failed".
        value: The score; None if there is none.
        seconds: How long scoring it took.
        costs: Its cost for each constraint.
        errors: Why attempts failed.
        model: The folder of its trained network, relative to the study's if it is in there; None if none was kept.
    """

    number: int
    code: Code
    round: int
    source: str
    seed: int
    state: str
    value: float | None
    seconds: float | None
    costs: dict[str, float]
    errors: tuple[str, ...]
    model: str | None = None

    @property
    def observation(self) -> Observation:
        """What the searcher sees of it."""
        return Observation(self.code, self.value, self.round)


class Attributes(BaseModel):
    """The user attributes of a trial in the storage that are ours; the names are those of `Record`."""

    model_config = ConfigDict(frozen=True, strict=True)

    code: str
    round: Annotated[int, Field(ge=-1)]
    source: Literal["searcher", "enqueued", "known", "confirmation"]
    seed: Annotated[int, Field(ge=0)]
    costs: dict[str, int | float]
    seconds: float | None = None
    errors: list[str] = []
    model: str | None = None


class Records:
    """A study's trials in order, again and again, reading only what can have changed.

    Args:
        tables: Where they are.
        study: The study's number there.
        layout: Of the codes.
    """

    def __init__(self, tables: Tables, study: int, layout: Layout) -> None:
        self._tables, self._study, self._layout = tables, study, layout
        self._settled: list[Record] = []
        self._last = -1  # the number up to which all trials are settled

    def __call__(self) -> list[Record]:
        """The trials so far, without those that a user enqueued and no round has claimed yet.

        Raises:
            NotReadyError: If the storage cannot be read now.
            StudyError: If a trial is damaged.
        """
        records: list[Record] = []
        for row in self._tables.trials(self._study, self._last):
            if "code" in row.attributes:
                records.append(self._record(row))
            if row.finished and row.number == self._last + 1:
                self._last = row.number
                self._settled += records
                records = []
        return [*self._settled, *records]

    def _record(self, row: Row) -> Record:
        where = f"{self._tables.where}: it is damaged: trial {row.number}"
        complete = row.state == "COMPLETE"
        if complete and (row.value is None or not math.isfinite(row.value)):
            raise StudyError(f"{where}: expected a finite score, got {row.value}")
        try:
            known = Attributes.model_validate(row.attributes)
            values: dict[str, Any] = dict(known) | {"code": Code.parse(known.code, self._layout)}
        except ValidationError as error:
            first = error.errors()[0]
            raise StudyError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except AutoBSSError as error:
            raise StudyError(f"{where}: {error}") from None
        state = "complete" if complete else "failed" if row.finished else "waiting"
        values["errors"] = tuple(known.errors)
        return Record(number=row.number, state=state, value=row.value if complete else None, **values)
