"""A study's folder, to be read: by reports, also while a driver runs, and without the program that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting

from ..errors import NotReadyError, StudyError
from ..searchers import AutoBSS, Searcher
from ..spaces.described import is_told
from ..spaces.space import Space
from . import arrays
from .description import FILE, Description
from .optuna_tables import Tables
from .records import Record, Records
from .telling import find_searcher, make_searcher, read_space


class StudyFolder:
    """A study on disk; nothing in its folder is changed.

    Args:
        folder: The folder.
        timeout: Seconds to wait for a database that is locked.

    Attributes:
        folder: The folder.
        description: What the study is.
        records: Called, the trials so far.

    Raises:
        NotReadyError: If there is no study yet, or it cannot be read for a moment.
        StudyError: If it is damaged, or the storage has another study.
    """

    def __init__(self, folder: str | Path, timeout: float = 5.0) -> None:
        self.folder = Path(folder)
        self.description = Description.read(self.folder)
        tables = Tables(self.folder, self.description.storage, timeout)
        tables.check()
        stored = tables.study()
        if stored is None or "owner" not in stored.attributes:
            raise NotReadyError(f"{tables.where}: holds no study yet")
        if stored.attributes["owner"] != self.description.id:
            raise StudyError(f"{tables.where} belongs to the study of another folder than {self.folder}")
        self.description.check(stored.attributes.get("identity"), self.folder)
        self._attributes = stored.attributes
        self.records = Records(tables, stored.id, self.space.layout)

    @cached_property
    def space(self) -> Space:
        """The space, as of `read_space`."""
        return read_space(self.description, self.folder)

    @cached_property
    def setting(self) -> Setting | None:
        """What the codes' networks are counted with; the families' own when None."""
        setting = self.description.setting
        try:
            return Setting(**setting) if setting else None  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise StudyError(f"{self.folder / FILE}: setting: {error}") from None

    @cached_property
    def searcher(self) -> Searcher:
        """The searcher with what was kept of it; a user's own as one that can only be reported."""
        settings = self.description.searcher
        if find_searcher(settings) is None:
            return _Foreign(self.space, settings)
        searcher = make_searcher(settings, self.space)
        for name, array in arrays.kept(self.folder, self._attributes).items():
            searcher.restore(name, array)
        return searcher

    def answer(self, records: Sequence[Record]) -> Code | None:
        """The searcher's answer after these trials; None while there is none, or where only its program knows it."""
        unknown = isinstance(self.searcher, _Foreign) or not can_encode(self.searcher)
        if unknown or all(r.value is None for r in records):
            return None
        return self.searcher.recommend(r.observation for r in records if r.state != "waiting")

    def answers(self, records: Sequence[Record]) -> list[Code]:
        """All of the searcher's answers, where there is one."""
        return self.searcher.recommendations(r.observation for r in records if r.state != "waiting")


class _Foreign(Searcher):
    """A searcher of a user's own, of which the settings are known."""

    def __init__(self, space: Space, settings: Mapping[str, Any]) -> None:
        seed = settings.get("seed")
        super().__init__(space, str(settings.get("direction")), seed if isinstance(seed, int) else 0)
        self._settings = dict(settings)

    def settings(self) -> dict[str, Any]:
        return self._settings

    def _propose(self, *_: Any) -> list[Code]:
        raise StudyError("a study of a searcher of a user's own is resumed in Python")


def can_encode(searcher: Searcher) -> bool:
    """Whether a searcher has candidates to scale codes by, or needs none, or can make them."""
    return not isinstance(searcher, AutoBSS) or "candidates" in vars(searcher) or is_told(searcher.space)


def read_records(folder: str | Path) -> list[Record]:
    """The trials of a study, also while its driver runs.

    Raises:
        NotReadyError: If there is no study yet, or it cannot be read for a moment.
        StudyError: If it is damaged, or the storage has another study.
    """
    return StudyFolder(folder).records()
