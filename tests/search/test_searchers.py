"""Ask and tell: all searchers, any order, failures, determinism."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from autobss_search import (
    AutoBSS,
    Constraint,
    Dimension,
    LocalSearch,
    Observation,
    RandomSearch,
    RegularizedEvolution,
    Session,
    Space,
    get_space,
)
from autobss_search.errors import SpaceError
from autobss_search.searchers import NES, NSGA2
from autobss_search.searchers.searcher import pooled
from autobss_search.spaces.uniform import uniform_code
from autobss_zoo import Code
from conftest import long

pytestmark = pytest.mark.filterwarnings("ignore:.*distinct candidates")


def area(codes):
    return np.asarray(codes).prod(axis=1)


def toy(upper=4000.0):
    """Five widths under a budget on their product."""
    return Space("toy5", [Dimension(f"W{i}", (1, 2, 4, 6, 8)) for i in range(1, 6)], [Constraint("area", upper, area)])


def accuracy(code):
    """Rises with the logarithms of the widths, most with the last one's."""
    return float(90 + np.log(code.values) @ np.array([0.2, 0.4, 0.6, 0.8, 1.0]))


SEARCHERS = {
    "autobss": AutoBSS,
    "paper": lambda space, **kwargs: AutoBSS(space, "paper", **kwargs),
    "random": RandomSearch,
    "evolution": RegularizedEvolution,
    "local": LocalSearch,
    "nsga2": NSGA2,
    "nes": NES,
}


@pytest.fixture(params=sorted(SEARCHERS))
def make(request):
    return SEARCHERS[request.param]


def search(searcher, score=accuracy, rounds=4, batch=16):
    session = Session(searcher)
    for _ in range(rounds):
        for code in session.ask(batch):
            session.tell(code, score(code))
    return session


def test_64_scores_in_four_rounds(make):
    session = search(make(toy()))
    codes = [o.code for o in session.observations]
    assert len(set(codes)) == 64
    assert all(code in session.searcher.space for code in codes)
    assert sorted(o.round for o in session.observations) == sorted(list(range(4)) * 16)
    assert session.recommend() in codes
    assert session.best.value == max(accuracy(c) for c in codes)


def test_both_presets_find_the_best_code():
    best = max(accuracy(c) for part in toy().enumerate() for c in toy().decode(part))
    for preset in ("default", "paper"):
        for seed in range(3):
            assert accuracy(search(AutoBSS(toy(), preset, seed=seed)).recommend()) == pytest.approx(best, abs=0.05)


def test_autobss_is_better_than_random_search():
    regrets = {
        name: np.mean([accuracy(search(SEARCHERS[name](toy(), seed=s)).recommend()) for s in range(5)])
        for name in ("autobss", "paper", "random")
    }
    assert regrets["autobss"] > regrets["random"]
    assert regrets["paper"] > regrets["random"]


def test_minimising_is_maximising_the_negative(make):
    up = search(make(toy(), direction="maximize", seed=3))
    down = search(make(toy(), direction="minimize", seed=3), lambda code: -accuracy(code))
    assert [o.code for o in up.observations] == [o.code for o in down.observations]
    assert up.recommend() == down.recommend()


def test_the_same_seed_and_tells_ask_the_same_in_any_order_of_tells(make):
    one, other = Session(make(toy(), seed=7)), Session(make(toy(), seed=7))
    for _ in range(3):
        asked = one.ask(16)
        assert asked == other.ask(16)
        for code in asked:
            one.tell(code, accuracy(code))
        for code in reversed(asked):
            other.tell(code, accuracy(code))
    assert Session(make(toy(), seed=8)).ask(16) != Session(make(toy(), seed=7)).ask(16)


@pytest.mark.parametrize("preset", ["default", *long("paper")])
def test_asks_do_not_depend_on_the_number_of_threads(preset):
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from autobss_search import AutoBSS, Session, get_space\n"
        f"s = Session(AutoBSS(get_space('mnv2_small'), {preset!r}, n_candidates=2000))\n"
        "for r in range(3):\n"
        "    for c in s.ask(16): s.tell(c, float(sum(c.values) % 97)); print(c)\n"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "MKL_NUM_THREADS": n},
            capture_output=True, text=True, check=True,
        ).stdout
        for n in ("1", "4")
    ]  # fmt: skip
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == 48


