"""How a study's searcher, space and evaluator are told in plain values, and made anew from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from autobss_zoo.codes import Code
from autobss_zoo.errors import AutoBSSError

from .. import searchers
from ..errors import SpaceError, StudyError
from ..evaluators.evaluator import EVALUATORS, Evaluator, Function, as_evaluator
from ..searchers import Searcher
from ..spaces.budgets import CostFunction
from ..spaces.described import Untold, described_space, is_told
from ..spaces.space import Space
from .description import FILE, Cost, Description
from .references import find, reference

_FOREIGN = (AutoBSSError, OSError, TypeError, ValueError, LookupError, AttributeError)
"""What settings that were altered, or files that are gone, can raise."""


def describe_study(
    searcher: Searcher,
    evaluator: Evaluator,
    rounds: int,
    batch: int,
    storage: str | None,
    asynchronous: bool,
    confirm: int,
) -> Description:
    """The description of a study; arguments as of `Study`.

    Raises:
        StudyError: If what the searcher or the evaluator says of itself is no plain values.
    """
    if storage is not None and not isinstance(storage, str):
        raise StudyError(f"storage: expected an SQLAlchemy URL such as postgresql://user@host/name, got {storage!r}")
    parts = {
        "space": searcher.space.describe(),
        "searcher": searcher.settings(),
        "evaluator": evaluator.describe(),
        "setting": evaluator.setting.describe() if evaluator.setting else None,
    }
    for name, part in parts.items():
        try:
            parts[name] = json.loads(json.dumps(part))
        except (TypeError, ValueError) as error:
            raise StudyError(f"{name}: expected a description of plain values: {error}") from None
    places = {c.name: (reference(c.function), c.monotone) for c in searcher.space.constraints}
    return Description(
        **parts,
        rounds=rounds,
        batch=batch,
        storage=storage,
        asynchronous=asynchronous,
        confirm=confirm,
        score=_told(evaluator),
        models=evaluator.models,
        costs={name: Cost(function=place, monotone=m) for name, (place, m) in places.items() if place},
    )


def _told(evaluator: Evaluator) -> dict[str, Any] | None:
    """How an evaluator is made anew; None if that cannot be told."""
    if isinstance(evaluator, Function):
        place = reference(evaluator.function)
        return {"function": place} if place else None
    kind = next((name for name, kind in EVALUATORS.items() if kind is type(evaluator)), None)
    try:
        return json.loads(json.dumps({"kind": kind, **evaluator.to_recipe()})) if kind else None
    except (TypeError, ValueError):  # it has no to_recipe
        return None


def make_evaluator(description: Description, folder: Path) -> Evaluator:
    """The evaluator of a study.

    Raises:
        StudyError: If it cannot be told.
    """
    score = dict(description.score or {})
    if isinstance(score.get("function"), str):
        return as_evaluator(find(score["function"]))
    if "kind" not in score:
        raise StudyError(
            f"{folder}: its evaluator ({description.evaluator}) cannot be made anew; resume it in Python as it was "
            f"started: Study({str(folder)!r}, searcher, evaluate).run()"
        )
    models = Path(description.models) if description.models else None
    try:
        return EVALUATORS.find(score.pop("kind")).from_recipe(score, models)
    except _FOREIGN as error:
        raise StudyError(f"{folder / FILE}: score: {' '.join(str(error).split())}") from None


def make_space(description: Description, evaluator: Evaluator) -> Space:
    """The space of a study.

    Raises:
        StudyError: If the function of a constraint cannot be told.
    """
    costs = {name: (find(cost.function), cost.monotone) for name, cost in description.costs.items()}
    try:
        space = described_space(description.space, costs | _own_costs(description, evaluator))
    except _FOREIGN as error:
        raise StudyError(f"space: {error}") from None
    if not is_told(space):
        own = next(c.name for c in space.constraints if isinstance(c.function, Untold))
        raise StudyError(f"space: the cost {own} is a function of a user's own; resume the study in Python")
    return space


def read_space(description: Description, folder: Path) -> Space:
    """The space of a study, to be read.

    No module of a user's own is imported for the function of a constraint, which is known by what it says of itself.

    Raises:
        StudyError: If the description is damaged.
    """
    costs: dict[str, tuple[CostFunction, bool]] = {}
    kind = (description.score or {}).get("kind")
    with suppress(*_FOREIGN):  # such as of a table that is gone
        if kind is not None and not EVALUATORS.find(kind).needs_space:
            costs = _own_costs(description, make_evaluator(description, folder))
    try:
        return described_space(description.space, costs)
    except SpaceError as error:
        raise StudyError(f"{folder / FILE}: {error}") from None


def _own_costs(description: Description, evaluator: Evaluator) -> dict[str, tuple[CostFunction, bool]]:
    """The functions of the constraints that an evaluator knows by itself, and whether they are monotone."""
    if evaluator.needs_space:
        return {}
    bounds = description.space["constraints"].items()
    made = evaluator.make_space(None, {name: [b.get("lower"), b.get("upper")] for name, b in bounds})
    return {c.name: (c.function, c.monotone) for c in made.constraints}


class _UntoldHint:
    """A hint of which only the description is known; what it has said is kept."""

    def __init__(self, description: Any) -> None:
        self._description = description

    def __call__(self, codes: list[Code]) -> Sequence[float]:
        """Refuse to say anything new."""
        raise StudyError(
            f"hint: only its description is known, {self._description}; resume the study as it was started"
        )

    def describe(self) -> Any:
        """As of the hint."""
        return self._description


def find_searcher(settings: Mapping[str, Any]) -> type[Searcher] | None:
    """The class of a searcher with these settings; None if it is a user's own."""
    kind = getattr(searchers, str(settings.get("searcher")), None)
    return kind if isinstance(kind, type) and issubclass(kind, Searcher) else None


def make_searcher(settings: Mapping[str, Any], space: Space) -> Searcher:
    """The searcher over a space with these settings.

    Raises:
        StudyError: If there is none.
    """
    kind = find_searcher(settings)
    if kind is None:
        raise StudyError(
            f"searcher: {settings.get('searcher')!r} is none of autobss_search; resume the study in Python"
        )
    given = {key: value for key, value in settings.items() if key != "searcher"}
    if "hint" in given:
        given["hint"] = _UntoldHint(given["hint"])
    try:
        searcher = kind(space, **given)
    except (TypeError, ValueError, AutoBSSError) as error:
        raise StudyError(f"searcher: {error}") from None
    if searcher.settings() != settings:
        raise StudyError(f"searcher: expected the settings {searcher.settings()}, got {dict(settings)}")
    return searcher
