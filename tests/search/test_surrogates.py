"""Surrogates of trainings: what their files hold, how near they come to the truth, and studies on them."""

import json

import numpy as np
import pytest

from autobss_search import RandomSearch, get_space
from autobss_search.command.cli import main
from autobss_search.evaluators.surrogates import Surrogate
from autobss_search.reports.benches import Bench, open_benchmark
from autobss_search.studies.recipe import SearchRecipe

SPACE = {"base": "resnet18_small", "num_classes": 10, "budget": {"macs": "20M"}}
NOISE = 0.5


def truth(codes):
    """Concave in the depth, growing with the widths."""
    values = np.array([code.values for code in codes])
    depth = values[:, 4:].sum(axis=1)
    return 80 + np.log2(values[:, :4]).sum(axis=1) / 2 - (np.log2(depth) - 3) ** 2


@pytest.fixture(scope="module")
def content():
    space = get_space("resnet18_small", macs="20M")
    codes = space.decode(np.unique(np.concatenate([space.encode(RandomSearch(space).propose([], 0, 200))]), axis=0))
    rng = np.random.default_rng(0)
    trainings = {
        str(code): (value + NOISE * rng.normal(size=3 if i % 10 == 0 else 1)).tolist()
        for i, (code, value) in enumerate(zip(codes, truth(codes), strict=True))
    }
    covariance = {"noise": NOISE, "linear": 1.0, "matern": 2.0, "lengths": [3.0] * 9}
    return {"space": SPACE, "covariance": covariance, "trainings": trainings}


@pytest.fixture
def surrogate(content, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    return Surrogate(path)


def test_it_predicts_codes_that_were_not_trained(surrogate):
    space = surrogate.make_space(None, {})
    new = [code for code in RandomSearch(space, seed=1).propose([], 0, 100) if code not in surrogate.codes]
    off = surrogate.means(new) - truth(new)
    assert len(new) > 50
    assert np.sqrt(np.mean(off**2)) < 0.5 * truth(new).std()


def test_a_score_has_a_trainings_noise(surrogate):
    code = surrogate.codes[0]
    scores = [surrogate.score(code, seed) for seed in range(300)]
    assert surrogate.score(code, 0) == scores[0]
    assert np.std(scores) == pytest.approx(NOISE, rel=0.15)
    assert np.mean(scores) == pytest.approx(surrogate.means([code])[0], abs=4 * NOISE / 300**0.5)


def test_more_trainings_of_a_code_weigh_more(content, tmp_path):
    code = next(text for text, scores in content["trainings"].items() if len(scores) == 1)
    off = []
    for times in (1, 10):
        path = tmp_path / f"{times}.json"
        path.write_text(json.dumps({**content, "trainings": {**content["trainings"], code: [100.0] * times}}))
        again = Surrogate(path)
        off.append(100 - again.means([again.codes[list(content["trainings"]).index(code)]])[0])
    assert 0 < off[1] < off[0]


def test_its_best_code_is_better_than_all_of_a_random_sample(surrogate):
    space = surrogate.make_space(None, {"macs": "10M"})
    best = surrogate.best(space)
    assert best in space
    assert surrogate.means([best])[0] >= surrogate.means(RandomSearch(space, seed=2).propose([], 0, 200)).max()


def test_a_study_on_it_resumes_from_its_folder(surrogate, tmp_path, capsys):
    folder = tmp_path / "study"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("surrogate: mine.json\nbudget: 10M\nsearcher: random\nrounds: 1\nbatch: 4\n")
    assert main(["search", str(recipe), "--folder", str(folder)]) == 0
    first = capsys.readouterr().out
    assert main(["resume", str(folder)]) == 0
    assert "resnet18_small{" in first
    again = SearchRecipe.load(folder / "search.yaml").make_evaluator()
    assert isinstance(again, Surrogate)
    assert again.describe() == surrogate.describe()


def test_bench_tells_what_it_is_worth(surrogate, content, tmp_path, capsys):
    assert main(["bench", str(surrogate.path)]) == 0
    out = capsys.readouterr().out
    assert "1 to 3 trainings each" in out
    assert "uniform rescaling to 50% of the largest MACs" in out
    bench = Bench.of(open_benchmark(surrogate.path))
    assert bench.noise == pytest.approx(NOISE, rel=0.4)
    assert bench.noise_of_means < bench.noise
    assert all(room.points >= 0 for room in bench.headrooms)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trainings": {}}, "trainings"),
        ({"trainings": {"resnet18_small{8,8,16,32,1,1,1,1}": [1.0], "resnet18_small{9,8,16,32,1,1,1,1}": [1.0]}}, "9"),
        (
            {"covariance": {"noise": 0, "linear": 1, "matern": 1, "lengths": [1] * 9}},
            "covariance: input should be greater than 0",
        ),
        ({"covariance": {"noise": 1, "linear": 1, "matern": 1, "lengths": [1] * 8}}, "expected 9, got 8"),
        ({"space": {**SPACE, "budget": {"params": "1M"}}}, "expected one of macs"),
        ({"space": {"base": "resnet18_smal"}}, "did you mean resnet18_small"),
    ],
)
def test_a_file_that_holds_none_gets_one_line(content, tmp_path, capsys, change, said):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({**content, **change}))
    assert main(["bench", str(path)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1


def test_names_that_there_are_none_of_are_told():
    with pytest.raises(ValueError, match="surrogate 'stacking_resnet'"):
        Surrogate("stacking_resnet")
