"""The record of a study: an Optuna storage that one driver writes.

Optuna's dashboard, plots, importances, dataframes and `enqueue_trial` work on it. It is the ledger and not the loop:
its own samplers would propose one trial at a time, after the trial exists. Trials carry user attributes: code, round,
source ("searcher", "enqueued", "known" or "confirmation"), seed, costs, seconds, the errors of failed attempts, and the
folder of the trained network where one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autobss_zoo.codes import Code

from ..errors import NotReadyError, SpaceError, StudyError
from ..optuna_params import SpaceParams
from ..spaces.space import Space
from . import arrays
from .claim import Claim
from .description import FILE, Description
from .optuna_tables import FILE as DATABASE
from .optuna_tables import Storage, Stored
from .records import Records


class Ledger:
    """The trials of a study, on disk.

    Args:
        folder: The study's folder, made if it does not exist.
        space: The study's space.
        description: The study. Its identity is checked against what is there; its id gives way to what is there.

    Attributes:
        arrays: What is kept of the searcher, by its names.

    Raises:
        StudyError: If another driver has the study, what is there is another study or damaged, or there can be no such
            storage. Nothing is made or changed then.
    """

    def __init__(self, folder: Path, space: Space, description: Description) -> None:
        self.folder, self.space, self._as_params = folder, space, SpaceParams(space)
        self._claim = Claim(folder, (DATABASE, FILE))
        try:
            self._storage = Storage(folder, description.storage)
            self._open(description)
        except BaseException:
            if hasattr(self, "_storage"):
                self._storage.close()
            self._claim.undo()
            raise

    def _open(self, description: Description) -> None:
        try:
            description = description.model_copy(update={"id": Description.read(self.folder).id})
            known = True
        except NotReadyError:
            known = False
        stored = self._storage.look()
        _check(stored, description, known, self.folder, self._storage.where)
        self.arrays = arrays.kept(self.folder, stored.attributes) if stored else {}
        stored = self._storage.create(description.direction)
        description.write(self.folder)
        if "owner" not in stored.attributes:  # last, since with it the study is this folder's
            self._storage.set("identity", description.identity)
            self._storage.set("owner", description.id)
        self.records = Records(self._storage, stored.id, self.space.layout)
        self.records()

    def close(self) -> None:
        """Let another driver have the study."""
        self._storage.close()
        self._claim.release()

    def add(self, code: Code, round: int, source: str, seed: int, value: float | None = None) -> None:
        """Write a trial, in one transaction; without a value it waits to be scored."""
        known = self._attributes(code, round, source, seed)
        self._storage.add(self._as_params.params(code), self._as_params.distributions, known, value)

    def claim_enqueued(self, round: int, most: int) -> list[str]:
        """Give up to `most` trials that users enqueued with Optuna to a round; what is no code of the space fails.

        Returns:
            The errors of those that failed.
        """
        errors = []
        known = {record.code for record in self.records()}
        for number, given in list(self._storage.enqueued())[:most]:
            try:
                code = self._as_params.code(given)
                self.space.check(code)
                if code in known:
                    raise SpaceError(f"{code} has a trial already")
            except SpaceError as error:
                errors.append(f"enqueued trial {number}: {error}")
                self.begin(number)
                self.finish(number, None, errors=[str(error)])
                continue
            known.add(code)
            attributes = self._attributes(code, round, "enqueued", number)
            self._storage.claim(number, self._as_params.params(code), self._as_params.distributions, attributes)
        return errors

    def enqueue(self, code: Code) -> None:
        """Have a code scored in the next round, in one of its places."""
        self.space.check(code)
        self._storage.enqueue(self._as_params.params(code))

    def begin(self, number: int) -> None:
        """Record that an attempt begins now."""
        self._storage.begin(number)

    def finish(
        self,
        number: int,
        value: float | None,
        seconds: float = 0.0,
        errors: Sequence[str] = (),
        last: bool = True,
        model: Path | None = None,
    ) -> None:
        """Record what became of an attempt; done twice it is the same.

        Args:
            number: The trial's number.
            value: The score, or None if the attempt failed.
            seconds: How long it took.
            errors: Why this attempt and those before it failed.
            last: Whether a failed trial is left out; else it waits for another attempt.
            model: The folder of the trained network, if one was kept.
        """
        noted: dict[str, Any] = {"errors": list(errors)} if errors else {}
        if value is not None and model is not None:
            inside = model.absolute().is_relative_to(self.folder.absolute())
            noted["model"] = str(model.absolute().relative_to(self.folder.absolute()) if inside else model.absolute())
        if ended := value is not None or last:
            noted["seconds"] = round(seconds, 3)
        self._storage.note(number, noted)
        if ended:
            self._storage.finish(number, value)

    def keep(self, name: str, array: np.ndarray) -> None:
        """Keep an array beside the storage by the hash of its content; the storage has the hash."""
        digest, content = arrays.pack(array)
        arrays.keep(self.folder, digest, content)
        self._storage.set(arrays.PREFIX + name, digest)
        self.arrays[name] = array

    def _attributes(self, code: Code, round: int, source: str, seed: int) -> dict[str, Any]:
        costs = {name: cost[0].item() for name, cost in self.space.costs(self.space.encode([code])).items()}
        # The code is last: with it a trial that a user enqueued is claimed.
        return {"round": round, "source": source, "seed": seed, "costs": costs, "code": str(code)}


def _check(stored: Stored | None, description: Description, known: bool, folder: Path, where: str) -> None:
    """Raise a StudyError unless what is stored is nothing or the study of a folder.

    Args:
        stored: What the storage has.
        description: The study.
        known: Whether the folder had its description.
        folder: The folder.
        where: The storage.
    """
    if stored is None:
        if known:
            raise StudyError(f"{where}: holds no study, although {folder / FILE} describes one")
        return
    owner = stored.attributes.get("owner")
    if owner is None and (stored.trials or stored.direction != description.direction):
        raise StudyError(f"{where}: holds an Optuna study of something else")
    if owner is not None and not (known and owner == description.id):
        missing = "" if known else f", which has no {FILE}"
        raise StudyError(f"{where} belongs to the study of another folder than {folder}{missing}")
    if owner is not None:
        description.check(stored.attributes.get("identity"), folder)
