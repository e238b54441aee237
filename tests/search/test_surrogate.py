"""Refining, clustering, the Gaussian processes and the acquisition, each against an independent implementation."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from autobss_search.searchers import acquisition, clustering, refining
from autobss_search.searchers.acquisition import Fantasies, expected_improvement, select
from autobss_search.searchers.fitting import LinearPlusExponential, fitted_process
from autobss_search.searchers.surrogate import (
    ETA,
    GaussianProcess,
    SquaredExponential,
    paper_process,
    paper_sigma,
    representative,
    standardize,
)


@pytest.fixture
def evaluated():
    """Sixteen codes of four elements and their scores."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4))
    return x, 70 + x @ np.array([1.0, 0.5, 0.0, -0.5]) + rng.normal(0, 0.1, 16)


def test_equation_6_equals_scikit_learns_process(evaluated):
    x, y = evaluated
    process = paper_process(x, y, np.ones(16, bool))
    assert process.noise == ETA**2 == pytest.approx(0.01)
    peer = GaussianProcessRegressor(RBF(process.kernel.sigma), alpha=ETA**2 + 1e-8, optimizer=None)
    peer.fit(x, standardize(y, 1 + ETA**2))
    z = np.random.default_rng(1).normal(size=(50, 4))
    mean, std = peer.predict(z, return_std=True)
    _, covariance = peer.predict(z, return_cov=True)
    ours = process.predict(z)
    np.testing.assert_allclose(ours[0], mean, atol=1e-9)
    np.testing.assert_allclose(ours[1], std, atol=1e-7)
    np.testing.assert_allclose(process.covariance(z[:20], z), covariance[:20], atol=1e-9)
    constant = 16 / 2 * np.log(2 * np.pi)
    assert process.log_marginal_likelihood() - constant == pytest.approx(
        peer.log_marginal_likelihood(peer.kernel_.theta)
    )


def test_scores_are_standardised_to_mean_0_and_variance_1_plus_eta_squared(evaluated):
    y = standardize(evaluated[1], 1 + ETA**2)
    assert (y.mean(), y.var()) == pytest.approx((0, 1.01))
    assert (standardize(np.full(5, 71.0)) == 0).all()


@pytest.mark.parametrize("n", [0, 1, 7, 8])
def test_few_scores_are_all_learned_from(n):
    np.testing.assert_array_equal(representative(np.random.default_rng(n).normal(size=n), 8), np.arange(n))


def test_very_many_scores_are_represented_by_the_best_and_an_even_spread_over_the_others():
    y = np.random.default_rng(0).permutation(1303).astype(float)
    chosen = representative(y, 16)
    assert (np.diff(chosen) > 0).all()
    assert sorted(y[chosen]) == [*range(0, 1301, 100), 1301, 1302]
    np.testing.assert_array_equal(representative(np.zeros(300), 8), [0, 1, 51, 100, 150, 200, 249, 299])  # ties
    assert len(representative(y)) == 256


def test_sigma_is_half_the_distance_at_a_twentieth_of_the_discrepant_pairs(evaluated):
    x, y = evaluated
    first = np.arange(16) < 8
    pairs = [(i, j) for i in range(16) for j in range(i)]
    threshold = np.mean([abs(y[i] - y[j]) for i, j in pairs if first[i] and first[j]])
    distances = sorted(float(np.linalg.norm(x[i] - x[j])) for i, j in pairs if abs(y[i] - y[j]) > threshold)
    assert paper_sigma(x, y, first) == pytest.approx(distances[len(distances) // 20] / 2)
    assert paper_sigma(x, np.full(16, 70.0), first) > 0  # equal accuracies


def test_z_scores():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    mean, deviation = refining.z_score(x)
    np.testing.assert_array_equal((x - mean) / deviation, [[-1, 0], [1, 0]])
    same = np.full((175, 1), np.log(761.0))
    assert same.std() > 0  # by the last digit
    assert refining.z_score(same)[1] == [1.0]


def test_equation_3_and_its_gradient_equal_autograd():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(3, 3)), rng.normal(size=(4, 20, 3))
    y = rng.normal(size=(4, 20))
    w = torch.tensor(weight, requires_grad=True)
    t = torch.tensor(x) @ w.T
    ratio = torch.tensor(np.abs(y[0] - y[1]) / np.abs(y[2] - y[3]))
    loss = ((ratio - (t[0] - t[1]).norm(dim=1) / (t[2] - t[3]).norm(dim=1)) ** 2).mean()
    loss.backward()
    ours, gradient = refining.loss_and_gradient(weight, x[0] - x[1], x[2] - x[3], ratio.numpy())
    assert ours == pytest.approx(loss.item())
    np.testing.assert_allclose(gradient, w.grad.numpy(), rtol=1e-9)


def test_refining_finds_the_elements_that_matter():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 4))
    y = 3 * x[:, 0]  # only the first element matters
    weight = refining.train_linear(x, y, rng)
    length = np.linalg.norm(weight, axis=0)
    assert length[0] > 1.5 * length[1:].max()

    def correlation(codes):
        i, j = np.triu_indices(len(codes), 1)
        return np.corrcoef(np.linalg.norm(codes[i] - codes[j], axis=1), np.abs(y[i] - y[j]))[0, 1]

    assert correlation(x @ weight.T) > correlation(x) + 0.1


