"""The record of a study: an Optuna storage that one driver writes.

Optuna's dashboard, plots, importances, dataframes and `enqueue_trial` work on it. It is the ledger and not the loop:
its own samplers would propose one trial at a time, after the trial exists. Trials carry user attributes: code, round,
source ("searcher", "enqueued" or "known"), seed, costs, seconds, and the errors of failed attempts.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial
from sqlalchemy import text

from autobss_zoo.codes import Code, Layout
from autobss_zoo.files import write_atomically

from ..errors import SpaceError, StudyError
from ..optuna_params import SpaceParams
from ..searchers.searcher import Observation
from ..spaces.space import Space, described_layout

NAME = "autobss"


@dataclass(frozen=True)
class Record:
    """One trial.

    Attributes:
        number: The trial's number in the storage.
        code: The code.
        round: The round that it belongs to, from 0; -1 if its score was known before.
        source: "searcher"; "enqueued" or "known" by a user.
        seed: Of its training.
        state: "waiting", "complete" or "failed".
        value: The score; None if there is none.
        seconds: How long scoring it took.
        costs: Its cost for each constraint.
        errors: Why attempts failed.
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

    @property
    def observation(self) -> Observation:
        """What the searcher sees of it."""
        return Observation(self.code, self.value, self.round)


_STATES = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "failed"}


class Ledger:
    """The trials of a study, on disk.

    Args:
        folder: The study's folder, made if it does not exist.
        space: The study's space.
        identity: What makes the study this one: space, searcher, seeds, evaluator. Checked against what is there.
        storage: An SQLAlchemy URL of a PostgreSQL or MySQL database; study.db in the folder when None.
        direction: "maximize" or "minimize".

    Raises:
        StudyError: If another driver has the study, or what is there is another study.
    """

    def __init__(
        self, folder: Path, space: Space, identity: Mapping[str, Any], storage: str | None, direction: str = "maximize"
    ) -> None:
        self.folder, self.space = folder, space
        self._as_params = SpaceParams(space)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "driver.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StudyError(f"{folder}: another driver runs this study; wait for it or stop it first") from None
        try:
            self._storage = optuna.storages.RDBStorage(storage or sqlite(folder))
            self._study = _quietly(
                optuna.create_study, study_name=NAME, storage=self._storage, direction=direction, load_if_exists=True
            )
            self._read = Reader(self._storage)
            self._check_owner(storage or "study.db")
            self._check_identity(json.loads(json.dumps(identity)))
        except BaseException:
            self.close()
            raise

    def _check_owner(self, where: str) -> None:
        """A database serves one folder, so that the folder's lock is the database's."""
        token = self.folder / "study.id"
        if not token.exists():
            write_atomically(token, uuid.uuid4().hex.encode())
        mine, owner = token.read_text(encoding="utf-8"), self._study.user_attrs.get("owner")
        if owner is None:
            self._study.set_user_attr("owner", mine)
        elif owner != mine:
            raise StudyError(f"{where} belongs to the study of another folder than {self.folder}")

    def _check_identity(self, identity: dict[str, Any]) -> None:
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", identity)
        elif known != identity:
            key, there, here = _difference(known, identity)
            raise StudyError(
                f"{self.folder} holds another study: its {key} is {there}, not {here}; "
                "resume it with its own settings or start a new folder"
            )

    def close(self) -> None:
        """Let another driver have the study."""
        self._lock.release()

    def records(self) -> list[Record]:
        """The trials in order, without those that a user enqueued and no round has claimed yet."""
        return self._read()

    def add(self, code: Code, round: int, source: str, seed: int, value: float | None = None) -> None:
        """Write a trial, in one transaction; without a value it waits to be scored."""
        self._study.add_trial(
            create_trial(
                state=TrialState.WAITING if value is None else TrialState.COMPLETE,
                value=value,
                params=self._as_params.params(code),
                distributions=self._as_params.distributions,
                user_attrs=self._attributes(code, round, source, seed),
            )
        )

    def claim_enqueued(self, round: int, most: int) -> list[str]:
        """Give up to `most` trials that users enqueued with Optuna to a round; what is no code of the space fails.

        Returns:
            The errors of those that failed.
        """
        errors = []
        known = {record.code for record in self.records()}
        study = self._storage.get_study_id_from_name(NAME)  # the study itself would read all trials first
        waiting = self._storage.get_all_trials(study, deepcopy=False, states=(TrialState.WAITING,))
        for trial in [t for t in waiting if "code" not in t.user_attrs][:most]:
            try:
                code = self._as_params.code(trial.system_attrs.get("fixed_params", {}))
                self.space.check(code)
                if code in known:
                    raise SpaceError(f"{code} has a trial already")
            except SpaceError as error:
                errors.append(f"enqueued trial {trial.number}: {error}")
                self.finish(trial.number, None, errors=[str(error)])
                continue
            known.add(code)
            id_ = self._id(trial.number)
            for name, value in self._as_params.params(code).items():
                distribution = self._as_params.distributions[name]
                self._storage.set_trial_param(id_, name, distribution.to_internal_repr(value), distribution)
            for key, attribute in self._attributes(code, round, "enqueued", trial.number).items():
                self._storage.set_trial_user_attr(id_, key, attribute)
        return errors

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._storage.get_study_id_from_name(NAME), number)

    def enqueue(self, code: Code) -> None:
        """Have a code scored in the next round, in one of its places."""
        self.space.check(code)
        self._study.enqueue_trial(self._as_params.params(code), skip_if_exists=True)

    def finish(
        self, number: int, value: float | None, seconds: float = 0.0, errors: Sequence[str] = (), last: bool = True
    ) -> None:
        """Record what became of an attempt; done twice it is the same.

        Args:
            number: The trial's number.
            value: The score, or None if the attempt failed.
            seconds: How long it took.
            errors: Why this attempt and those before it failed.
            last: Whether a failed trial is left out; else it waits for another attempt.
        """
        id_ = self._id(number)
        with suppress(UpdateFinishedTrialError):  # it was recorded, although an error was reported
            if errors:
                self._storage.set_trial_user_attr(id_, "errors", list(errors))
            if value is not None or last:
                self._storage.set_trial_user_attr(id_, "seconds", round(seconds, 3))
                state = TrialState.FAIL if value is None else TrialState.COMPLETE
                self._storage.set_trial_state_values(id_, state, None if value is None else [value])

    def keep(self, name: str, array: np.ndarray) -> None:
        """Keep an array beside the storage by the hash of its content; the storage has the hash under `name`."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        path = self.folder / "arrays" / f"{digest[:32]}.npy"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, buffer.getvalue())
        if self._study.user_attrs.get(name) != digest:
            self._study.set_user_attr(name, digest)

    def kept(self, name: str) -> np.ndarray | None:
        """An array that was kept; None if there is none.

        Raises:
            StudyError: If its file is missing or has other content.
        """
        digest = self._study.user_attrs.get(name)
        if digest is None:
            return None
        path = self.folder / "arrays" / f"{digest[:32]}.npy"
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise StudyError(f"{path}: the study's {name} are missing or were changed")
        return np.load(path, allow_pickle=False)

    def _attributes(self, code: Code, round: int, source: str, seed: int) -> dict[str, Any]:
        costs = {name: cost[0].item() for name, cost in self.space.costs(self.space.encode([code])).items()}
        # The code is last: with it a trial that a user enqueued is claimed.
        return {"round": round, "source": source, "seed": seed, "costs": costs, "code": str(code)}


def read_records(folder: Path, storage: str | None = None) -> list[Record]:
    """The trials of a study, also while its driver runs.

    Raises:
        StudyError: If there is no study.
    """
    if not storage and not (folder / "study.db").is_file():
        raise StudyError(f"{folder}: there is no study here; `autobss search` starts one")
    try:
        return Reader(optuna.storages.RDBStorage(storage or sqlite(folder)))()
    except KeyError:
        raise StudyError(f"{folder}: its storage holds no study yet") from None


class Reader:
    """Gives a study's trials in order, again and again, reading only what can have changed.

    It reads Optuna's tables itself: Optuna makes objects of every parameter of every trial, which takes seconds where
    there are thousands of trials.

    Args:
        storage: Where the study is.

    Raises:
        KeyError: If it is not there.
    """

    def __init__(self, storage: optuna.storages.RDBStorage) -> None:
        self._storage, self._engine = storage, storage.engine
        self._study = storage.get_study_id_from_name(NAME)
        self._settled: list[Record] = []
        self._last = -1  # the number up to which all trials are settled

    @cached_property
    def _layout(self) -> Layout:
        """Of the codes; the first trial was written after the study's identity."""
        return described_layout(self._storage.get_study_user_attrs(self._study)["identity"]["space"])

    def __call__(self) -> list[Record]:
        """The records of all trials, by number; of a trial that was settled before, the same one."""
        known = {"study": self._study, "last": self._last}
        with self._engine.connect() as connection:
            trials = connection.execute(_TRIALS, known).all()  # first: a finished trial has its attributes
            attributes: dict[int, dict[str, Any]] = defaultdict(dict)
            for number, key, value in connection.execute(_ATTRIBUTES, known):
                attributes[number][key] = json.loads(value)
        records = []
        for number, state, value in trials:
            if "code" in attributes[number]:
                records.append(_record(number, str(state), value, attributes[number], self._layout))
            if str(state) in _STATES and number == self._last + 1:
                self._last = number
                self._settled += records
                records = []
        return [*self._settled, *records]


