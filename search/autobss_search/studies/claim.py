"""A study's folder while a driver has it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import StudyError

FILE = "driver.lock"


class Claim:
    """Makes a folder and locks it; what is refused leaves nothing behind.

    Args:
        folder: The folder.
        names: The files that may be made in it while it is decided whether the study is refused.

    Raises:
        StudyError: If another driver has the folder, or it cannot be one.
    """

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        self._folders = [f for f in (folder, *folder.parents) if not os.path.lexists(f)]
        self._files = [path for name in (*names, FILE) if not os.path.lexists(path := folder / name)]
        self._lock = FileLock(folder / FILE)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StudyError(f"{folder}: another driver runs this study; wait for it or stop it first") from None
        except OSError as error:
            self.undo()
            raise StudyError(f"{folder}: this can be no study's folder: {error}") from None

    def undo(self) -> None:
        """Let it go, without what was made."""
        for path in self._files:
            with suppress(OSError):
                path.unlink()
        self.release()
        with suppress(OSError):
            for folder in self._folders:
                folder.rmdir()

    def release(self) -> None:
        """Let another driver have it."""
        self._lock.release()