@pytest.mark.parametrize("y", [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 2.0]])
def test_equal_accuracies_do_not_divide_by_zero(y):
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert np.isfinite(refining.train_linear(x, np.array(y), np.random.default_rng(0))).all()


def test_the_papers_schedule_of_clusters():
    assert [clustering.schedule(r, 10_000) for r in range(6)] == [16, 160, 1000, 10_000, 10_000, 10_000]
    assert clustering.schedule(1, 50) == 50


def test_centres_are_candidates_of_separate_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    x = np.eye(4)[groups] * 20 + rng.normal(size=(200, 4))
    chosen = clustering.centers(x, 4, 0)
    assert sorted(groups[chosen]) == [0, 1, 2, 3]
    np.testing.assert_array_equal(clustering.centers(x, 200, 0), np.arange(200))


def test_a_pair_is_represented_by_its_first_code_however_its_distances_are_rounded():
    rng = np.random.default_rng(0)
    pairs = np.repeat(rng.normal(size=(20, 3)) * 10, 2, axis=0) + rng.normal(size=(40, 3)) * 0.1
    for turn in range(20):  # each turn rounds differently
        rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        assert not (clustering.centers(pairs @ rotation, 20, turn) % 2).any()


def test_equation_7_equals_numerical_integration():
    mean, std, tau = np.array([0.0, 0.5, -1.0]), np.array([1.0, 0.2, 2.0]), 0.3
    f = np.linspace(-20, 20, 400_001)
    expected = [np.trapezoid(np.maximum(f - tau, 0) * norm.pdf(f, m, s), f) for m, s in zip(mean, std, strict=True)]
    np.testing.assert_allclose(expected_improvement(mean, std, tau), expected, rtol=1e-6)


def test_equation_8_equals_plain_simulation(evaluated):
    x, y = evaluated
    process = paper_process(x, y, np.ones(16, bool))
    rng = np.random.default_rng(1)
    z = rng.normal(size=(6, 4))
    fantasies = Fantasies(process, z, rng, draws=20_000)
    for index in (0, 3):
        fantasies.condition([index])
    # Independently: draw scores at the two pending codes, refit with them, take the mean of EI with tau as documented.
    noise = np.sqrt(process.noise) * rng.standard_normal((1000, 2))
    covariance = process.covariance(z[[0, 3]], z[[0, 3]])
    draws = process.predict(z[[0, 3]])[0] + rng.multivariate_normal([0, 0], covariance, 1000) + noise
    plain = np.zeros(6)
    for drawn in draws:
        refit = GaussianProcess(
            np.concatenate([x, z[[0, 3]]]), np.concatenate([process.y, drawn]), process.kernel, process.noise
        )
        plain += expected_improvement(*refit.predict(z), max(process.y.max(), *drawn)) / len(draws)
    np.testing.assert_allclose(fantasies.expected_improvement(), plain, rtol=0.15, atol=1e-3)
    np.testing.assert_allclose(fantasies.mean.mean(axis=0), process.predict(z)[0], atol=0.02)


def test_a_fixed_tau_would_choose_the_same_code_again(evaluated):
    """Why tau is the maximum of the fantasised scores, too: with a fixed one EEI is EI (the tower rule)."""
    x, y = evaluated
    process = paper_process(x, y, np.ones(16, bool))
    z = np.random.default_rng(2).normal(size=(30, 4))
    plain = expected_improvement(*process.predict(z), process.y.max())
    best = int(plain.argmax())
    fantasies = Fantasies(process, z, np.random.default_rng(3), draws=20_000)
    fantasies.condition([best])
    moving = fantasies.expected_improvement()
    fantasies.tau[:] = process.y.max()
    fixed = fantasies.expected_improvement()
    np.testing.assert_allclose(fixed, plain, rtol=0.05, atol=2e-3)
    assert int(fixed.argmax()) == best
    assert moving[best] < 0.2 * plain[best]


