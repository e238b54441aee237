"""Studies beside each other: what each found and when, what they have in common, and what differs."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autobss_zoo.codes import Code

from ..errors import StudyError
from ..studies.description import Description
from ..studies.reading import StudyFolder
from ..studies.records import Record
from .report import ranked

_LONGEST = 70  # letters of a setting's value


@dataclass(frozen=True)
class Side:
    """A study that is compared.

    Attributes:
        name: What it is called beside the others.
        description: What it is.
        budget: The bounds of each cost in words, by the costs' names.
        records: Its trials.
        answer: What its searcher recommends; None while there is no score, or where only its program knows it.
    """

    name: str
    description: Description
    budget: Mapping[str, str]
    records: tuple[Record, ...]
    answer: Code | None

    @property
    def method(self) -> str:
        """The searcher with its preset."""
        searcher = self.description.searcher
        preset = f", preset {searcher['preset']}" if "preset" in searcher else ""
        return f"{searcher.get('searcher')}{preset}"

    @property
    def seed(self) -> int | None:
        """Of the search."""
        return self.description.searcher.get("seed")

    @property
    def states(self) -> Counter[str]:
        """How many trials are complete, failed and waiting, without scores that were known before."""
        return Counter(r.state for r in self.records if r.round >= 0)

    @property
    def ended(self) -> int:
        """How many trials have ended, one way or the other."""
        return self.states["complete"] + self.states["failed"]

    @property
    def planned(self) -> int:
        """Trials of all rounds together."""
        return self.description.rounds * self.description.batch

    @property
    def seconds(self) -> float:
        """What scoring took in all, failures included."""
        return sum(r.seconds or 0 for r in self.records)

    @property
    def best(self) -> Record | None:
        """The trial with the best score."""
        return next(iter(ranked(self.records, self.description.direction)), None)

    @property
    def found(self) -> list[Record]:
        """The scored trials of the answer: several where its code was confirmed."""
        return [r for r in self.records if r.code == self.answer and r.value is not None]

    @property
    def answers_score(self) -> float | None:
        """The mean of the answer's scores."""
        return float(np.mean([r.value for r in self.found])) if self.found else None

    @property
    def answers_costs(self) -> Mapping[str, float]:
        """The costs of the answer."""
        return self.found[0].costs if self.found else {}

    @property
    def best_so_far(self) -> tuple[np.ndarray, np.ndarray]:
        """After each score, in the order of the trials: the best one, and the seconds that scoring had taken in all."""
        better = np.maximum if self.description.direction == "maximize" else np.minimum
        values = np.array([np.nan if r.value is None else r.value for r in self.records], float)
        seconds, scored = np.cumsum([r.seconds or 0 for r in self.records]), ~np.isnan(values)
        return better.accumulate(values[scored]), seconds[scored]


class Group(NamedTuple):
    """Studies of one recipe, which differ in nothing but their seed.

    Attributes:
        name: What it is called beside the others.
        sides: The studies.
    """

    name: str
    sides: tuple[Side, ...]

    def spread(self) -> dict[str, tuple[float, float]]:
        """Over the studies the mean and the standard deviation of the best score and of the answer's score.

        A score that not every study has is left out.
        """
        bests = [None if side.best is None else side.best.value for side in self.sides]
        scores = {"best score": bests, "answer's score": [side.answers_score for side in self.sides]}
        known = {name: np.array(values, float) for name, values in scores.items() if None not in values}
        return {name: (float(v.mean()), float(v.std(ddof=1))) for name, v in known.items() if len(v) > 1}


