"""The answer of a search under latency, measured: what was predicted, what it takes, and how the budget is kept."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from autobss_zoo.codes import Code
from autobss_zoo.files import write_atomically

from ..spaces.latency import Latency
from ..spaces.space import Space

NAME = "latency.json"


class Verified(BaseModel):
    """An answer's latency.

    Attributes:
        code: The answer.
        predicted: Milliseconds.
        measured: Milliseconds at the pace of the table.
        pace: How long the table's reference took, beside when the table was begun.
        lower, upper: The budget in milliseconds.
        conditions: Where and how it was measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    predicted: float
    measured: float
    pace: float
    lower: float
    upper: float | None
    conditions: str

    def __str__(self) -> str:
        upper = math.inf if self.upper is None else self.upper
        over, under = self.measured / upper - 1, 1 - self.measured / self.lower if self.lower else -1.0
        missed = f"is over by {over:.1%}" if over > 0 else f"is under by {under:.1%}" if under > 0 else "is kept"
        bound = f"{self.lower:g} to {upper:g}" if self.lower else f"{upper:g}"
        return (
            f"its latency: predicted {self.predicted:.3f} ms, measured {self.measured:.3f} ms at the table's pace "
            f"(now {self.pace:.3f}x); the budget of {bound} ms {missed} ({self.conditions})"
        )


def verify(folder: Path, space: Space, answer: Code) -> Verified | None:
    """Measure an answer and keep it in the study's folder.

    Args:
        folder: The study's.
        space: With a bound on latency, or without one.
        answer: The code.

    Returns:
        What was found; None where there is nothing to compare: no bound on latency, or a table of another machine.
    """
    bound = next((c for c in space.constraints if isinstance(c.function, Latency)), None)
    if bound is None or not isinstance(bound.function, Latency):
        return None
    from autobss_zoo.latency.building import measure_codes
    from autobss_zoo.latency.runners import is_here

    table, codes = bound.function.table, space.values(space.encode([answer]))
    if not is_here(table.conditions):
        return None
    measured = measure_codes(table, codes, answer.family, setting=bound.function.counted.setting)
    found = Verified(
        code=str(answer),
        predicted=bound.function(codes).item(),
        measured=1e3 * measured.at_pace.item(),
        pace=measured.pace,
        lower=bound.lower,
        upper=bound.upper if bound.upper < math.inf else None,
        conditions=str(table.conditions),
    )
    write_atomically(folder / NAME, (found.model_dump_json(indent=1) + "\n").encode())
    return found


def read_verified(folder: Path, answer: Code) -> Verified | None:
    """What `verify` has kept of this answer in a study's folder; None if nothing."""
    try:
        found = Verified.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.code == str(answer) else None