@pytest.mark.parametrize("seed", range(4))
def test_the_batch_equals_botorchs_without_noise(seed):
    torch = pytest.importorskip("torch")
    pytest.importorskip("botorch")  # the environment of the oldest torch is without it
    from botorch.acquisition.monte_carlo import qExpectedImprovement
    from botorch.models import SingleTaskGP
    from botorch.optim import optimize_acqf_discrete
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.kernels import RBFKernel
    from gpytorch.means import ZeroMean

    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(10, 3)), rng.normal(size=(25, 3))
    y, pending = standardize(np.sin(x).sum(axis=1)), rng.normal(size=(2, 3))
    process = GaussianProcess(x, y, SquaredExponential(1.5), 1e-6)
    ours = select(process, z, 3, pending, rng, draws=8192)

    kernel = RBFKernel()
    kernel.lengthscale = 1.5
    tensors = [torch.tensor(a) for a in (x, y[:, None], np.full((10, 1), 1e-6))]
    model = SingleTaskGP(*tensors, covar_module=kernel, mean_module=ZeroMean(), outcome_transform=None)
    acquisition = qExpectedImprovement(
        model.eval(), best_f=float(y.max()), X_pending=torch.tensor(pending),
        sampler=SobolQMCNormalSampler(torch.Size([8192]), seed=0),
    )  # fmt: skip
    with torch.no_grad():
        theirs, _ = optimize_acqf_discrete(acquisition, q=3, choices=torch.tensor(z))
    np.testing.assert_allclose(z[ours], theirs.numpy())


def test_pending_codes_repel_new_ones():
    x = np.array([[-2.0], [2.0]])
    process = GaussianProcess(x, np.array([-1.0, 1.0]), SquaredExponential(1.0), 1e-4)
    z = np.linspace(-3, 5, 81)[:, None]
    (free,) = select(process, z, 1, np.empty((0, 1)), np.random.default_rng(0))
    (avoiding,) = select(process, z, 1, z[[free]], np.random.default_rng(0), draws=2000)
    assert abs(z[free, 0] - z[avoiding, 0]) > 0.5


def test_of_many_evaluated_codes_those_that_may_have_the_highest_f_are_looked_at():
    x = np.linspace(-3, 3, 200)[:, None]
    process = GaussianProcess(x, np.exp(-(x[:, 0] ** 2)), SquaredExponential(1.0), 0.01)
    likely = acquisition._likely_best(process)[:, 0]
    assert len(likely) == 64
    assert (np.diff(likely) > 0).all()
    assert np.abs(likely).max() < 1.1
    few = GaussianProcess(x[:64], x[:64, 0], SquaredExponential(1.0), 0.01)
    np.testing.assert_array_equal(acquisition._likely_best(few), few.x)


def test_where_no_improvement_is_left_the_highest_means_are_chosen():
    x = np.linspace(0, 1, 30)[:, None]
    process = GaussianProcess(x, 50 * x[:, 0], SquaredExponential(2.0), 1e-6)
    z = np.array([[0.1], [0.5], [0.3]])
    assert select(process, z, 3, np.empty((0, 1)), np.random.default_rng(0)) == [1, 2, 0]


@pytest.mark.parametrize("own", [0.0, 0.25])
def test_the_fitted_process_learns_trend_and_noise(own):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    truth = x @ np.array([1.0, -0.5, 0.3, 0.0, 0.0])
    y = truth + rng.normal(0, 0.3, 60)
    process = fitted_process(x, y, own)
    residual = process.noise + process.kernel.own
    assert process.kernel.own == pytest.approx(own * residual)
    assert np.sqrt(residual) * y.std() == pytest.approx(0.3, rel=0.35)
    z = rng.normal(size=(500, 5))
    mean = process.predict(z)[0] * y.std() + y.mean()
    assert np.corrcoef(mean, z @ np.array([1.0, -0.5, 0.3, 0.0, 0.0]))[0, 1] > 0.97
    # It is a maximum: no step in any hyperparameter has a higher posterior density.
    theta = np.log([process.kernel.linear, process.kernel.smooth, process.kernel.length, residual])

    def density(theta):
        linear, smooth, length, residual = np.exp(theta)
        kernel = LinearPlusExponential(linear, smooth, length, own * residual)
        prior = norm.logpdf(theta, np.log([0.1, 0.1, 1.7, 0.5]), [2, 2, 0.7, 1]).sum()
        return GaussianProcess(x, process.y, kernel, (1 - own) * residual).log_marginal_likelihood() + prior

    for step in np.concatenate([np.eye(4), -np.eye(4)]):
        assert density(theta + 0.1 * step) < density(theta) + 1e-4


def test_kernels_are_symmetric_and_have_their_diagonals():
    a = np.random.default_rng(0).normal(size=(12, 3))
    for kernel in (SquaredExponential(0.7), LinearPlusExponential(0.4, 0.6, 1.2, 0.1)):
        k = kernel(a, a)
        np.testing.assert_allclose(k, k.T)
        np.testing.assert_allclose(np.diag(k), kernel.diagonal(a))
        assert np.linalg.eigvalsh(k).min() > -1e-9
