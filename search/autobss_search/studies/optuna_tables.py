"""A study in an Optuna storage. Only this file knows Optuna's tables and the calls that it makes for its own parts.

Tested with Optuna 4.0 to 5.0, whose tables are those of revision v3.2.0.a; a storage of another revision is refused.

Trials are read from the tables: Optuna makes objects of every parameter of every trial, which takes seconds where there
are thousands of trials. They are written by the calls that Optuna's own loop makes: a trial that is being scored is
RUNNING since its attempt began, so that Optuna's timeline and dashboard show it, and one whose driver was killed
waits to be scored again.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from ..errors import NotReadyError, StudyError

NAME = "autobss"
FILE = "study.db"
REVISION = "v3.2.0.a"

_ANY_FILE = "sqlite:///study.db"  # which a creator of connections replaces

_TRIALS = text(
    "SELECT t.number, t.state, v.value FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id "
    "AND v.objective = 0 WHERE t.study_id = :study AND t.number > :last ORDER BY t.number"
)
_ATTRIBUTES = text(
    "SELECT t.number, a.key, a.value_json FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
    "WHERE t.study_id = :study AND t.number > :last"
)
_REVISION = text("SELECT version_num FROM alembic_version")
_STUDIES = text("SELECT study_name, study_id FROM studies")
_STUDY_ATTRIBUTES = text("SELECT key, value_json FROM study_user_attributes WHERE study_id = :study")
_DIRECTIONS = text("SELECT direction FROM study_directions WHERE study_id = :study")
_COUNT = text("SELECT count(*) FROM trials WHERE study_id = :study")


class Row(NamedTuple):
    """A trial as the tables have it.

    Attributes:
        number: Its number.
        state: The name of its state in Optuna.
        value: Its score; None if it has none.
        attributes: Its user attributes.
    """

    number: int
    state: str
    value: float | None
    attributes: dict[str, Any]

    @property
    def finished(self) -> bool:
        """Whether nothing of it can change any more."""
        return TrialState[self.state].is_finished()


class Stored(NamedTuple):
    """A study as the tables have it.

    Attributes:
        id: Its number in the storage.
        direction: "maximize" or "minimize".
        attributes: Its user attributes.
        trials: How many trials it has.
    """

    id: int
    direction: str
    attributes: dict[str, Any]
    trials: int


class Tables:
    """Reads a study's tables; nothing is ever written or made.

    Args:
        folder: The study's folder.
        url: An SQLAlchemy URL; study.db in the folder when None.
        timeout: Seconds to wait for a database in the folder that is locked.

    Raises:
        StudyError: If there can be no such database.
    """

    def __init__(self, folder: Path, url: str | None, timeout: float = 5.0) -> None:
        self._file, self._url, self._timeout = folder / FILE, url, timeout
        self.where = str(self._file) if url is None else "storage"
        with self.reading():
            if url is None:
                _check_regular(self._file, self.where)
                # Unlike a read-only one, this connection can end what a killed driver has begun to write.
                self._engine = sqlalchemy.create_engine(_ANY_FILE, creator=partial(self._connect, "rw"))
            else:
                self._engine = _engine(url)

    def _connect(self, mode: str) -> sqlite3.Connection:
        name = f"{self._file.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(name, timeout=self._timeout, uri=True, check_same_thread=False)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns what a database can raise into errors of ours.

        Raises:
            NotReadyError: If it is locked or away, which may pass.
            StudyError: If it is damaged, or no such database.
        """
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = _cause(error)
            if _passes(error):
                raise NotReadyError(f"{self.where}: {cause}", cause) from error
            raise StudyError(f"{self.where}: {cause}") from error
        except (
            ValueError,
            LookupError,
            AssertionError,
            TypeError,
            RecursionError,
        ) as error:  # of JSON, of Optuna's enumerations
            raise StudyError(f"{self.where}: it is damaged: {_cause(error)}") from error

    def check(self) -> None:
        """Raise a StudyError if a database of one file is damaged."""
        if self._engine.dialect.name == "sqlite":
            with self.reading(), self._engine.connect() as connection:
                found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if found != "ok":
                raise StudyError(f"{self.where}: it is damaged: {' '.join(str(found).split())}")

    def study(self) -> Stored | None:
        """The study; None if there is none yet.

        Raises:
            StudyError: If what is there is something else: a database in the folder holds the folder's study alone.
        """
        with self.reading(), self._engine.connect() as connection:
            known = sqlalchemy.inspect(connection).get_table_names()
            if known and "studies" not in known and self._url is None:
                raise StudyError(f"{self.where}: a database of something else: it has the table {known[0]}")
            if "studies" not in known:
                return None
            if "alembic_version" in known and (revision := connection.execute(_REVISION).scalar()) != REVISION:
                raise StudyError(f"{self.where}: expected tables of Optuna's revision {REVISION}, got {revision}")
            ids: dict[str, int] = {str(name): number for name, number in connection.execute(_STUDIES)}
            if ids and NAME not in ids and self._url is None:
                raise StudyError(f"{self.where}: an Optuna storage of another study: {next(iter(ids))!r}")
            return self._stored(connection, ids[NAME]) if NAME in ids else None

    def _stored(self, connection: sqlalchemy.Connection, study: int) -> Stored:
        key = {"study": study}
        attributes = {k: json.loads(v) for k, v in connection.execute(_STUDY_ATTRIBUTES, key)}
        (direction,) = (StudyDirection[str(row[0])].name.lower() for row in connection.execute(_DIRECTIONS, key))
        return Stored(study, direction, attributes, connection.execute(_COUNT, key).scalar_one())

    def trials(self, study: int, last: int = -1) -> list[Row]:
        """The trials whose numbers are over `last`, in their order.

        Raises:
            StudyError: If one is missing or damaged.
        """
        known, attributes = {"study": study, "last": last}, defaultdict[Any, dict[str, Any]](dict)
        with self.reading(), self._engine.connect() as connection:
            rows = connection.execute(_TRIALS, known).all()  # first: a finished trial has its attributes
            for number, key, value in connection.execute(_ATTRIBUTES, known):
                attributes[number][key] = json.loads(value)
        for expected, (number, state, value) in enumerate(rows, start=last + 1):
            if number != expected or state not in TrialState.__members__ or not isinstance(value, (float, type(None))):
                raise StudyError(f"{self.where}: it is damaged: trial {expected}: got {(number, state, value)!r}")
        return [Row(number, state, value, attributes[number]) for number, state, value in rows]

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