def test_one_by_one_pending_codes_are_respected(make):
    session, asked = Session(make(toy())), set()
    for i in range(40):
        (code,) = session.ask(1)
        assert code not in asked
        asked.add(code)
        if i % 3:  # a third is never told
            session.tell(code, accuracy(code))
    assert len(session.pending) == 14
    assert len(session.observations) == 26
    assert not set(session.pending) & {o.code for o in session.observations}


@pytest.mark.parametrize("failure", [None, float("nan"), float("inf"), -float("inf")])
def test_failures_are_recorded_and_not_proposed_again(make, failure):
    session = Session(make(toy()))
    failed = set()
    for _ in range(3):
        for i, code in enumerate(session.ask(16)):
            assert code not in failed
            if i % 4 == 0:
                failed.add(code)
            session.tell(code, failure if i % 4 == 0 else accuracy(code))
    assert {o.code for o in session.observations if o.value is None} == failed
    assert session.recommend() not in failed


def test_autobss_steers_around_a_region_that_fails():
    def crashes(code):
        return code.values[4] == 8  # where the best codes are

    shares = {}
    for name, value in (("failing", None), ("fine", 95.0)):
        searcher = search(AutoBSS(toy()), lambda code, value=value: value if crashes(code) else accuracy(code))
        last = [o.code for o in searcher.observations if o.round == 3]
        shares[name] = sum(map(crashes, last)) / len(last)
    assert shares["failing"] < 0.5 * shares["fine"]


def test_everything_may_fail(make):
    session = search(make(toy()), lambda code: None, rounds=3)
    assert len(session.observations) == 48
    with pytest.raises(ValueError, match="no score was told yet"):
        session.recommend()
    with pytest.raises(ValueError, match="no score was told yet"):
        _ = session.best


def test_equal_scores_are_no_problem(make):
    assert len(search(make(toy()), lambda code: 71.0).observations) == 64


def test_elements_that_all_grown_candidates_agree_in_are_no_problem(make):
    """Their logarithms' deviation is none, but for the last digit."""
    cost = Constraint("cost", 400.0, lambda codes: codes[:, 1:].prod(axis=1).astype(float), monotone=True)
    dimensions = [Dimension("A", (1, 2, 11)), *(Dimension(name, tuple(range(2, 40))) for name in "BC")]
    session = search(make(Space("grown", dimensions, [cost])), lambda code: float(np.log(code.values).sum()))
    assert len(session.observations) == 64
    if isinstance(session.searcher, AutoBSS):
        assert set(session.searcher.space.values(session.searcher.candidates)[:, 0]) == {11}
        seen = session.searcher.encode(session.searcher.space.encode([o.code for o in session.observations]))
        assert np.abs(seen).max() < 100


def test_repeated_scores_count_with_their_mean(make):
    session = Session(make(toy()))
    code = session.ask(1)[0]
    session.tell(code, 70.0)
    session.tell(code, 72.0)
    session.tell(code, None)
    assert session.observations == [Observation(code, 71.0, 0, 2)]


def test_the_place_in_a_round_counts_pending_and_scored_codes(make):
    codes = Session(make(toy(), seed=3)).ask(7)
    scored = [Observation(c, accuracy(c)) for c in codes]
    known = [o._replace(round=-1) for o in scored]
    proposed = {tuple(make(toy()).propose(scored[:k], 0, 3, codes[k:])) for k in range(8)}
    assert len(proposed) == 1
    assert proposed != {tuple(make(toy()).propose(known, 0, 3))}


@pytest.mark.parametrize("told", [False, True])
def test_half_of_the_defaults_first_round_is_grown_also_one_by_one(told):
    space = get_space("resnet18_small")
    searcher = AutoBSS(space, n_candidates=500)
    first, *others = searcher.propose([], 0)
    assert first == uniform_code(space)
    assert [space.growth_steps(code) == [] for code in others] == 7 * [True] + 8 * [False]
    one_by_one, session = [], Session(searcher)
    for _ in range(16):
        (code,) = session.ask(1)
        one_by_one.append(code)
        if told:
            session.tell(code, accuracy_of_all(code))
    assert one_by_one[0] == first
    assert [space.growth_steps(code) == [] for code in one_by_one[1:]] == 7 * [False, True] + [False]


