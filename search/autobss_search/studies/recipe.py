"""A search as a file: which space, budget, searcher and data. `autobss search` reads it, a study's folder keeps it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from autobss_zoo.codes import Code
from autobss_zoo.errors import RecipeError, did_you_mean, shown
from autobss_zoo.limits import Seed, Text, Whole, complaint
from autobss_zoo.recipes import resolve
from autobss_zoo.yaml_text import write_yaml

from ..evaluators.evaluator import EVALUATORS, Evaluator
from ..searchers import (
    BATCH,
    MCEA,
    NES,
    NSGA2,
    AutoBSS,
    Greedy,
    LocalSearch,
    Pareto,
    RandomSearch,
    RegularizedEvolution,
    Searcher,
)
from ..spaces.budgets import COSTS, parse_budget
from ..spaces.declared import list_spaces, read_space
from ..spaces.space import Space
from ..spaces.uniform import uniform_code

SEARCHERS: dict[str, Any] = {
    "autobss": AutoBSS,
    "paper": lambda space, seed: AutoBSS(space, "paper", seed=seed),
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "local": LocalSearch,
    "nsga2": NSGA2,
    "greedy": Greedy,
    "nes": NES,
    "mcea": MCEA,
}
FRONTS: dict[str, Any] = {"autobss": Pareto, "nsga2": NSGA2, "random": RandomSearch}
"""Those of a score and a cost."""


_NO_OPTIONS = {"space", "seed", "hint", "cost"}
"""What searchers take that a recipe says otherwise."""

_SHORT = {"training": "base", "table": "file", "surrogate": "file"}
"""The short keys for a kind of score, and the setting that a text beside them is."""
_ONE_OF = "expected one of training (a recipe), table and surrogate (of finished trainings), or score with a kind"


def _count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError("expected a positive integer")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


Count = Annotated[Whole, BeforeValidator(_count)]


class SearchRecipe(BaseModel):
    """A search.

    Attributes:
        space: A declared space's name, a YAML file, or the mapping that such a file holds. Tables and surrogates
            have their own.
        budget: Bounds by the costs' names: {"macs": "10M", "params": "500K..1M"}, or a text, "10M" or
            "macs=10M,params=1M". A bound replaces that of the same cost in the space's own budget or in the recipe's
            base; bounds of other costs stay. As in the paper when there are none.
        score: What scores codes, by its `kind`, and its settings. {"kind": "training", "base": ...} trains each code by
            a recipe, mostly a name as `base` and keys that differ; {"kind": "table", "file": ...} looks scores up in a
            file of finished trainings, and {"kind": "surrogate", "file": ...} predicts them from one; others are
            registered by `register_evaluator`. `training: ...`, `table: ...` and `surrogate: ...` are short for these.
        searcher: autobss, paper, random, evolution, local, nsga2, greedy, nes or mcea.
        options: Settings of the searcher's own, as its class takes them: {population: 50} of nsga2.
        objectives: What is searched for: the score, and beside it a cost that the budget bounds, [score, macs]; then
            the answer is a front, and the searcher autobss, nsga2 or random.
        rounds, batch, seed: Of the search.
        enqueue: Codes to score in the first round. When left out, the uniformly rescaled hand-made network: at the
            hand-made network's own cost that network itself. "none" scores none, and does not trust it either. "prior"
            fills the round with codes like those that a supernet learned best.
        confirm: So many of the scores, the last ones, are of the best codes again, trained with other seeds.
        storage: An SQLAlchemy URL; a file in the study's folder when None.
        asynchronous: Ask for a code whenever a worker is free, instead of in rounds.
        retrain: What trains the answer at the end, by `autobss search`: a training's recipe.
        supernet: A supernet whose scores are a hint for the searcher autobss: its recipe, mostly its `base` and what
            differs, and what `score: {kind: supernet}` takes beside it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: dict[str, Any]
    space: Text | dict[str, Any] | None = None
    budget: dict[str, Any] = {}
    searcher: Text = "autobss"
    options: dict[str, Any] = {}
    objectives: tuple[Text, ...] = ("score",)
    rounds: Count = Field(4, le=100_000)
    batch: Count = Field(BATCH, le=10_000)
    seed: Seed = 0
    enqueue: tuple[Text, ...] | Literal["none", "prior"] | None = None
    confirm: Annotated[Whole, Field(ge=0)] = 0
    storage: Text | None = None
    asynchronous: Annotated[bool, BeforeValidator(_flag)] = False
    retrain: Text | dict[str, Any] | None = None
    supernet: dict[str, Any] | None = None

    @field_validator("budget", mode="before")
    @classmethod
    def _read_budget(cls, value: Any) -> dict[str, Any]:
        return parse_budget(value)

    @model_validator(mode="after")
    def _names_what_exists(self) -> SearchRecipe:
        if "kind" not in self.score:
            raise ValueError(f"score: expected a mapping with the key kind, got {shown(self.score)}")
        if EVALUATORS.find(self.score["kind"]).needs_space and self.space is None:
            raise ValueError(f"space: expected a name or a file; declared: {', '.join(list_spaces())}")
        if self.searcher not in SEARCHERS:
            raise ValueError(f"searcher: {shown(self.searcher)}: {did_you_mean(self.searcher, SEARCHERS)}")
        known = inspect.signature(SEARCHERS[self.searcher]).parameters.keys() - _NO_OPTIONS
        if odd := self.options.keys() - known:
            raise ValueError(f"options: {shown(min(odd))}: {did_you_mean(min(odd), known)}")
        self._check_objectives()
        if self.supernet is not None and self.searcher != "autobss":
            raise ValueError(f"supernet: is a hint for the searcher autobss, not {self.searcher}")
        if self.enqueue == "prior" and self.score["kind"] != "supernet":
            raise ValueError("enqueue: prior is for the scores of a supernet")
        if self.confirm >= (scores := self.rounds * self.batch):
            raise ValueError(f"confirm: expected fewer than the {scores} scores of the rounds, got {self.confirm}")
        return self

    def _check_objectives(self) -> None:
        score, *costs = self.objectives or ("",)
        if score != "score" or len(costs) > 1:
            raise ValueError(f"objectives: expected [score] or [score, a cost], got {shown(list(self.objectives))}")
        if not costs:
            return
        if costs[0] not in COSTS:
            raise ValueError(f"objectives: {shown(costs[0])}: {did_you_mean(costs[0], COSTS)}")
        if self.searcher not in FRONTS:
            raise ValueError(f"objectives: a cost is for the searcher {' or '.join(FRONTS)}, not {self.searcher}")
        if self.supernet is not None:
            raise ValueError("supernet: is a hint where the score is the only objective")

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> SearchRecipe:
        """Read a shipped recipe or a YAML file; `overrides` replace its values, those in mappings one by one.

        Raises:
            RecipeError: If a key is unknown or a value is wrong; the message names the file.
        """
        kinds: list[Any] = []

        def plain(values: Mapping[str, Any]) -> dict[str, Any]:
            out = _plain(values)
            kinds.extend([out["score"]["kind"]] if "kind" in out.get("score", {}) else [])
            return out

        values, where, _ = resolve(source, overrides, plain)
        if "model" in values:
            raise RecipeError(f"{where}: is a training's recipe, for `autobss train`")
        known = {*cls.model_fields, *_SHORT}
        if values.keys() <= known and "score" not in values:
            raise RecipeError(f"{where}: {_ONE_OF}")
        if odd := [kind for kind in kinds if kind != kinds[0]]:
            raise RecipeError(f"{where}: {_ONE_OF}, got {shown(kinds[0])} and {shown(odd[0])}")
        try:
            return cls(**values)
        except ValidationError as error:
            raise RecipeError(f"{where}: {complaint(error, known)}") from None

    def dump(self) -> str:
        """The recipe as YAML that means the same in any folder and after a space's file has changed."""
        values = {name: value for name, value in self.model_dump().items() if value}
        for name in ("enqueue", "objectives"):
            if isinstance(values.get(name), tuple):
                values[name] = list(values[name])
        if len(self.objectives) == 1:
            del values["objectives"]
        values["score"] = {"kind": self.score["kind"], **self.make_evaluator().to_recipe()}
        if self.supernet is not None:
            values["supernet"] = EVALUATORS.find("supernet").from_recipe(self.supernet, None).to_recipe()
        if self.space is not None:
            values["space"] = read_space(self.space)
        return write_yaml(values)

    def make_evaluator(self, models: Path | None = None) -> Evaluator:
        """What scores codes; `models` is a folder for trained networks."""
        settings = {key: value for key, value in self.score.items() if key != "kind"}
        return EVALUATORS.find(self.score["kind"]).from_recipe(settings, models)

    def make_space(self) -> Space:
        """The space under the budget, counted as what is scored."""
        return self.make_evaluator().make_space(self.space, self.budget)

    def make_searcher(self, models: Path | None = None) -> Searcher:
        """The searcher over the space; `models` is a folder for its supernet, if it has one.

        Raises:
            RecipeError: If the searcher has no such options.
        """
        options: dict[str, Any] = {}
        if self.enqueue == "none" and self.searcher == "autobss":
            options["guess"] = False
        options |= self.options
        if self.supernet is not None:
            options["hint"] = EVALUATORS.find("supernet").from_recipe(self.supernet, models)
        space = self.make_space()
        try:
            if self.objectives[1:]:
                return FRONTS[self.searcher](space, cost=self.objectives[1], seed=self.seed, **options)
            return SEARCHERS[self.searcher](space, seed=self.seed, **options)
        except (TypeError, ValueError) as error:
            if not self.options:
                raise
            raise RecipeError(f"options: {error}") from None

    def enqueued(self, space: Space) -> list[Code]:
        """The codes to score in the first round, as far as a supernet does not give them.

        Raises:
            CodeError: If a text is no code of the space's family.
            SpaceError: If a code is not in the space.
        """
        if self.enqueue is None:
            return [code] if (code := uniform_code(space)) else []
        codes = [space.parse(text) for text in self.enqueue] if isinstance(self.enqueue, tuple) else []
        for code in codes:
            space.check(code)
        return codes


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with `score` in place of the short keys, and a budget as a mapping: both are merged key by key."""
    out = {key: value for key, value in values.items() if key not in _SHORT}
    given = [(kind, values[kind]) for kind in _SHORT if values.get(kind) is not None]
    if len(given) + ("score" in out) > 1:
        both = [kind for kind, _ in given] + ["score"] * ("score" in out)
        raise RecipeError(f"{_ONE_OF}, got {' and '.join(both)}")
    for kind, settings in given:
        settings = settings if isinstance(settings, Mapping) else {_SHORT[kind]: settings}
        out["score"] = {"kind": kind, **settings}
    if not isinstance(out.get("score", {}), Mapping):
        raise RecipeError(f"score: expected a mapping with the key kind, got {shown(out['score'])}")
    if "budget" in out:
        out["budget"] = parse_budget(out["budget"])
    return out
