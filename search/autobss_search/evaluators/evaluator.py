"""What turns a code into a score, as a study sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting
from autobss_zoo.plugins import Kinds

from ..spaces.budgets import describe
from ..spaces.declared import find_space
from ..spaces.space import Space


class Evaluator(ABC):
    """Scores codes. For worker processes it must be picklable.

    A driver prepares it once; each worker opens its own copy once, and then scores codes with it.
    """

    #: Whether a recipe's `space` says which codes are scored, or the evaluator knows by itself.
    needs_space: ClassVar[bool] = True
    #: A folder for trained networks; nothing is kept when None.
    models: str | None = None

    def prepare(self) -> None:
        """Do once what all scores need, such as training a supernet: in the driver, before the first code is scored.

        A study that is resumed calls it again: what was done is found and not done anew.
        """
        return

    def open(self) -> None:
        """Make ready in a worker, before its first code."""
        return

    @abstractmethod
    def score(self, code: Code, seed: int) -> float:
        """The score of a code; any exception is a failed trial."""

    def kept_model(self, code: Code, seed: int) -> Path | None:
        """The folder of the trained network, which `from_pretrained` reads; None if none is kept."""
        return None

    def describe(self) -> Any:
        """What a score depends on, as plain values: part of a study's identity."""
        return type(self).__qualname__

    def prior(self, space: Space, n: int, seed: int) -> list[Code]:
        """Up to `n` codes of a space that are likely to be good, where it knows of such before any is scored."""
        return []

    @classmethod
    def from_recipe(cls, settings: Mapping[str, Any], models: Path | None) -> Evaluator:
        """The evaluator that a recipe of a search describes.

        Args:
            settings: The keys of `score` but `kind`.
            models: A folder for what is trained; nothing is kept when None.
        """
        return cls(**settings)

    def to_recipe(self) -> dict[str, Any]:
        """Settings that `from_recipe` reads, and that mean the same in any folder."""
        raise TypeError(f"{type(self).__qualname__} cannot be written into a recipe: it has no to_recipe")

    def make_space(self, space: Any, budget: Mapping[str, Any]) -> Space:
        """The space that a recipe's `space` and `budget` describe, counted as what is scored.

        Args:
            space: A declared space's name, a file, or the mapping that such a file holds.
            budget: By the costs' names their bounds.
        """
        return find_space(space, budget)

    @property
    def setting(self) -> Setting | None:
        """What the codes' networks are counted with; the families' own when None."""
        return None


class Function(Evaluator):
    """A plain function as an evaluator.

    Args:
        function: `function(code, seed)` returns the score; where it has a method `describe`, that says what a score
            depends on, else its name does.
    """

    def __init__(self, function: Callable[[Code, int], float]) -> None:
        self.function = function

    @override
    def score(self, code: Code, seed: int) -> float:
        return self.function(code, seed)

    @override
    def describe(self) -> Any:
        return describe(self.function)


def as_evaluator(evaluate: Evaluator | Callable[[Code, int], float]) -> Evaluator:
    """An evaluator as it is, a plain function as one."""
    return evaluate if isinstance(evaluate, Evaluator) else Function(evaluate)


EVALUATORS: Kinds[Evaluator] = Kinds(
    "score: kind",
    {
        "training": f"{__package__}.training",
        "table": f"{__package__}.tabular",
        "surrogate": f"{__package__}.surrogates",
        "supernet": f"{__package__}.supernet",
    },
)
"""The kinds of evaluators, by the name that recipes give as `score: {kind: ...}`."""

register_evaluator = EVALUATORS.register
"""Decorates a user's own subclass of `Evaluator`; takes the kind's name."""
