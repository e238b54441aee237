"""Surrogates of AutoBSS's ResNet18, ResNet50 and MobileNetV2 spaces, in networks that train in seconds.

Random, grown and searched codes are trained from scratch, a tenth of them three times, and a Gaussian process is fitted
to what they score. `--pilot` trains some grown codes of one budget twice and tells whether they differ by more than the
noise. Interrupted, it goes on.

    python benchmarks/stacking_bench.py --network resnet18 --pilot 24
    python benchmarks/stacking_bench.py --network resnet18 --publish
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from ground_truth import card, train_all, write_compressed
from machine import machine
from scipy.stats import bootstrap
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.metrics import root_mean_squared_error

from autobss_search import AutoBSS, RegularizedEvolution, Session, Space
from autobss_search.evaluators.factorial import noise_variance
from autobss_search.evaluators.surrogates import SURROGATES, Covariance, Surrogate
from autobss_search.evaluators.training import Training
from autobss_search.reports.benches import Correlation
from autobss_search.searchers.candidates import candidate_set, uniform
from autobss_search.spaces.uniform import uniform_code
from autobss_zoo.codes import Code

NETWORKS = {"resnet18": "bench/stacking", "resnet50": "bench/stacking.resnet50", "mnv2": "bench/stacking.mnv2"}
CODES, TENTH, GROWN = 1500, 150, 250
SHARES = (1.0, 0.5)  # of the space's budget
SEARCHERS: list[Callable[[Space, int], AutoBSS | RegularizedEvolution]] = [
    lambda space, seed: AutoBSS(space, "paper", seed=seed),
    lambda space, seed: RegularizedEvolution(space, seed=seed),
]
SEARCHES = 2  # by each, at each budget
HELD_OUT = 5  # every fifth code
RESAMPLED = 1000  # times, of the held-out codes

Train = Callable[[list[Code], int], list[float]]
"""Trains codes with a seed."""


@dataclass(frozen=True)
class Plan:
    """What is trained of a network's space."""

    network: str

    @cached_property
    def training(self) -> Training:
        return Training({"base": NETWORKS[self.network]})

    @property
    def name(self) -> str:
        return f"stacking_{self.network}"

    def space(self, share: float = 1.0) -> Space:
        """The codes under a share of the largest budget."""
        largest = self.training.make_space(self.name, {}).constraints[0].upper
        return self.under(share * largest)

    def under(self, macs: float) -> Space:
        """The codes of so many MACs at most."""
        return self.training.make_space(self.name, {"macs": macs})

    def codes(self, train: Train) -> list[Code]:
        """Uniformly rescaled, grown, searched, and as many random ones as make 1,500 of all; in a fixed order."""
        codes: dict[Code, None] = {}
        rng = np.random.default_rng(0)
        for share in SHARES:
            space = self.space(share)
            if (rescaled := uniform_code(space)) is not None:
                codes[rescaled] = None
            codes.update(dict.fromkeys(space.decode(candidate_set(space, rng, GROWN))))
            for make in SEARCHERS:
                for seed in range(SEARCHES):
                    codes.update(dict.fromkeys(searched(Session(make(space, seed)), train)))
        while len(codes) < CODES:
            space = self.space(SHARES[len(codes) % len(SHARES)])
            codes.update(dict.fromkeys(space.decode(uniform(space, 1, rng))))
        return list(codes)


def searched(session: Session, train: Train) -> list[Code]:
    """The codes of a search with 64 trainings."""
    codes: list[Code] = []
    for _ in range(4):
        batch = session.ask(16)
        for code, score in zip(batch, train(batch, 0), strict=True):
            session.tell(code, score)
        codes += batch
    return codes


def written(path: Path, plan: Plan, trainings: dict[Code, list[float]], covariance: Covariance) -> Surrogate:
    """The surrogate of trainings, in a file."""
    content = {
        "space": {"base": plan.name},
        "covariance": covariance.model_dump(),
        "trainings": {str(code): scores for code, scores in trainings.items()},
    }
    write_compressed(path, content)
    return Surrogate(path)