class Storage(Tables):
    """Reads and writes a study. Any call may raise what `reading` does.

    Args:
        folder, url: As of `Tables`.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        super().__init__(folder, url)
        self._study = -1

    def look(self) -> Stored | None:
        """The study, or None, before it is made; a database of one file that is damaged raises a StudyError."""
        if self._url is None and not self._file.exists():
            return None
        self.check()
        return self.study()

    def create(self, direction: str) -> Stored:
        """The study, made unless it is there."""
        own: dict[str, Any] = {"creator": partial(self._connect, "rwc")} if self._url is None else {}
        with self.reading():
            rdb = RDBStorage(_ANY_FILE if self._url is None else self._url, own)
            self.close()
            self._rdb, self._engine = rdb, rdb.engine
            self._peer = _quietly(
                optuna.create_study, study_name=NAME, storage=rdb, direction=direction, load_if_exists=True
            )
        stored = self.study()
        assert stored is not None
        self._study = stored.id
        return stored

    def set(self, key: str, value: Any) -> None:
        """Set an attribute of the study, plain values."""
        with self.reading():
            self._rdb.set_study_user_attr(self._study, key, value)

    def add(
        self,
        params: Mapping[str, Any],
        distributions: dict[str, BaseDistribution],
        attributes: dict[str, Any],
        value: float | None = None,
    ) -> None:
        """Write a trial, in one transaction; without a value it waits."""
        state = TrialState.WAITING if value is None else TrialState.COMPLETE
        trial = create_trial(
            state=state, value=value, params=dict(params), distributions=distributions, user_attrs=attributes
        )
        with self.reading():
            self._rdb.create_new_trial(self._study, trial)

    def enqueue(self, params: dict[str, Any]) -> None:
        """Have Optuna enqueue a trial, once."""
        with self.reading():
            self._peer.enqueue_trial(params, skip_if_exists=True)

    def enqueued(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The numbers and parameters of the trials that users enqueued and nobody has claimed."""
        with self.reading():
            waiting = self._rdb.get_all_trials(self._study, deepcopy=False, states=(TrialState.WAITING,))
        return ((t.number, _fixed(t)) for t in waiting if "code" not in t.user_attrs)

    def claim(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
    ) -> None:
        """Give an enqueued trial its parameters and attributes, in this order."""
        with self.reading():
            trial = self._trial(number)
            for name, value in params.items():
                distribution = distributions[name]
                self._rdb.set_trial_param(trial, name, distribution.to_internal_repr(value), distribution)
            for key, attribute in attributes.items():
                self._rdb.set_trial_user_attr(trial, key, attribute)

    def begin(self, number: int) -> None:
        """An attempt begins: the trial is running, and has started now."""
        with self.reading():
            trial = self._trial(number)
            if not self._rdb.set_trial_state_values(trial, TrialState.RUNNING):  # an attempt began before
                self._rdb.set_trial_state_values(trial, TrialState.WAITING)
                self._rdb.set_trial_state_values(trial, TrialState.RUNNING)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Set attributes of a trial, unless it is finished."""
        with self.reading(), _unless_finished():
            trial = self._trial(number)
            for key, value in attributes.items():
                self._rdb.set_trial_user_attr(trial, key, value)

    def finish(self, number: int, value: float | None) -> None:
        """End a trial, with a score or as a failure, unless it is finished."""
        state, values = (TrialState.FAIL, None) if value is None else (TrialState.COMPLETE, [value])
        with self.reading(), _unless_finished():
            self._rdb.set_trial_state_values(self._trial(number), state, values)

    def _trial(self, number: int) -> int:
        return self._rdb.get_trial_id_from_study_id_trial_number(self._study, number)


def _engine(url: str) -> sqlalchemy.Engine:
    """An engine for a URL as Optuna has them.

    Raises:
        StudyError: If it is no URL of a database that can keep a study, or the database's driver is not installed.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except SQLAlchemyError:
        raise StudyError(
            f"storage: expected an SQLAlchemy URL such as postgresql://user@host/name, got {url!r}"
        ) from None
    shown = parsed.render_as_string()  # without the password
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StudyError(f"storage: expected a database that stays, got {shown}")
        _check_regular(Path(parsed.database), "storage")
        if not Path(parsed.database).exists():  # it is made when the study is, and not by looking for it
            parsed = parsed.set(database=":memory:")
    try:
        return sqlalchemy.create_engine(parsed)
    except ImportError as error:
        raise StudyError(f"storage: {shown} needs the module {error.name}, which is not installed") from None
    except SQLAlchemyError:
        raise StudyError(f"storage: there is no such kind of database: {shown}") from None


def _check_regular(path: Path, where: str) -> None:
    if path.exists() and not path.is_file():
        raise StudyError(f"{where}: expected a database, which is a regular file")


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    fixed = trial.system_attrs.get("fixed_params", {})
    return fixed if isinstance(fixed, dict) else {}


@contextmanager
def _unless_finished() -> Iterator[None]:
    try:
        yield
    except UpdateFinishedTrialError:  # it was recorded, although an error was reported
        return


def _passes(error: BaseException) -> bool:
    """Whether what a database raised may be over in a while: a lock, a full disk, a network; no damage."""
    cause = error if isinstance(error, SQLAlchemyError) else error.__cause__
    lasting = ("no such", "decode", "malformed", "duplicate column")
    return isinstance(cause, (OperationalError, InterfaceError)) and not any(w in str(cause.orig) for w in lasting)


def _cause(error: BaseException) -> str:
    """What the database says, without Optuna's and SQLAlchemy's words around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    return " ".join(str(error).split()) or type(error).__name__


def _quietly(function: Any, **kwargs: Any) -> Any:
    """Call an Optuna function without its line on stderr."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return function(**kwargs)
    finally:
        optuna.logging.set_verbosity(level)