def test_without_a_guess_half_of_the_first_round_is_grown():
    space = get_space("resnet18_small")
    codes = AutoBSS(space, n_candidates=500, guess=False).propose([], 0)
    assert [space.growth_steps(code) == [] for code in codes] == 8 * [True] + 8 * [False]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_guess_is_left_only_for_what_is_surely_better(direction):
    space = get_space("resnet18_small")
    searcher, sign = AutoBSS(space, direction=direction, n_candidates=500), 1 if direction == "maximize" else -1
    codes = searcher.propose([], 0, 40)
    noise = np.random.default_rng(0).normal(0, 1, len(codes))

    def answer(signal):
        scores = [signal * accuracy_of_all(code) + error for code, error in zip(codes, noise, strict=True)]
        return searcher.recommend(Observation(c, sign * score) for c, score in zip(codes, scores, strict=True))

    assert answer(0.0) == codes[0]  # although others were luckier
    assert noise.argmax() > 0
    assert accuracy_of_all(answer(30.0)) > accuracy_of_all(codes[0])


def test_the_best_codes_are_confirmed_twice_each(make):
    searcher = make(toy())
    scored = [Observation(code, accuracy(code)) for code in searcher.propose([], 0, 12)]
    codes = searcher.confirm(scored, 5)
    assert len(codes) == 5
    assert len(set(codes)) == 3
    assert codes[3:] == codes[:2]
    assert searcher.confirm([Observation(o.code, None) for o in scored], 5) == []


def test_scores_of_one_code_are_pooled():
    a, b = (toy().code((1, 1, 1, 1, width)) for width in (1, 2))
    told = [Observation(b, None, 0), Observation(a, 1.0, 0, 3), Observation(b, 5.0, 1), Observation(a, 5.0, 4)]
    assert pooled(told) == [Observation(a, 2.0, 0, 4), Observation(b, 5.0, 0, 1)]


def test_known_results_count_from_the_first_round():
    known = toy().decode(np.concatenate(list(toy().enumerate()))[::97][:20])
    session = Session(AutoBSS(toy()))
    for code in known:
        session.tell(code, accuracy(code))
    first = session.ask(16)
    assert not set(first) & set(known)
    assert np.mean([accuracy(c) for c in first]) > np.mean([accuracy(c) for c in Session(AutoBSS(toy())).ask(16)]) + 0.2


def test_a_space_that_is_used_up_says_so(make):
    space = Space("tiny2", [Dimension("W1", (1, 2, 3)), Dimension("W2", (1, 2, 3))])
    session = Session(make(space))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        codes = session.ask(16)
    assert len(codes) == 9
    assert any("only 9 new codes are left instead of 16" in str(w.message) for w in caught)
    for code in codes:
        session.tell(code, accuracy_of_two(code))
    with pytest.raises(SpaceError, match="all codes of the space were asked for: 9"):
        session.ask(1)


def test_a_space_of_more_codes_than_integers_hold():
    dimensions = [Dimension(f"W{i}", tuple(range(1, 17))) for i in range(1, 33)]
    space = Space("huge32", dimensions, [Constraint("sum", 300, lambda v: v.sum(axis=1), monotone=True)])
    assert space.size == 2**128
    assert len(set(RandomSearch(space).propose([], 0)) | set(AutoBSS(space, n_candidates=100).propose([], 0))) == 32


def accuracy_of_all(code):
    return float(np.log1p(code.values) @ np.linspace(0.1, 1.0, len(code.values)))


def accuracy_of_two(code):
    return float(sum(code.values))


