"""Scores from a surrogate of trainings, for spaces too large for a table, as NAS-Bench-301 has it for cells."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field
from scipy.linalg import cho_factor, cho_solve
from typing_extensions import override

from autobss_zoo.codes import Code
from autobss_zoo.cost import Setting
from autobss_zoo.errors import AutoBSSWarning
from autobss_zoo.limits import Number

from ..searchers.candidates import around, candidate_set
from ..spaces.budgets import Figure
from ..spaces.declared import find_space
from ..spaces.space import Space
from .evaluator import Evaluator, register_evaluator
from .shelves import Shelf, read_json

SURROGATES = Shelf("surrogate")
"""The surrogates that there are."""

_Positive = Annotated[Number, Field(gt=0)]
_CLIMBERS = 40
_BLOCK = 1 << 12  # codes at a time


class Covariance(BaseModel):
    """That of trainings, as a function of the standardised logarithms of codes' elements and costs.

    Attributes:
        noise: The standard deviation of a training.
        linear: That of the slope in each of these inputs.
        matern: That of a process with a Matern kernel of nu = 5/2, which is added to the linear one.
        lengths: The Matern kernel's length scales, of each input.
    """

    noise: _Positive
    linear: _Positive
    matern: _Positive
    lengths: list[_Positive]

    def kernel(self, fixed: bool = True) -> Any:
        """Scikit-learn's kernel for it without the noise; its parameters can be fitted unless `fixed`."""
        from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

        bounds: Any = "fixed" if fixed else (1e-2, 1e2)
        variances = [ConstantKernel(value**2, bounds) for value in (self.linear, self.matern)]
        smooth = Matern(self.lengths, bounds, nu=2.5)
        return variances[0] * DotProduct(0, "fixed") + variances[1] * smooth


class _Content(BaseModel):
    space: dict[str, Any]
    covariance: Covariance
    trainings: Annotated[dict[str, Annotated[list[Number], Field(min_length=1)]], Field(min_length=2)]


@register_evaluator("surrogate")
class Surrogate(Evaluator):
    """A Gaussian process that has seen many trainings: a code's score is its mean with the noise of a training.

    The file is a JSON object, optionally compressed as .xz: the `space` as a file of a space holds it, its budget the
    largest that was trained for; the scores of each code's `trainings` by the code's text; the `covariance`.

    Args:
        source: The file, or the name of a surrogate that comes with the package (`SURROGATES.names()`).

    Attributes:
        path: The file.
        noise: The standard deviation of a training.
        codes: What was trained.
        scores: Their trainings', shape (n, most trainings of a code); NaN where a code has fewer.
        macs, params: Theirs, shape (n,).

    Raises:
        ValueError: If there is no such surrogate, or the file holds none.
    """

    needs_space = False

    def __init__(self, source: str | Path) -> None:
        self.path = path = SURROGATES.find(source)
        expected = f"{path}: expected an object with space, covariance and trainings"
        content: _Content = read_json(path, _Content, expected)
        self._spec, self.covariance = content.space, content.covariance
        self.noise = self.covariance.noise
        self._space = find_space(self._spec, {})
        self.codes = [self._space.parse(text) for text in content.trainings]
        most = max(map(len, content.trainings.values()))
        self.scores = np.array([own + [np.nan] * (most - len(own)) for own in content.trainings.values()])
        inputs = self._inputs(self.codes)
        self._mean, self._deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        macs = next((c.function for c in self._space.constraints if c.name == "macs"), None)
        if not isinstance(macs, Figure):
            raise ValueError(f"{path}: space: budget: expected one of macs")
        values, self._counted = np.array([code.values for code in self.codes]), macs.counted
        self.macs, self.params = macs(values), Figure("params", macs.counted)(values)
        if (got := len(self.covariance.lengths)) != inputs.shape[1]:
            raise ValueError(f"{path}: covariance: lengths: expected {inputs.shape[1]}, got {got}")

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many choices each element has."""
        return tuple(self._space.lengths.tolist())

    @property
    @override
    def setting(self) -> Setting:
        return self._counted.setting

    def _inputs(self, codes: Iterable[Code]) -> np.ndarray:
        """The logarithms of elements and costs, shape (n, elements + costs)."""
        rows = self._space.encode(codes)
        return np.log(np.column_stack([self._space.values(rows), *self._space.costs(rows).values()]))

    def inputs(self, codes: Iterable[Code]) -> np.ndarray:
        """What the covariance is a function of, shape (n, elements + costs)."""
        return (self._inputs(codes) - self._mean) / self._deviation

    @cached_property
    def _fit(self) -> tuple[Any, np.ndarray, float, np.ndarray]:
        """The kernel, the trained inputs, the mean score and the inputs' weights."""
        kernel, inputs = self.covariance.kernel(), self.inputs(self.codes)
        scores = np.nanmean(self.scores, axis=1)
        noise = self.noise**2 / np.isfinite(self.scores).sum(axis=1)
        weights = cho_solve(cho_factor(kernel(inputs) + np.diag(noise)), scores - scores.mean())
        return kernel, inputs, float(scores.mean()), weights

    def means(self, codes: Iterable[Code]) -> np.ndarray:
        """The scores of codes without the luck of a training, shape (n,)."""
        kernel, inputs, mean, weights = self._fit
        new = self.inputs(codes)
        blocks = [kernel(new[start : start + _BLOCK], inputs) @ weights for start in range(0, len(new), _BLOCK)]
        return mean + np.concatenate(blocks)

    def best(self, space: Space) -> Code:
        """The best code without luck that was found in a space."""
        return climbed(space, self.means)

    @override
    def score(self, code: Code, seed: int) -> float:
        return float(self.means([code])[0] + self.noise * np.random.default_rng([seed, *code.values]).normal())

    @override
    def describe(self) -> str:
        """The surrogate's identity."""
        content = json.dumps([self._spec, self.covariance.model_dump(), [str(code) for code in self.codes]])
        digest = hashlib.sha256(content.encode() + self.scores.tobytes()).hexdigest()
        return f"surrogate {digest[:16]}"

    @classmethod
    @override
    def from_recipe(cls, settings: Mapping[str, Any], models: Path | None) -> Surrogate:
        """As in Evaluator; the settings are the `file`."""
        return cls(SURROGATES.from_recipe(settings))

    @override
    def to_recipe(self) -> dict[str, Any]:
        return SURROGATES.to_recipe(self.path)

    @override
    def make_space(self, space: Any, budget: Mapping[str, Any]) -> Space:
        """As in Evaluator: the codes that it is of, under its own budget or one that replaces it."""
        SURROGATES.check_no_space(space)
        return find_space(self._spec, budget)


def climbed(space: Space, means: Callable[[list[Code]], np.ndarray]) -> Code:
    """The best code of a space that was found from its grown candidates uphill, the best ones together.

    Args:
        space: The space.
        means: What codes score, shape (n,).
    """
    rng, best = np.random.default_rng(0), -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AutoBSSWarning)  # a small space has fewer candidates
        rows = candidate_set(space, rng)
    while True:
        found = means(space.decode(rows))
        tops = rows[np.argsort(-found)[:_CLIMBERS]]
        if found.max() <= best:
            return space.decode(tops[:1])[0]
        best, rows = found.max(), np.unique(np.concatenate([tops, around(space, tops, rng)]), axis=0)
