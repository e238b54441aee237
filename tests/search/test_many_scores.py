"""Of very many scores the default and the paper's preset learn from some, so that asks stay fast."""

import numpy as np
import pytest
from test_searchers import accuracy_of_all

from autobss_search import AutoBSS, Observation, RandomSearch, get_space
from autobss_search.searchers.surrogate import LIMIT, GaussianProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*distinct candidates")


def many(space, n, preset="default"):
    """A searcher that knows `n` random codes' scores, and the observations."""
    rng = np.random.default_rng(0)
    observations = [
        Observation(c, accuracy_of_all(c) + rng.normal(0, 0.3), 1 + i // 16)
        for i, c in enumerate(RandomSearch(space).propose([], 0, n))
    ]
    return AutoBSS(space, preset, n_candidates=500), observations


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_of_very_many_scores_some_are_learned_from(preset, monkeypatch):
    searcher, observations = many(get_space("mnv2_small"), 600, preset)
    learned = []
    init = GaussianProcess.__init__
    monkeypatch.setattr(GaussianProcess, "__init__", lambda s, x, *args: learned.append(len(x)) or init(s, x, *args))
    codes = searcher.propose(observations, 40, 4)
    assert set(learned) == {LIMIT}
    known = {o.code for o in observations}
    assert not known & set(codes)
    assert codes == searcher.propose(observations[::-1], 40, 4)
    assert searcher.propose(observations, 40, 1, codes)[0] not in known | set(codes)
    answer = searcher.recommend(observations)
    assert answer == searcher.recommend(observations[::-1])
    assert answer in sorted(known, key=accuracy_of_all)[-60:]


def test_codes_that_are_not_learned_from_can_be_the_answer(monkeypatch):
    searcher, observations = many(get_space("resnet18_small"), 100)
    monkeypatch.setattr("autobss_search.searchers.autobss.representative", lambda y: np.argsort(y)[:50])
    worst = sorted(observations, key=lambda o: o.value)[:50]
    assert searcher.recommend(observations) not in {o.code for o in worst}


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_up_to_the_limit_all_scores_are_learned_from(preset, monkeypatch):
    searcher, observations = many(get_space("resnet50_small"), 60, preset)
    pending = searcher.propose(observations, 4, 3)
    figures = [searcher.propose(observations, 4, 4, pending), searcher.recommend(observations)]
    monkeypatch.setattr("autobss_search.searchers.autobss.representative", lambda y: np.arange(len(y)))
    monkeypatch.setattr("autobss_search.searchers.acquisition._LIKELY", 10_000)
    assert figures == [searcher.propose(observations, 4, 4, pending), searcher.recommend(observations)]
