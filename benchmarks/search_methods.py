"""The methods that benchmarks/search_peers.py compares: ours, and those of other libraries, with the same budget.

Each takes a problem and a seed, spends `problem.budget` scores in rounds of `problem.batch` and returns its answer,
ours that after each round, or where a cost is a second objective the codes of its front. A peer is asked only for
feasible codes that are new: what it cannot be told is rejected before it costs a score.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from search_ablations import ABLATIONS

from autobss_search import AutoBSS, LocalSearch, RandomSearch, RegularizedEvolution, Searcher, Session, Space
from autobss_search.searchers.candidates import candidate_set
from autobss_search.searchers.candidates import uniform as uniformly
from autobss_search.searchers.front import pareto_front
from autobss_search.spaces.uniform import uniform_code
from autobss_zoo import Code

ENUMERABLE = 1 << 24  # codes of spaces that are small enough to look at all of them


@dataclass
class Problem:
    """A space, what scores its codes, and the scores that were spent."""

    space: Space
    draw: Callable[[Code], float]
    rng: np.random.Generator
    batch: int = 16
    rounds: int = 4
    cost: str | None = None  # the constraint that is an objective, too
    drawn: dict[Code, float] = field(default_factory=dict)

    @cached_property
    def batches(self) -> list[int]:
        """How many codes each round scores: `batch`, but no more than there are."""
        scores = self.batch * self.rounds
        if self.space.size <= ENUMERABLE:
            scores = min(scores, self.space.count())
        return [min(self.batch, scores - start) for start in range(0, scores, self.batch)]

    @property
    def budget(self) -> int:
        return sum(self.batches)

    def score(self, code: Code) -> float:
        """The score of a training; each code is scored once."""
        self.space.check(code)
        if code in self.drawn or len(self.drawn) >= self.budget:
            raise AssertionError(f"{code} was scored before, or the budget is spent")
        self.drawn[code] = self.draw(code)
        return self.drawn[code]

    def told(self, code: Code) -> list[float]:
        """The objectives of a code whose score was drawn."""
        return [self.drawn[code], *([self.costs([code])[0]] if self.cost else [])]

    def costs(self, codes: list[Code]) -> np.ndarray:
        """The second objective of codes, shape (n,)."""
        return self.space.costs(self.space.encode(codes))[self.cost or ""]

    def answer(self, judged: dict[Code, float]) -> list[Code]:
        """The code with the best score, or the codes of the front, as they were judged."""
        if not self.cost:
            return [max(judged, key=judged.__getitem__)]
        codes = [*judged]
        return [codes[i] for i in np.flatnonzero(pareto_front(self.costs(codes), np.array([*judged.values()])))]

    def is_new(self, row: np.ndarray) -> bool:
        """Whether a row of positions is feasible and not scored yet."""
        return bool(self.space.feasible(row[None])[0]) and self.space.decode(row[None])[0] not in self.drawn

    def random_new(self, taken: set[Code]) -> Code:
        """A random feasible code, neither scored nor taken."""
        while True:
            code = self.space.decode(uniformly(self.space, 1, self.rng))[0]
            if code not in self.drawn and code not in taken:
                return code


Method = Callable[[Problem, int], list[Code]]


def ours(make: Callable[..., Searcher]) -> Method:
    """Our searchers, made of a space and a seed."""

    def method(problem: Problem, seed: int) -> list[Code]:
        session, answers = Session(make(problem.space, seed=seed)), []
        for n in problem.batches:
            for code in session.ask(n):
                session.tell(code, problem.score(code))
            answers.append(session.recommend())
        return answers

    return method


def optuna_sampler(name: str, rejections: int) -> Method:
    """Optuna, asked for a batch before it is told; codes that it may not have are failed trials.

    After so many `rejections` in a row a random feasible code takes the place (the GP's ask takes a second).
    """

    def method(problem: Problem, seed: int) -> list[Code]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler: optuna.samplers.BaseSampler
        if name == "tpe":
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=problem.batch
            )
        elif name == "nsga2":
            sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=problem.batch)
        else:
            sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=problem.batch)
        study = optuna.create_study(
            directions=["maximize", "minimize"] if problem.cost else ["maximize"], sampler=sampler
        )
        space: dict[str, optuna.distributions.BaseDistribution] = {
            d.name: optuna.distributions.IntDistribution(0, len(d.choices) - 1) for d in problem.space.dimensions
        }
        for n in problem.batches:
            batch: list[tuple[optuna.Trial, Code]] = []
            for _ in range(n):
                taken = {code for _, code in batch}
                for _ in range(rejections):
                    trial = study.ask(space)
                    row = np.array([trial.params[d.name] for d in problem.space.dimensions])
                    code = problem.space.decode(row[None])[0]
                    if problem.is_new(row) and code not in taken:
                        break
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    code = problem.random_new(taken)
                    row = problem.space.encode([code])[0]
                    study.enqueue_trial(dict(zip(space, row.tolist(), strict=True)))
                    trial = study.ask(space)
                batch.append((trial, code))
            for trial, code in batch:
                problem.score(code)
                study.tell(trial, problem.told(code))
        return problem.answer(problem.drawn)

    return method


def botorch(candidates: str) -> Method:
    """qLogNEI of BoTorch with its default model over a discrete set, and the best posterior mean as the answer."""

    def method(problem: Problem, seed: int) -> list[Code]:
        import torch
        from botorch.acquisition.logei import qLogNoisyExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf_discrete
        from botorch.sampling import SobolQMCNormalSampler
        from gpytorch.mlls import ExactMarginalLogLikelihood

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        logging.getLogger("botorch").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        space, rng = problem.space, np.random.default_rng(seed)
        rows = np.concatenate(list(space.enumerate())) if candidates == "feasible" else candidate_set(space, rng)
        choices = torch.tensor(rows / np.maximum(space.lengths - 1, 1), dtype=torch.float64)
        codes = space.decode(rows)
        chosen = rng.choice(len(rows), min(problem.batch, len(rows)), replace=False).tolist()
        y = [problem.score(codes[i]) for i in chosen]

        def fitted() -> SingleTaskGP:
            model = SingleTaskGP(
                choices[chosen], torch.tensor(y, dtype=torch.float64)[:, None], outcome_transform=Standardize(m=1)
            )
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            return model

        for n in problem.batches[1:]:
            acquisition = qLogNoisyExpectedImprovement(
                fitted(),
                choices[chosen],
                sampler=SobolQMCNormalSampler(torch.Size([64]), seed=seed),
                prune_baseline=True,
            )
            left = np.setdiff1d(np.arange(len(rows)), chosen)
            if not len(left):  # fewer grown candidates than scores
                break
            with torch.no_grad():
                picked, _ = optimize_acqf_discrete(
                    acquisition, q=min(n, len(left)), choices=choices[left], max_batch_size=2048
                )
            where = {tuple(row): i for i, row in enumerate(choices.tolist())}
            new = [where[tuple(row)] for row in picked.tolist()]
            chosen += new
            y += [problem.score(codes[i]) for i in new]
        final = fitted()
        with torch.no_grad():
            mean = final.posterior(choices[chosen]).mean[:, 0]
        return [codes[chosen[int(mean.argmax())]]]

    return method


def pymoo_ga(problem: Problem, seed: int) -> list[Code]:
    """pymoo's genetic algorithm on integers; it is told by how much codes are infeasible, which costs no score."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.problems.static import StaticProblem

    space = problem.space
    bounds = PymooProblem(space.ndim, n_obj=1, n_ieq_constr=1, xl=0, xu=space.lengths - 1, vtype=int)
    algorithm = GA(
        pop_size=problem.batch,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=0.9, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob_var=1 / space.ndim, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    algorithm.setup(bounds, termination=("n_gen", 10**6), seed=seed, verbose=False)
    scored: dict[Code, float] = {}
    for _ in range(1000):
        population = algorithm.ask()
        rows = population.get("X").astype(int)
        excess = space.costs(rows)["macs"] / space.constraints[0].upper - 1
        objective, violation = np.zeros(len(rows)), np.maximum(excess, 1e-9)  # what was scored has none
        for i, row in enumerate(rows):
            code = space.decode(row[None])[0]
            if problem.is_new(row) and len(scored) < problem.budget:
                scored[code] = problem.score(code)
            if code in scored:
                objective[i], violation[i] = -scored[code], 0.0
        if len(scored) == problem.budget:
            break
        Evaluator().eval(StaticProblem(bounds, F=objective[:, None], G=violation[:, None]), population)
        algorithm.tell(infills=population)
    return [max(scored, key=scored.__getitem__)]


def uniform(problem: Problem, seed: int) -> list[Code]:
    """What costs no score: the widest code of equally rescaled widths."""
    code = uniform_code(problem.space)
    assert code is not None
    return [code]


METHODS: dict[str, tuple[str, Method]] = {
    "uniform": ("uniform rescaling", uniform),
    "autobss": ("**AutoBSS**, default", ours(AutoBSS)),
    **{name: (what, ours(make)) for name, (what, make) in ABLATIONS.items()},
    "paper": ("AutoBSS, paper preset", ours(partial(AutoBSS, preset="paper"))),
    "paper-no-clustering": (
        "paper preset without clustering",
        ours(partial(AutoBSS, preset="paper", clustering=False)),
    ),
    "paper-no-refining": (
        "paper preset without refining",
        ours(partial(AutoBSS, preset="paper", refining=False)),
    ),
    "paper-no-growth": (
        "paper preset without growth",
        ours(partial(AutoBSS, preset="paper", growth=False)),
    ),
    "random": ("random search", ours(RandomSearch)),
    "evolution": ("regularised evolution", ours(RegularizedEvolution)),
    "local": ("local search", ours(LocalSearch)),
    "tpe": ("Optuna TPE, multivariate", optuna_sampler("tpe", 20)),
    "gp": ("Optuna GP", optuna_sampler("gp", 5)),
    "qlognei": ("BoTorch qLogNEI, feasible set", botorch("feasible")),
    "qlognei-grown": ("BoTorch qLogNEI, our grown candidates", botorch("grown")),
    "pymoo": ("pymoo GA", pymoo_ga),
}
PEERS = ("random", "evolution", "local", "tpe", "gp", "qlognei", "qlognei-grown", "pymoo")
