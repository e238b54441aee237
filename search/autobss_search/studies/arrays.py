"""What a searcher has computed once, such as its candidates: arrays/ in a study's folder, files named by their hash."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autobss_zoo.files import write_atomically

from ..errors import StudyError

PREFIX = "array "
"""Of the study's attributes that say what was kept."""


def pack(array: np.ndarray) -> tuple[str, bytes]:
    """The hash of an array, and the content of its file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return hashlib.sha256(buffer.getvalue()).hexdigest(), buffer.getvalue()


def keep(folder: Path, digest: str, content: bytes) -> None:
    """Keep an array, once."""
    path = _path(folder, digest)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)


def kept(folder: Path, attributes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays by their names.

    Args:
        folder: The study's folder.
        attributes: The study's attributes.

    Raises:
        StudyError: If a file is missing or has other content.
    """
    names = [key for key in attributes if key.startswith(PREFIX)]
    return {key.removeprefix(PREFIX): _read(folder, key.removeprefix(PREFIX), attributes[key]) for key in names}


def _read(folder: Path, name: str, digest: Any) -> np.ndarray:
    path = _path(folder, str(digest))
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise StudyError(f"{path}: the study's {name} are missing or were changed")
    return np.load(io.BytesIO(content), allow_pickle=False)


def _path(folder: Path, digest: str) -> Path:
    return folder / "arrays" / f"{Path(digest).name[:32]}.npy"
