"""What a study is: study.json in its folder.

By it a study is reported, watched and resumed without the program that made it. The storage keeps the part of it that
makes the study this one, its identity.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autobss_zoo.files import write_atomically

from ..errors import NotReadyError, StudyError

FILE = "study.json"

Positive = Annotated[int, Field(ge=1)]


class Cost(BaseModel):
    """A constraint's function of a user's own.

    Attributes:
        function: Where it is, "module:name".
        monotone: As of `Constraint`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    function: str
    monotone: bool


class Description(BaseModel):
    """A study.

    Attributes:
        id: A token, which the storage has, too: a database serves one folder.
        space: What `Space.describe` says.
        searcher: The searcher's settings.
        batch: Codes in a round.
        evaluator: What the evaluator says of itself.
        asynchronous: Whether codes are asked for one by one.
        confirm: How many of the scores are of the best codes again.
        rounds: How many rounds there are in all.
        storage: An SQLAlchemy URL; study.db in the folder when None.
        setting: What the codes' networks are counted with; the families' own when None.
        score: How the evaluator is made anew: {"kind": ...} with its settings, or {"function": "module:name"}; None
            where it cannot be told.
        models: A folder for trained networks.
        costs: The functions of the space's constraints that are a user's own, where they can be told.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    space: dict[str, Any]
    searcher: dict[str, Any]
    batch: Positive
    evaluator: Any
    asynchronous: bool = False
    confirm: Annotated[int, Field(ge=0)] = 0
    rounds: Positive
    storage: str | None = None
    setting: dict[str, int | None] | None = None
    score: dict[str, Any] | None = None
    models: str | None = None
    costs: dict[str, Cost] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed study must have in common with the one that was started, as plain values."""
        modes = [name for name in ("asynchronous", "confirm") if getattr(self, name)]
        names = ("space", "searcher", "batch", "evaluator", *modes)
        return json.loads(json.dumps({name: getattr(self, name) for name in names}))

    @property
    def direction(self) -> str:
        """Of the score: "maximize" or "minimize"."""
        return str(self.searcher.get("direction"))

    def check(self, identity: Mapping[str, Any] | None, where: Path) -> None:
        """Raise a StudyError, which names the first difference, unless the study has this identity."""
        if identity != self.identity:
            key, there, here = _difference(identity, self.identity)
            raise StudyError(
                f"{where} holds another study: its {key} is {there}, not {here}; "
                "resume it with its own settings or start a new folder"
            )

    @classmethod
    def read(cls, folder: Path) -> Description:
        """The description in a folder.

        Raises:
            NotReadyError: If there is none.
            StudyError: If it is damaged.
        """
        path = folder / FILE
        if not path.exists():
            raise NotReadyError(f"{folder}: there is no study here; `autobss search` starts one")
        if not path.is_file():
            raise StudyError(f"{path}: expected a file that describes a study")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            raise StudyError(f"{path}: it is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def write(self, folder: Path) -> None:
        """Write it into a folder, if that has another one or none."""
        content = (self.model_dump_json(indent=1) + "\n").encode()
        path = folder / FILE
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)


def _difference(there: Any, here: Any, key: str = "") -> tuple[str, Any, Any]:
    """The first key whose values differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                return _difference(there.get(name), here.get(name), f"{key}.{name}".lstrip("."))
    return key, there, here