def fitted(surrogate: Surrogate) -> Covariance:
    """The likeliest covariance of a surrogate's trainings, whose noise is kept."""
    means = np.nanmean(surrogate.scores, axis=1)
    noise = surrogate.noise**2 / np.isfinite(surrogate.scores).sum(axis=1)
    kernel = surrogate.covariance.kernel(fixed=False)
    process = GaussianProcessRegressor(kernel, alpha=noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the lengths of inputs that only slope end at the bound
        found = process.fit(surrogate.inputs(surrogate.codes), means - means.mean()).kernel_
    return Covariance(
        noise=surrogate.noise,
        linear=found.k1.k1.constant_value**0.5,
        matern=found.k2.k1.constant_value**0.5,
        lengths=found.k2.k2.length_scale.tolist(),
    )


def publish(plan: Plan, trainings: dict[Code, list[float]], path: Path) -> str:
    """Write the surrogate, and return its card."""
    repeated = np.array([scores for scores in trainings.values() if len(scores) > 1])
    noise = noise_variance(repeated) ** 0.5
    spread = float(np.std([scores[0] for scores in trainings.values()]))
    start = Covariance(noise=noise, linear=spread, matern=spread, lengths=[3.0] * (plan.space().ndim + 1))
    held_out = dict(list(trainings.items())[::HELD_OUT])
    learned = {code: scores for code, scores in trainings.items() if code not in held_out}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json.xz"
        covariance = fitted(written(part, plan, learned, start))
        partial = written(part, plan, learned, covariance)
        truth = np.array([scores[0] for scores in held_out.values()])
        trees = HistGradientBoostingRegressor(random_state=0).fit(
            partial.inputs(partial.codes), np.nanmean(partial.scores, axis=1)
        )
        guesses = {
            "the surrogate": partial.means(held_out),
            "boosted trees": trees.predict(partial.inputs(held_out)),
            "MACs": np.polyval(np.polyfit(*macs_and_means(partial), 1), partial.inputs(held_out)[:, -1]),
        }
    surrogate = written(path, plan, trainings, covariance)
    return described(plan, surrogate, guesses, truth)


def macs_and_means(surrogate: Surrogate) -> tuple[np.ndarray, np.ndarray]:
    """The logarithms of the trained codes' MACs, standardised, and their mean scores; both of shape (n,)."""
    return surrogate.inputs(surrogate.codes)[:, -1], np.nanmean(surrogate.scores, axis=1)


def described(plan: Plan, surrogate: Surrogate, guesses: dict[str, np.ndarray], truth: np.ndarray) -> str:
    """The surrogate's card, in Markdown."""
    rng, means, noise = np.random.default_rng(0), np.nanmean(surrogate.scores, axis=1), surrogate.noise
    best = guesses["the surrogate"]
    ceiling = [Correlation.of(best, best + rng.normal(0, noise, len(best))) for _ in range(100)]
    rooms = []
    for share in SHARES:
        if (rescaled := uniform_code(space := plan.space(share))) is not None:
            macs = float(space.costs(space.encode([rescaled]))["macs"][0])
            own, found = surrogate.means([rescaled, surrogate.best(plan.under(macs))])
            rooms.append(f"{found - own:.2f} at {macs:,.0f} MACs (`{rescaled}`, {own:.2f})")
    facts = [
        f"Codes: {len(means):,} of space `{plan.name}`, at most {plan.space().constraints[0].upper:,.0f} MACs and at "
        f"{SHARES[-1]:.0%} of that: rescaled, grown, searched (by regularised evolution and the paper's searcher) and "
        "random ones. Every tenth was trained with three seeds, the others with one.",
        f"Mean accuracies: {means.min():.2f} to {means.max():.2f}, standard deviation {means.std():.2f}. Noise of a "
        f"training, and of a score of the surrogate: {noise:.2f}.",
        "By how many points the best code of a uniformly rescaled one's MACs is better than that, by the surrogate: "
        + ", ".join(rooms)
        + ".",
    ]
    rows = "".join(f"| {name} | {' | '.join(judged(guess, truth))} |\n" for name, guess in guesses.items())
    left = f"{np.mean([c.spearman for c in ceiling]):.3f} and {np.mean([c.kendall for c in ceiling]):.3f}"
    rest = f"""
Held out from it, every fifth code: errors (RMSE, in points) and rank correlations with single trainings, with standard
errors (bootstrap over the codes). Their noise alone is an error of {noise:.2f}, and would leave {left} if the
surrogate's means were the truth.

| predictor | RMSE | Spearman | Kendall |
| --- | --- | --- | --- |
{rows}"""
    what = "A Gaussian process over codes trained from scratch."
    again = f"python benchmarks/stacking_bench.py --network {plan.network} --publish"
    return card(plan.name, what, NETWORKS[plan.network], facts, again, rest)


def judged(guess: np.ndarray, truth: np.ndarray) -> list[str]:
    """The error of a predictor and its rank correlations with the truth, each with its standard error."""
    figures: list[tuple[Callable[..., float], int]] = [
        (root_mean_squared_error, 2),
        (lambda own, known: Correlation.of(own, known).spearman, 3),
        (lambda own, known: Correlation.of(own, known).kendall, 3),
    ]
    out = []
    for figure, digits in figures:
        resampled = bootstrap(
            (guess, truth), figure, paired=True, vectorized=False, n_resamples=RESAMPLED, method="percentile", rng=0
        )
        out.append(f"{figure(guess, truth):.{digits}f} ± {resampled.standard_error:.{digits}f}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--pilot", type=int, metavar="N", help="train N grown codes of the largest budget alone, twice")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings side by side")
    parser.add_argument("--folder", type=Path, default=Path("outputs/stacking_bench"), help="where trainings are kept")
    parser.add_argument("--publish", action="store_true", help="write the surrogate and its card into the package")
    options = parser.parse_args()
    plan = Plan(options.network)

    def train(codes: list[Code], seed: int) -> list[float]:
        kept = options.folder / f"{options.network}.jsonl"
        found = train_all(plan.training, [(code, seed) for code in codes], kept, options.workers)
        return [found[str(code), seed] for code in codes]

    if options.pilot:
        space = plan.space()
        codes = space.decode(candidate_set(space, np.random.default_rng(0), options.pilot))
        scores = np.array([train(codes, seed) for seed in (0, 1)]).T
        noise = noise_variance(scores)
        true = max(0.0, scores.mean(axis=1).var(ddof=1) - noise / 2)
        print(f"spread of codes {true**0.5:.3f}, noise of a training {noise**0.5:.3f}; {machine()}")
        return
    codes = plan.codes(train)
    trainings = {code: [score] for code, score in zip(codes, train(codes, 0), strict=True)}
    for seed in (1, 2):
        tenth = codes[:: len(codes) // TENTH]
        for code, score in zip(tenth, train(tenth, seed), strict=True):
            trainings[code].append(score)
    if options.publish:
        path = SURROGATES.file(plan.name)
        path.with_name(f"{plan.name}.md").write_text(publish(plan, trainings, path), encoding="utf-8")


if __name__ == "__main__":
    main()
