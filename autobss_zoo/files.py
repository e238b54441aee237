"""Files that are written whole or not at all, and where they go: links are followed, devices are not replaced."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """A folder that is there from now on, or, after an error, no more than it was."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in made:
                path.rmdir()
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to, which takes the place of `path` at the end, unless there was an error.

    A link stays and what it points to is replaced; a file that is replaced keeps its permissions. What cannot be
    replaced is written to: a pipe, a terminal or another character device, and where the process's own output goes
    (`/dev/stdout`).

    Raises:
        OSError: As `check_output`, or if the disk is full.
    """
    path, replaced = Path(path), check_output(path)
    place = _behind_links(path)
    with tempfile.TemporaryDirectory(dir=place.parent if replaced else None, prefix=".writing-") as folder:
        finished = Path(folder) / path.name
        try:
            yield finished
            if replaced and place.exists():
                finished.chmod(stat.S_IMODE(place.stat().st_mode))
            if replaced:
                os.replace(finished, place)
            else:
                _write_through(finished, path)
        except OSError as error:
            if error.errno is None or error.filename not in (None, str(finished)):
                raise
            raise OSError(error.errno, error.strerror, str(path)) from error  # in place of a temporary name


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole or not at all, as `replacing` does.

    Raises:
        OSError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def check_output(path: str | os.PathLike[str]) -> bool:
    """Whether a file at `path` would be made or replaced; False if what is there would be written to.

    Raises:
        OSError: If its folder does not exist, if nothing may be written there, or if it is no place for a file: a
            folder, a socket, a disk or a circle of links.
    """
    path = Path(path)
    folder = _behind_links(path).parent
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if not folder.is_dir():
            raise FileNotFoundError(f"{path}: the folder {folder} does not exist") from None
        found = None
    kind = found.st_mode if found else stat.S_IFREG
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
        what = "is a folder" if stat.S_ISDIR(kind) else "is a socket or a disk"
        raise OSError(f"{path}: {what}; give the name of a file")
    replaced = stat.S_ISREG(kind) and not (found and _is_output(found))
    if (found and not os.access(path, os.W_OK)) or (replaced and not os.access(folder, os.W_OK)):
        raise PermissionError(f"{path}: nothing may be written there; choose another place or change its permissions")
    return replaced


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_output(found: os.stat_result) -> bool:
    """Whether a file is where the process's own output goes."""
    try:
        return os.path.samestat(found, os.fstat(1))
    except OSError:  # it is closed
        return False


def _write_through(finished: Path, path: Path) -> None:
    own = _is_output(os.stat(path))
    if own and sys.stdout is not None:
        sys.stdout.flush()  # what was printed before comes before
    with open(finished, "rb") as source, open(os.dup(1) if own else path, "wb") as out:
        shutil.copyfileobj(source, out)