@dataclass(frozen=True)
class Comparison:
    """Studies beside each other.

    Attributes:
        sides: The studies, in the order in which they were given.
    """

    sides: tuple[Side, ...]

    @property
    def direction(self) -> str:
        """Of the scores: "maximize" or "minimize"."""
        return self.sides[0].description.direction

    @property
    def costs(self) -> list[str]:
        """The names of the costs that any of the studies bounds."""
        return list(dict.fromkeys(name for side in self.sides for name in side.budget))

    @property
    def groups(self) -> list[Group]:
        """The recipes, each with its studies."""
        alike: dict[str, list[Side]] = defaultdict(list)
        for side in self.sides:
            alike[json.dumps([_recipe(side), side.planned], sort_keys=True)].append(side)
        methods = Counter(sides[0].method for sides in alike.values())

        def name(sides: Sequence[Side]) -> str:
            method = sides[0].method
            if len(sides) == 1:
                return sides[0].name
            return method if methods[method] == 1 else f"{method}: {sides[0].name} and {len(sides) - 1} more"

        return [Group(name(sides), tuple(sides)) for sides in alike.values()]

    @property
    def differences(self) -> dict[str, dict[str, list[str]]]:
        """Of each setting that is not the same in all studies but their seed: its values, and whose they are."""
        told = [{**_recipe(side), "trials": side.planned} for side in self.sides]
        out = {}
        for key, values in _different(told):
            whose: dict[str, list[str]] = defaultdict(list)
            for side, value in zip(self.sides, values, strict=True):
                whose[_text(value)].append(side.name)
            out[key] = dict(whose)
        return out

    @property
    def notes(self) -> list[str]:
        """What a reader has to keep in mind."""
        heads = {key.partition(".")[0] for key in self.differences}
        out = []
        if "evaluator" in heads:
            out.append("The studies score differently: a difference of scores is not one of codes alone.")
        if "space" in heads:
            out.append("The studies have different spaces or budgets: the better network may be the larger one.")
        if "trials" in heads:
            out.append("The studies have different numbers of trials: compare them after as many scores or seconds.")
        left = {side.name: side.planned - side.ended for side in self.sides}
        waiting = [f"{name} has {trials:,} trials to go" for name, trials in left.items() if trials > 0]
        return [*out, *([f"Not finished: {', '.join(waiting)}."] if waiting else [])]


def compare(folders: Sequence[str | Path]) -> Comparison:
    """Read studies to be compared; nothing in their folders is changed.

    Args:
        folders: Two or more studies' folders.

    Raises:
        NotReadyError: If there is no study in one of them, or it cannot be read for a moment.
        StudyError: If one is damaged, or if some maximize their score and others minimize it.
        ValueError: If a folder is given twice.
    """
    paths = [Path(folder) for folder in folders]
    places = [path.resolve() for path in paths]
    if twice := [path for place, path in zip(places, paths, strict=True) if places.count(place) > 1]:
        raise ValueError(f"{twice[0]}: is given twice; give each study's folder once")
    lasts = [place.name for place in places]
    unique = len(set(lasts)) == len(lasts)
    sides = [_read(path, last if unique else str(path)) for path, last in zip(paths, lasts, strict=True)]
    first, *others = sides
    if odd := next((s for s in others if s.description.direction != first.description.direction), None):
        raise StudyError(
            f"{first.name} would {first.description.direction} its score, {odd.name} would {odd.description.direction} "
            "it: studies of one direction can be compared"
        )
    return Comparison(tuple(sides))


def _read(folder: Path, name: str) -> Side:
    study = StudyFolder(folder)
    records = study.records()
    budget = {c.name: c.range for c in study.space.constraints}
    return Side(name, study.description, budget, tuple(records), study.answer(records))


def _recipe(side: Side) -> dict[str, Any]:
    """The study's identity without its seed."""
    identity = side.description.identity
    searcher = {key: value for key, value in identity["searcher"].items() if key != "seed"}
    modes = {"asynchronous": side.description.asynchronous, "confirm": side.description.confirm}
    return {**identity, **modes, "searcher": searcher}


def _different(told: Sequence[Any], key: str = "") -> Iterator[tuple[str, Sequence[Any]]]:
    """The settings that are not the same in all, with the value in each; None where one has not got it.

    Settings that not all have are left out where a further one differs, such as the name of what they belong to.
    """
    if all(value == told[0] for value in told):
        return
    shared = set.intersection(*map(set, told)) if all(isinstance(value, Mapping) for value in told) else set()
    if not shared:
        yield key.removesuffix("."), told
        return
    found = [
        line
        for name in told[0]
        if name in shared
        for line in _different([value[name] for value in told], f"{key}{name}.")
    ]
    rest = dict.fromkeys(name for value in told for name in value if name not in shared)
    yield from found or [(f"{key}{name}", [value.get(name) for value in told]) for name in rest]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text = ", ".join(value) if isinstance(value, Mapping) else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]} [...] {text[-14:]}"