_TRIALS = text(
    "SELECT t.number, t.state, v.value FROM trials t LEFT JOIN trial_values v ON v.trial_id = t.trial_id "
    "WHERE t.study_id = :study AND t.number > :last ORDER BY t.number"
)
_ATTRIBUTES = text(
    "SELECT t.number, a.key, a.value_json FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
    "WHERE t.study_id = :study AND t.number > :last"
)


def sqlite(folder: Path) -> str:
    """The URL of a folder's own database."""
    return f"sqlite:///{quote(str((folder / 'study.db').absolute()))}"


def _quietly(function: Any, **kwargs: Any) -> Any:
    """Call an Optuna function without its line on stderr."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return function(**kwargs)
    finally:
        optuna.logging.set_verbosity(level)


def _record(number: int, state: str, value: float | None, attributes: Mapping[str, Any], layout: Layout) -> Record:
    return Record(
        number=number,
        code=Code.parse(attributes["code"], layout),
        round=attributes["round"],
        source=attributes["source"],
        seed=attributes["seed"],
        state=_STATES.get(state, "waiting"),
        value=value if state == "COMPLETE" else None,
        seconds=attributes.get("seconds"),
        costs=attributes["costs"],
        errors=tuple(attributes.get("errors", ())),
    )


def _difference(there: Any, here: Any, key: str = "") -> tuple[str, Any, Any]:
    """The first key whose values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    return key, there, here
