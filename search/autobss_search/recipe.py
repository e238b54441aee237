"""A search as a file: which space, budget, searcher and data. `autobss search` reads it, a study's folder keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from autobss_zoo.errors import RecipeError, did_you_mean
from autobss_zoo.recipes import merged, resolve

from .autobss import AutoBSS
from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
from .errors import SpaceError
from .evaluators.tabular import Table
from .evaluators.training import Training
from .executors import Evaluator
from .searcher import BATCH, Searcher
from .space import Space
from .spaces import get_space, list_spaces, load_space, parse_amount

SEARCHERS: dict[str, Any] = {
    "autobss": AutoBSS,
    "paper": lambda space, seed: AutoBSS(space, "paper", seed=seed),
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "local": LocalSearch,
}


@dataclass(frozen=True)
class Recipe:
    """A search.

    Attributes:
        space: A declared space's name, a YAML file, or the mapping that such a file holds. Of a table: nothing.
        budget: Upper bounds: {"macs": "10M"}, or a text, "10M" or "macs=10M,params=1M". As in the paper when empty.
        training: What trains each code: a training recipe's name, or a mapping with it as `base` and keys that differ.
        table: A file of finished trainings to look scores up in, instead of `training`.
        searcher: autobss, paper, random, evolution or local.
        rounds, batch, seed: Of the search.
        enqueue: Codes to score in the first round, such as the hand-made one.
        storage: An SQLAlchemy URL; a file in the study's folder when None.
        asynchronous: Ask for a code whenever a worker is free, instead of in rounds.
    """

    space: str | Mapping[str, Any] | None = None
    budget: str | Mapping[str, Any] = field(default_factory=dict)
    training: str | Mapping[str, Any] | None = None
    table: str | None = None
    searcher: str = "autobss"
    rounds: int = 4
    batch: int = BATCH
    seed: int = 0
    enqueue: tuple[str, ...] = ()
    storage: str | None = None
    asynchronous: bool = False

    def __post_init__(self) -> None:
        if (self.training is None) == (self.table is None):
            raise ValueError("expected either training (a recipe) or table (of finished trainings)")
        if self.training is not None and self.space is None:
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
    def load(cls, source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
        """Read a shipped recipe or a YAML file; `overrides` replace its values, those in mappings one by one.

        Raises:
            ValueError: If a key is unknown or a value is wrong; the message names the file.
        """
        values, where, _ = resolve(source)
        known = [f.name for f in fields(cls)]
        if "model" in values:
            raise RecipeError(f"{where}: is a training's recipe, for `autobss train`")
        values = merged(_with_base(values), _with_base(overrides or {}))
        if unknown := [key for key in values if key not in known]:
            raise RecipeError(f"{where}: unknown key {unknown[0]!r}: {did_you_mean(str(unknown[0]), known)}")
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise RecipeError(f"{where}: {error}") from None

    def dump(self) -> str:
        """The recipe as YAML that means the same in any folder and after a space's file has changed."""
        values = {name: value for name, value in asdict(self).items() if value}
        values["enqueue"] = list(self.enqueue)
        if self.table is not None:
            values["table"] = str(Path(self.table).absolute())
        else:
            training = self.make_training().load()
            values["training"] = training.model_dump(mode="json", exclude_unset=True)
            if training.data_dir is not None:
                values["training"]["data_dir"] = str(Path(training.data_dir).absolute())
        if isinstance(self.space, str) and self.space not in list_spaces():
            values["space"] = self._own_space()
        return yaml.safe_dump(values, sort_keys=False)

    def make_training(self, models: Path | None = None) -> Training:
        """What trains and scores codes; `models` is a folder for the trained networks."""
        assert self.training is not None
        return Training(self.training, str(models.absolute()) if models else None)

    def make_evaluator(self, models: Path | None = None) -> Evaluator:
        """What scores codes: trainings, or a table."""
        return Table(self.table) if self.table is not None else self.make_training(models)

    @property
    def stage_counting(self) -> dict[str, Any]:
        """What the stages of the trained networks are counted with: input_size, in_chans, num_classes."""
        counting = {} if self.training is None else self.make_training().counting
        return {name: counting[name] for name in ("input_size", "in_chans", "num_classes") if name in counting}

    def make_space(self) -> Space:
        """The space under the budget, counted as the networks that are trained."""
        budget: Any = self.budget
        known = ("macs",) if self.table else ("macs", "params")
        if odd := budget.keys() - set(known):
            raise SpaceError(f"budget: expected {' or '.join(known)}, got {', '.join(sorted(odd))}")
        if self.table is not None:
            return Table(self.table).space(macs=budget.get("macs"))
        counting = self.make_training().counting
        if isinstance(self.space, str) and self.space in list_spaces():
            return get_space(self.space, **budget, **counting)
        source = self._own_space()
        return load_space({**counting, **(source if isinstance(source, Mapping) else {})}, budget)

    def _own_space(self) -> Any:
        """What the file of a space that is not declared holds."""
        if not isinstance(self.space, str):
            return self.space
        if not Path(self.space).is_file():
            raise SpaceError(f"space: {self.space!r} is no file: {did_you_mean(self.space, list_spaces())}")
        return yaml.safe_load(Path(self.space).read_text(encoding="utf-8"))

    def make_searcher(self) -> Searcher:
        """The searcher over the space."""
        return SEARCHERS[self.searcher](self.make_space(), seed=self.seed)


def _with_base(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with a training that is a recipe's name as the mapping that it stands for."""
    training = values.get("training")
    return {**values, "training": {"base": training}} if isinstance(training, str) else dict(values)


def parse_budget(budget: str | Mapping[str, Any]) -> dict[str, float]:
    """Bounds by their names: "10M" and "macs=10M" are {"macs": 10_000_000}.

    Raises:
        SpaceError: If a part is neither.
    """
    if isinstance(budget, (str, int, float)):
        parts = [part.partition("=") for part in str(budget).split(",") if part.strip()]
        budget = {name.strip() if equals else "macs": value if equals else name for name, equals, value in parts}
    return {name: parse_amount(value) for name, value in budget.items()}
