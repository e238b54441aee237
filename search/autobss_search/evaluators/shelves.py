"""Benchmarks as files of JSON, perhaps compressed: a user's own by path, those of the package by name."""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError

from autobss_zoo.errors import did_you_mean, shown
from autobss_zoo.limits import complaint

from ..errors import SpaceError

_ENDING = ".json.xz"


@dataclass(frozen=True)
class Shelf:
    """The benchmarks of one kind.

    Args:
        kind: table or surrogate.
    """

    kind: str

    @property
    def folder(self) -> Path:
        """Where those of the package are, each beside its card."""
        return Path(__file__).parents[1] / f"{self.kind}s"

    def names(self) -> list[str]:
        """The names of those that come with the package."""
        return sorted(path.name.removesuffix(_ENDING) for path in self.folder.glob(f"*{_ENDING}"))

    def file(self, name: str) -> Path:
        """The file of one that comes with the package."""
        return self.folder / f"{name}{_ENDING}"

    def find(self, source: str | Path) -> Path:
        """The file that a path or a name means.

        Raises:
            ValueError: If there is none of the name.
        """
        path, name = Path(source), str(source)
        if path.suffix or path.exists():
            return path
        if name not in (known := self.names()):
            near = did_you_mean(name, known)
            raise ValueError(f"{self.kind} {shown(name)}: {near} Files of your own end in .json or .json.xz")
        return self.file(name)

    def from_recipe(self, settings: Mapping[str, Any]) -> str:
        """The path or name in the settings of a recipe's score, which are the `file`.

        Raises:
            ValueError: If they are others.
        """
        if settings.keys() != {"file"}:
            raise ValueError(f"score: a {self.kind} has the key file, got {', '.join(map(str, settings)) or 'none'}")
        if not isinstance(settings["file"], str) or not settings["file"]:
            raise ValueError(f"score: file: expected a {self.kind}'s file, got {shown(settings['file'])}")
        return settings["file"]

    def to_recipe(self, path: Path) -> dict[str, str]:
        """Settings that mean the file at `path` in any folder."""
        shipped = path.parent == self.folder
        return {"file": path.name.removesuffix(_ENDING) if shipped else str(path.absolute())}

    def check_no_space(self, space: Any) -> None:
        """Raise a SpaceError if a recipe states a space: a benchmark brings its own."""
        if space is not None:
            raise SpaceError(f"space: a {self.kind}'s codes are its own; leave {space!r} out")


def opened(path: Path) -> IO[bytes]:
    """A benchmark's file, for reading; what ends in .xz is decompressed."""
    return lzma.open(path) if path.suffix == ".xz" else path.open("rb")


def read_json(path: Path, form: Any, expected: str) -> Any:
    """The content of a file, as pydantic reads a type.

    Raises:
        ValueError: If it is none of the type; begins with `expected`.
    """
    try:
        with opened(path) as file:
            return TypeAdapter(form).validate_json(file.read())
    except ValidationError as error:
        raise ValueError(f"{expected}: {complaint(error, ())}") from None
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{expected}: {error}") from None