def test_propose_is_pure(make):
    searcher = make(toy(), seed=1)
    observations = [Observation(c, accuracy(c)) for c in searcher.propose([], 0)]
    fresh = make(toy(), seed=1)
    first = fresh.propose(observations, 1)
    fresh.propose([], 0)
    assert fresh.propose(observations[::-1], 1) == first == searcher.propose(observations, 1)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda s: s.tell(toy().parse("toy5{8,8,8,8,8}"), 1.0), SpaceError, "area 32,768 is over the bound"),
        (lambda s: s.tell(Code.parse("resnet18{64,128,256,512,2,2,2,2}"), 1.0), SpaceError, "no code of toy5"),
        (lambda s: s.tell(s.ask(1)[0], "71.2"), TypeError, "expected a number or None as the score, got '71.2'"),
        (lambda s: s.tell(s.ask(1)[0], True), TypeError, "got True"),
        (lambda s: s.ask(0), ValueError, "n: expected a positive integer, got 0"),
        (lambda s: AutoBSS(toy(), "best"), ValueError, "preset: expected default or paper"),
        (lambda s: AutoBSS(toy(), direction="up"), ValueError, "direction: expected maximize or minimize"),
        (lambda s: AutoBSS(toy(), seed=-1), ValueError, "seed: expected an integer"),
        (lambda s: AutoBSS(toy(), n_candidates=0), ValueError, "n_candidates: expected a positive"),
        (lambda s: RegularizedEvolution(toy(), population=4), ValueError, "tournament: expected one of 1"),
    ],
)
def test_bad_input_is_named(act, error, message):
    with pytest.raises(error, match=message):
        act(Session(AutoBSS(toy())))


def test_the_paper_preset_clusters_and_refines_by_its_schedule(monkeypatch):
    from autobss_search.searchers import clustering, refining

    clusters, trained = [], []
    centers, train = clustering.centers, refining.train_linear
    monkeypatch.setattr(clustering, "centers", lambda x, k, seed: clusters.append(k) or centers(x, k, seed))
    monkeypatch.setattr(refining, "train_linear", lambda x, y, rng: trained.append(len(x)) or train(x, y, rng))
    space = get_space("resnet50_small")
    search(AutoBSS(space, "paper"), lambda code: float(sum(code.values)))
    assert clusters == [16, 160, 1000, 10_000]
    assert trained == [16, 32, 48]
    clusters.clear()
    trained.clear()
    search(AutoBSS(space, "paper", clustering=False, refining=False), lambda code: float(sum(code.values)), rounds=2)
    assert clusters == trained == []


def test_evolution_mutates_one_element_of_a_good_parent():
    session = Session(RegularizedEvolution(toy(), population=16))
    for code in session.ask(16):
        session.tell(code, accuracy(code))
    parents = [o.code for o in session.observations]
    for child in session.ask(16):
        assert any(sum(a != b for a, b in zip(child, p, strict=True)) == 1 for p in parents)


class AskAndTell(RuleBasedStateMachine):
    """Any order of asking and telling: codes are feasible and new, nothing is lost, and a replay asks the same."""

    @initialize(name=st.sampled_from(sorted(SEARCHERS)), seed=st.integers(0, 3), upper=st.sampled_from([60.0, 4000.0]))
    def start(self, name, seed, upper):
        self.make = lambda: Session(SEARCHERS[name](toy(upper), seed=seed))
        self.session, self.log, self.asked, self.told = self.make(), [], set(), {}

    @rule(n=st.integers(1, 9))
    def ask(self, n):
        codes = self.session.ask(n)
        assert len(codes) == len(set(codes)) == n
        assert not set(codes) & (self.asked | self.told.keys())
        assert all(code in self.session.searcher.space for code in codes)
        self.asked |= set(codes)
        self.log.append(("ask", n, codes))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), value=st.none() | st.floats(60, 99) | st.just(float("nan")))
    def tell(self, data, value):
        self._tell(data.draw(st.sampled_from(sorted(self.asked))), value)

    @rule(index=st.integers(0, 100), value=st.floats(60, 99))
    def tell_what_was_not_asked_for(self, index, value):
        rows = np.concatenate(list(self.session.searcher.space.enumerate()))
        self._tell(self.session.searcher.space.decode(rows[[index]])[0], value)

    def _tell(self, code, value):
        self.session.tell(code, value)
        self.told.setdefault(code, []).append(value)
        self.asked.discard(code)
        self.log.append(("tell", code, value))

    @invariant()
    def nothing_is_lost(self):
        assert set(self.session.pending) == self.asked
        assert {o.code for o in self.session.observations} == self.told.keys()
        for o in self.session.observations:
            values = [v for v in self.told[o.code] if v is not None and v == v]
            assert o.value == (pytest.approx(np.mean(values)) if values else None)

    def teardown(self):
        again = self.make()
        for what, first, second in self.log:
            if what == "ask":
                assert again.ask(first) == second
            else:
                again.tell(first, second)


AskAndTell.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestAskAndTell = AskAndTell.TestCase
