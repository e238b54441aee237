"""A search as a file: which space, budget, searcher and data. `autobss search` reads it, a study's folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from autobss_zoo.errors import RecipeError, did_you_mean
from autobss_zoo.recipes import merged, resolve

from ..evaluators.evaluator import EVALUATORS, Evaluator
from ..searchers import BATCH, AutoBSS, LocalSearch, RandomSearch, RegularizedEvolution, Searcher
from ..spaces.budgets import parse_budget
from ..spaces.declared import list_spaces, read_space
from ..spaces.space import Space

SEARCHERS: dict[str, Any] = {
    "autobss": AutoBSS,
    "paper": lambda space, seed: AutoBSS(space, "paper", seed=seed),
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "local": LocalSearch,
}


@dataclass(frozen=True)
class SearchRecipe:
    """A search.

    Attributes:
        space: A declared space's name, a YAML file, or the mapping that such a file holds. Of a table: nothing.
        budget: Bounds by the costs' names: {"macs": "10M", "params": "500K..1M"}, or a text, "10M" or
            "macs=10M,params=1M". As in the paper when empty.
        score: What scores codes, by its `kind`, and its settings. {"kind": "training", "base": ...} trains each code by
            a recipe, mostly a name as `base` and keys that differ; {"kind": "table", "file": ...} looks scores up in a
            file of finished trainings; others are registered by `register_evaluator`. `training: ...` and `table: ...`
            are short for the first two.
        searcher: autobss, paper, random, evolution or local.
        rounds, batch, seed: Of the search.
        enqueue: Codes to score in the first round, such as the hand-made one.
        storage: An SQLAlchemy URL; a file in the study's folder when None.
        asynchronous: Ask for a code whenever a worker is free, instead of in rounds.
    """

    score: Mapping[str, Any]
    space: str | Mapping[str, Any] | None = None
    budget: Any = field(default_factory=dict)
    searcher: str = "autobss"
    rounds: int = 4
    batch: int = BATCH
    seed: int = 0
    enqueue: tuple[str, ...] = ()
    storage: str | None = None
    asynchronous: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.score, Mapping) or "kind" not in self.score:
            raise ValueError(f"score: expected a mapping with the key kind, got {self.score!r}")
        kind = EVALUATORS.find(self.score["kind"])
        if kind.needs_space and self.space is None:
            raise ValueError(f"space: expected a name or a file; declared: {', '.join(list_spaces())}")
        if self.searcher not in SEARCHERS:
            raise ValueError(f"searcher: {self.searcher!r}: {did_you_mean(str(self.searcher), SEARCHERS)}")
        for name in ("rounds", "batch"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name}: expected a positive integer, got {value!r}")
        if type(self.asynchronous) is not bool:
            raise ValueError(f"asynchronous: expected true or false, got {self.asynchronous!r}")
        object.__setattr__(self, "budget", parse_budget(self.budget))
        object.__setattr__(self, "enqueue", tuple(self.enqueue))

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> SearchRecipe:
        """Read a shipped recipe or a YAML file; `overrides` replace its values, those in mappings one by one.

        Raises:
            ValueError: If a key is unknown or a value is wrong; the message names the file.
        """
        values, where, _ = resolve(source)
        if "model" in values:
            raise RecipeError(f"{where}: is a training's recipe, for `autobss train`")
        known = [f.name for f in fields(cls)]
        try:
            own, given = _with_score(values), _with_score(overrides or {})
            kinds = [part["score"]["kind"] for part in (own, given) if "kind" in part.get("score", {})]
            if len(kinds) == 2 and kinds[0] != kinds[1]:
                raise ValueError(f"{_ONE_OF}, got {' and '.join(map(str, kinds))}")
            values = merged(own, given)
            if unknown := [key for key in values if key not in known]:
                known += _SHORT
                raise ValueError(f"unknown key {unknown[0]!r}: {did_you_mean(str(unknown[0]), known)}")
            if "score" not in values:
                raise ValueError(_ONE_OF)
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{where}: {error}") from None

    def dump(self) -> str:
        """The recipe as YAML that means the same in any folder and after a space's file has changed."""
        values = {name: value for name, value in asdict(self).items() if value}
        values["enqueue"] = list(self.enqueue)
        values["score"] = {"kind": self.score["kind"], **self.make_evaluator().to_recipe()}
        if self.space is not None:
            values["space"] = read_space(self.space)
        return yaml.safe_dump(values, sort_keys=False)

    def make_evaluator(self, models: Path | None = None) -> Evaluator:
        """What scores codes; `models` is a folder for trained networks."""
        settings = {key: value for key, value in self.score.items() if key != "kind"}
        return EVALUATORS.find(self.score["kind"]).from_recipe(settings, models)

    def make_space(self) -> Space:
        """The space under the budget, counted as what is scored."""
        return self.make_evaluator().make_space(self.space, self.budget)

    def make_searcher(self) -> Searcher:
        """The searcher over the space."""
        return SEARCHERS[self.searcher](self.make_space(), seed=self.seed)


_SHORT = {"training": "base", "table": "file"}
"""The short keys for a kind of score, and the setting that a text beside them is."""
_ONE_OF = "expected either training (a recipe) or table (of finished trainings), or score with a kind"


def _with_score(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with `score` in place of the short keys."""
    out = {key: value for key, value in values.items() if key not in _SHORT}
    given = [(kind, values[kind]) for kind in _SHORT if values.get(kind) is not None]
    if len(given) + ("score" in out) > 1:
        raise ValueError(f"{_ONE_OF}, got {' and '.join([kind for kind, _ in given] + ['score'] * ('score' in out))}")
    for kind, settings in given:
        settings = settings if isinstance(settings, Mapping) else {_SHORT[kind]: settings}
        out["score"] = {"kind": kind, **settings}
    return out
