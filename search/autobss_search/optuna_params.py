"""A space's codes as Optuna's parameters: one for each dimension, by its name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import BaseTrial

from autobss_zoo.codes import Code

from .errors import SpaceError
from .spaces.space import Dimension, Space


class SpaceParams:
    """How the codes of a space are written into Optuna's trials, and read from them.

    Args:
        space: The space.

    Attributes:
        space: The space.
        distributions: By the dimensions' names what each may be: integers with a step; a categorical distribution where
            steps differ, choices have no order, or are fractions (then texts such as "1/4").
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.distributions: dict[str, BaseDistribution] = {d.name: _distribution(d) for d in space.dimensions}

    def params(self, code: Code) -> dict[str, Any]:
        """The parameters of a code of the space."""
        row = self.space.encode([code])[0]
        chosen = (d.choices[i] for d, i in zip(self.space.dimensions, row, strict=True))
        return {d.name: c if d.of is None else str(c) for d, c in zip(self.space.dimensions, chosen, strict=True)}

    def code(self, params: Mapping[str, Any]) -> Code:
        """The code of a trial's parameters; others than the space's are left alone.

        Raises:
            SpaceError: If one is missing or none of its dimension's choices.
        """
        row = []
        for d in self.space.dimensions:
            try:
                value = params[d.name]
                row.append(d.choices.index(value if d.of is None else Fraction(value)))
            except (KeyError, ValueError, TypeError):
                known = ", ".join(map(str, d.choices))
                raise SpaceError(f"{d.name}: expected one of {known}, got {params.get(d.name)!r}") from None
        return self.space.decode(np.array([row]))[0]


def suggest_code(trial: BaseTrial, space: Space) -> Code:
    """Have Optuna choose a code of a space.

    Args:
        trial: A running trial of an objective, or a finished one, such as `study.best_trial`, of which it is the code.
        space: The space. Optuna's own samplers do not know its budget; `AutoBSSSampler(space)` keeps it.

    Returns:
        The code. Its elements are parameters of the trial, by the names of the space's dimensions.

    Examples:
        >>> def objective(trial):
        ...     return accuracy(autobss_zoo.create_model(suggest_code(trial, space)))
    """
    parameters = SpaceParams(space)
    for name, distribution in parameters.distributions.items():
        if isinstance(distribution, IntDistribution):
            trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step)
        elif isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical(name, distribution.choices)
    return parameters.code(trial.params)


def _distribution(dimension: Dimension) -> BaseDistribution:
    choices = dimension.choices
    if dimension.of is not None:
        return CategoricalDistribution([str(c) for c in choices])
    if not dimension.ordered:
        return CategoricalDistribution([int(c) for c in choices])
    steps = {int(b - a) for a, b in itertools.pairwise(choices)}
    if len(steps) == 1:
        return IntDistribution(int(choices[0]), int(choices[-1]), step=steps.pop())
    return CategoricalDistribution([int(c) for c in choices])
