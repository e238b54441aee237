"""AutoBSS as a sampler of Optuna: over a space of codes under a budget, or over whatever an objective suggests."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from autobss_zoo.codes import Code

from .errors import SpaceError
from .optuna_params import SpaceParams
from .searchers import candidates
from .searchers.autobss import AutoBSS
from .searchers.searcher import BATCH, Observation
from .spaces.space import Dimension, Space

_LEVELS = 1001  # of a number without a step: thousandths of its range
_CANDIDATES = 1024
_MOVES = 16  # further candidates around a good one

_LOCK = threading.Lock()  # of threads that share a sampler, one proposes at a time; not in the sampler, which pickles


class AutoBSSSampler(BaseSampler):
    """Sampler of Optuna that proposes what AutoBSS does, for studies of one objective.

    With a space, its codes are searched within its budget from the first trial on; `suggest_code` makes a trial's code.
    Without, the parameters are searched that all finished trials have in common, as in Optuna's `GPSampler`; others,
    and those of the first trial, are sampled independently. Numbers without a step are searched in thousandths of their
    range, of its logarithm with `log=True`.

    A proposal is a pure function of the seed, the study's trials and the trial's number: a study that is loaded from
    its storage goes on as if it had not been stopped. The first 16 trials are spread over the space. Trials that run at
    the same time, in threads or processes, count as pending and get different points. Failed and pruned trials, and
    values that are not finite, count like the worst value. Once all points were tried they are sampled again.

    Args:
        space: The codes that are searched; None to search what objectives suggest.
        preset: "default" or "paper", as of `AutoBSS`.
        seed: Seed of all that is random; a random one when None.
        independent_sampler: Samples parameters that are not searched; Optuna's `RandomSampler` of the same seed when
            None.

    Raises:
        ValueError: If the preset or the seed is no such thing; from a study, if it has several objectives.
        SpaceError: From a study, if a sampler around this one fixes a dimension of the space.

    Examples:
        >>> space = get_space("resnet18_small", macs="10M")
        >>> study = optuna.create_study(direction="maximize", sampler=AutoBSSSampler(space, seed=0))
        >>> study.optimize(lambda trial: train(suggest_code(trial, space)), n_trials=64)
        >>> suggest_code(study.best_trial, space)
    """

    def __init__(
        self,
        space: Space | None = None,
        *,
        preset: str = "default",
        seed: int | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        self._seed = int(np.random.default_rng().integers(1 << 31)) if seed is None else seed
        self._preset = preset
        self._codes = None if space is None else SpaceParams(space)
        self._searchers: dict[Any, AutoBSS] = {}
        self._asked: dict[tuple[str, int], dict[str, Any]] = {}  # parameters of running trials, by study and number
        self._searcher(self._codes or _Grid({"x": IntDistribution(0, 1)}), "maximize")  # refuses wrong arguments
        self._independent = independent_sampler or RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The space's parameters, or those that all finished trials have in common."""
        if self._codes is not None:
            return dict(self._codes.distributions)
        known = intersection_search_space(study.get_trials(deepcopy=False))
        return {name: distribution for name, distribution in known.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The trial's parameters in the search space."""
        _check_single(study)
        if not search_space:
            return {}
        if self._codes is not None and (fixed := self._codes.distributions.keys() - search_space.keys()):
            raise SpaceError(
                f"{sorted(fixed)[0]} is fixed by another sampler, which its budget cannot follow; "
                "give AutoBSSSampler a space in which it has one choice"
            )
        points = self._codes or _Grid(search_space)
        with _LOCK:
            code = self._proposed(study, trial, points, search_space)
            self._asked[study.study_name, trial.number] = params = points.params(code)
        return params

    def _proposed(
        self, study: Study, trial: FrozenTrial, points: _Points, search_space: Mapping[str, BaseDistribution]
    ) -> Code:
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        alike = [t for t in others if all(t.distributions.get(k) == d for k, d in search_space.items())]
        observations = _observations((t, points.code(t.params)) for t in alike if t.state.is_finished())
        running = {t.number: t.params for t in alike if t.state == TrialState.RUNNING}
        late = [t.number for t in others if t.state == TrialState.RUNNING and t.number not in running]
        for number in late:
            params = self._asked.get((study.study_name, number), {})
            if params.keys() == search_space.keys():
                running[number] = params
        pending = [points.code(params) for params in running.values()]
        # Older trials of other processes, whose parameters are not known yet, get the first places of the batch.
        unknown = sum(number < trial.number and number not in running for number in late)
        left = points.space.size - len({o.code for o in observations} | set(pending))
        n = max(1, min(unknown + 1, left))
        searcher = self._searcher(points, study.direction.name.lower())
        try:
            return searcher.propose(observations, trial.number // BATCH, n, pending)[-1]
        except SpaceError:  # all points were tried
            rng = np.random.default_rng([self._seed, trial.number])
            return points.space.decode(candidates.uniform(points.space, 1, rng))[0]

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Forget the trial's parameters, which its study has now."""
        self._asked.pop((study.study_name, trial.number), None)
        self._independent.after_trial(study, trial, state, values)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that is not in the search space."""
        _check_single(study)
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; proposals that are made at the same time differ as they are."""
        self._independent.reseed_rng()

    def _searcher(self, points: _Points, direction: str) -> AutoBSS:
        """The searcher over the points, which keeps its candidates from one trial to the next."""
        dimensions = points.space.dimensions
        if (key := (dimensions, direction)) not in self._searchers:
            if isinstance(points, _Grid):
                size = min(points.space.size, _CANDIDATES)
                found: AutoBSS = _GridSearch(points.space, self._preset, direction, self._seed, size, growth=False)
            else:
                found = AutoBSS(points.space, self._preset, direction, self._seed)
            self._searchers[key] = found
        return self._searchers[key]


class _Points(Protocol):
    """What parameters are as codes."""

    space: Space

    def params(self, code: Code) -> dict[str, Any]:
        """The parameters of a code."""

    def code(self, params: Mapping[str, Any]) -> Code:
        """The code of parameters."""


class _Grid:
    """Parameters of any distributions as codes, one element for each."""

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self._axes = {name: _Axis(f"x{i}", d) for i, (name, d) in enumerate(distributions.items())}
        self.space = Space("optuna", [axis.dimension for axis in self._axes.values()])

    def params(self, code: Code) -> dict[str, Any]:
        (row,) = self.space.encode([code])
        return {name: axis.values[i] for (name, axis), i in zip(self._axes.items(), row, strict=True)}

    def code(self, params: Mapping[str, Any]) -> Code:
        row = [axis.nearest(params[name]) for name, axis in self._axes.items()]
        return self.space.decode(np.array([row]))[0]


class _Axis:
    """The values of a distribution that are searched.

    Of numbers the dimension's choices say where on their scale, linear or logarithmic, they are, in millionths.
    """

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        self._distribution = distribution
        if isinstance(distribution, CategoricalDistribution):
            self.values: Sequence[Any] = distribution.choices
            self.dimension = Dimension(name, tuple(range(len(self.values))), ordered=False)
            return
        assert isinstance(distribution, (FloatDistribution, IntDistribution))
        self.values = _numbers(distribution)
        scaled = np.log(self.values) if distribution.log else np.array(self.values, float)
        places = np.rint(1e6 * (scaled - scaled[0]) / max(scaled[-1] - scaled[0], 1e-300)).astype(int)
        self.dimension = Dimension(name, tuple(places.tolist()))

    def nearest(self, value: Any) -> int:
        """The position of the value that is nearest to a parameter's."""
        if not self.dimension.ordered:
            return int(self._distribution.to_internal_repr(value))
        right = min(bisect_left(self.values, value), len(self.values) - 1)
        return right - (right > 0 and value - self.values[right - 1] < self.values[right] - value)


def _numbers(distribution: FloatDistribution | IntDistribution) -> list[Any]:
    """The numbers of a distribution that are searched, in ascending order."""
    low, high, kind = distribution.low, distribution.high, type(distribution.low)
    if distribution.log:
        values = np.geomspace(low, high, _LEVELS).tolist()
    elif distribution.step is None:
        values = np.linspace(low, high, _LEVELS).tolist()
    else:
        steps = round((high - low) / distribution.step)
        places = np.linspace(0, steps, min(steps + 1, _LEVELS)).round().tolist()
        values = [low + int(place) * distribution.step for place in places]
    return sorted({kind(min(max(low, round(v) if kind is int else v), high)) for v in values})


class _GridSearch(AutoBSS):
    """AutoBSS over grids, whose larger points are not dearer ones: their steps are of all lengths, and none grows."""

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return values  # they are places on a scale already

    def _around(self, positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, lengths = np.repeat(positions, _MOVES, axis=0), self.space.lengths
        reach = lengths * 2.0 ** -rng.uniform(1, 10, (len(rows), 1))
        moved = np.clip(rows + np.rint(reach * rng.standard_normal(rows.shape)).astype(int), 0, lengths - 1)
        moved = np.where(self.space.ordered, moved, rng.integers(0, lengths, rows.shape))
        rows = np.where(rng.random(rows.shape) < 0.5, moved, rows)
        return np.concatenate([rows, self.space.steps(positions)])


def _check_single(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(f"AutoBSSSampler searches for one objective; this study has {len(study.directions)}")


def _observations(finished: Iterable[tuple[FrozenTrial, Code]]) -> list[Observation]:
    """What finished trials tell of their codes: means of finite values, else failures."""
    scores: dict[Code, list[float]] = defaultdict(list)
    rounds: dict[Code, int] = {}
    for trial, code in finished:
        rounds[code] = trial.number // BATCH
        if trial.state == TrialState.COMPLETE and math.isfinite(trial.value):  # type: ignore[arg-type]
            scores[code].append(trial.value)  # type: ignore[arg-type]
    return [
        Observation(code, float(np.mean(scores[code])) if code in scores else None, round)
        for code, round in rounds.items()
    ]
