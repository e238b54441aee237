"""The networks that a search has trained, as its evaluator keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StudyError
from .records import Record

if TYPE_CHECKING:
    from torch import nn


def model_path(folder: Path, record: Record) -> Path:
    """The folder of a trial's trained network.

    Args:
        folder: The study's folder.
        record: The trial.

    Raises:
        StudyError: If none is kept there.
    """
    if record.model is None:
        raise StudyError(f"{record.code} has no trained network: the study's evaluator keeps none")
    if not (path := folder / record.model).is_dir():
        raise StudyError(f"{record.code} has no trained network in {path}")
    return path


def load_model(path: Path) -> nn.Module:
    """The network in such a folder, with its weights."""
    from autobss_zoo import from_pretrained

    return from_pretrained(path)
