"""Hints: cheap scores of some hundred codes, such as a supernet's, beside the few that count."""

import numpy as np
import pytest

from autobss_search import AutoBSS, Dimension, Observation, Session, Space
from autobss_search.command.cli import main
from autobss_search.spaces.budgets import Constraint
from autobss_search.studies.study import Study

pytestmark = pytest.mark.filterwarnings("ignore:.*distinct candidates")


def area(codes):
    return np.asarray(codes).prod(axis=1)


SPACE = Space("toy6", [Dimension(f"W{i}", (1, 2, 4, 6, 8)) for i in range(1, 7)], [Constraint("area", 9000.0, area)])
WEIGHTS = np.array([2.0, -1.0, 0.5, 1.5, -0.5, 1.0])


def truth(code):
    x = np.log(code.values)
    return float(x @ WEIGHTS - 0.4 * x[0] * x[3])


class Hint:
    """Nearly the truth, on another scale; it counts how often it is asked."""

    def __init__(self, sign=1.0):
        self.asked, self.sign = [], sign

    def __call__(self, codes):
        self.asked.append(len(codes))
        rng = np.random.default_rng(0)
        return [100 + self.sign * 7 * truth(code) + rng.normal() for code in codes]

    def describe(self):
        return "nearly the truth"


def regret(hint, seed, scores=16):
    """Of the answer after some noisy scores."""
    session, rng = Session(AutoBSS(SPACE, seed=seed, hint=hint)), np.random.default_rng(seed)
    for code in session.ask(scores):
        session.tell(code, truth(code) + 2 * rng.normal())
    every = SPACE.decode(np.concatenate(list(SPACE.enumerate())))
    return max(map(truth, every)) - truth(session.recommend())


def test_with_a_hint_few_scores_find_better_codes():
    with_it, without = ([regret(hint, seed) for seed in range(6)] for hint in (Hint(), None))
    assert np.mean(with_it) < 0.6 * np.mean(without)


def test_a_hint_that_is_wrong_is_outweighed_by_many_scores():
    session, rng = Session(AutoBSS(SPACE, hint=Hint(sign=-1.0))), np.random.default_rng(0)
    for _ in range(4):
        for code in session.ask(16):
            session.tell(code, truth(code) + 0.3 * rng.normal())
    every = [truth(code) for code in SPACE.decode(np.concatenate(list(SPACE.enumerate())))]
    assert truth(session.recommend()) > np.quantile(every, 0.99)


def test_it_is_asked_once_and_kept_with_the_study(tmp_path):
    hint = Hint()
    with Study(tmp_path, AutoBSS(SPACE, hint=hint), lambda code, seed: truth(code), rounds=2, batch=4) as study:
        answer = study.run()
    assert len(hint.asked) == 1
    assert 256 < hint.asked[0] <= 512
    again = Hint()
    with Study(tmp_path, AutoBSS(SPACE, hint=again), lambda code, seed: truth(code), rounds=2, batch=4) as study:
        assert study.run() == answer
    assert again.asked == []
    assert main(["report", str(tmp_path)]) == 0


def test_the_papers_preset_has_no_place_for_it():
    with pytest.raises(ValueError, match="hint: is for the default"):
        AutoBSS(SPACE, "paper", hint=Hint())


def test_a_supernet_is_a_hint_for_autobss_alone(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("table: widths_plain\nsearcher: random\nsupernet: {base: supernets/widths}\n")
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(tmp_path / "study")]) == 2
    assert "supernet: is a hint for the searcher autobss, not random" in capsys.readouterr().err


def test_a_search_with_a_supernet_beside_it_resumes(tmp_path, capsys):
    setting = "base: small/digits, input_size: 8, holdout: 0.3, evaluate_every: null"
    (tmp_path / "mine.yaml").write_text(
        f"training: {{{setting}, epochs: 1, warmup_epochs: 0}}\nspace: width_bench_plain\nbudget: {{macs: 44034}}\n"
        f"supernet: {{{setting}, epochs: 4, task: supernet, space: width_bench_plain, images: 200}}\n"
        "rounds: 2\nbatch: 3\n"
    )
    study = tmp_path / "study"
    assert main(["search", str(tmp_path / "mine.yaml"), "--folder", str(study)]) == 0
    first = capsys.readouterr().out.splitlines()[-1]
    before = (study / "models/supernet/result.json").stat().st_mtime_ns
    assert main(["resume", str(study)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == first
    assert (study / "models/supernet/result.json").stat().st_mtime_ns == before


def test_half_of_the_first_round_are_the_best_by_the_hint():
    """Also where codes are asked for one by one."""
    ways = []
    for each in (1, 16):
        session = Session(AutoBSS(SPACE, hint=Hint()))
        for _ in range(24 // each):
            for code in session.ask(each):
                session.tell(code, truth(code))
        codes = [o.code for o in session.observations]
        assert len(set(codes)) == len(codes)
        ways.append(codes)
    every = [truth(code) for code in SPACE.decode(np.concatenate(list(SPACE.enumerate())))]
    for codes in ways:
        good = [truth(code) > np.quantile(every, 0.95) for code in codes[:16]]
        assert 6 <= sum(good) <= 12


def test_later_rounds_are_chosen_by_scores_alone():
    known = [Observation(code, truth(code), 0) for code in AutoBSS(SPACE).propose([], 0)]
    assert AutoBSS(SPACE, hint=Hint()).propose(known, 1) == AutoBSS(SPACE).propose(known, 1)
