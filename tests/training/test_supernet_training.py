"""Supernets as trainings: each principle learns, and whatever interrupts or divides one changes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import forked
from autobss_search.evaluators.supernet import SupernetScore
from autobss_search.supernets.scoring import Scoring
from autobss_zoo import Code
from autobss_zoo.errors import RecipeError
from autobss_zoo.training import TrainingRecipe, train

SCRIPT = Path(__file__).parents[1] / "training_script.py"
SPACE = {
    "family": "resnet18_small",
    "C": {"step": 8, "high": 16},
    "L": {"step": 1, "high": 2},
    "budget": {"macs": "1M"},
}
TINY = {
    "base": "small/digits",
    "task": "supernet",
    "space": SPACE,
    "input_size": 8,
    "epochs": 2,
    "warmup_epochs": 0.5,
    "holdout": 0.3,
    "batch_size": 100,
    "evaluate_every": None,
}
LEARNS = {**TINY, "space": "width_bench_plain", "epochs": 20, "batch_size": 50, "warmup_epochs": 1}
PRINCIPLES = [
    {"principle": "unilateral"},
    {"principle": "bilateral", "complement": False},
    {"principle": "bilateral"},
    {"principle": "bilateral_v2"},
    {"principle": "bilateral_v2", "iterative": True},
    {"principle": "sandwich"},
]


def tiny(**changes):
    return TrainingRecipe.load({**TINY, **changes})[0]


@pytest.mark.parametrize("principle", PRINCIPLES, ids=lambda p: "-".join(map(str, p.values())))
def test_every_principle_learns(principle):
    accuracy, _ = train(TrainingRecipe.load({**LEARNS, **principle})[0])
    assert accuracy.top1 > 60  # of ten classes, a mean of codes
    assert accuracy.images == 432


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path):
    whole, network = train(tiny(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), tmp_path / "parts", should_stop=iter([False] * 12 + [True]).__next__)
    again, same = train(tiny(), tmp_path / "parts")
    assert again == whole
    for key, value in network.state_dict().items():
        assert torch.equal(value, same.state_dict()[key]), key
    found = [json.loads((tmp_path / name / "last/supernet.json").read_text())["lowest"] for name in ("whole", "parts")]
    assert found[0] == found[1]
    losses = [loss for _, loss in found[0]]
    assert losses == sorted(losses)
    assert len(losses) == 2 * 2 * 10  # a code and its complement, a step


def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY))
    settings = [f"base={tmp_path / 'recipe.yaml'}", "checkpoint_steps=4"]
    assert forked.run(SCRIPT, tmp_path / "run", 14, *settings) == -9
    assert forked.run(SCRIPT, tmp_path / "run", -1, *settings) == 0
    torch.set_num_threads(1)  # as in the processes
    expected = train(tiny())[1].state_dict()
    found = load_file(tmp_path / "run/last/model.safetensors")
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert found.keys() == expected.keys()


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    """Of networks whose blocks are skipped, without batch norms, which see only their own process's images."""
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump({**TINY, "epochs": 1, "shift": 0.0, "model_args": {"norm_layer": "groupnorm1"}})
    )
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        words = [str(SCRIPT), str(tmp_path / str(processes)), "-1", f"base={tmp_path / 'recipe.yaml'}"]
        subprocess.run([sys.executable, *launcher, *words], check=True, capture_output=True)
    one, two = (load_file(tmp_path / str(n) / "last/model.safetensors") for n in (1, 2))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supernet")
    evaluator = SupernetScore(LEARNS, str(folder))
    evaluator.prepare()
    return evaluator


def test_a_score_is_the_mean_of_both_sides(trained):
    recipe, space = trained.load(), trained.make_space(None, {})
    scoring = Scoring(recipe, trained.folder / "last")
    code = space.decode(np.zeros((1, space.ndim), np.int64))[0]
    found = scoring.score(code)
    assert trained.score(code, 0) == trained.score(code, 1) == -found.loss
    other = SupernetScore(trained.recipe, trained.models, by="accuracy")
    assert other.score(code, 0) == found.accuracy
    assert other.describe() != trained.describe()
    assert 0 < found.accuracy < 100


def test_what_was_trained_is_found_again(trained):
    before = (trained.folder / "result.json").stat().st_mtime_ns
    trained.prepare()
    assert (trained.folder / "result.json").stat().st_mtime_ns == before


def test_wider_networks_score_higher_on_the_whole(trained):
    space = trained.load().sampling.space
    rows = np.random.default_rng(0).integers(0, space.lengths, (30, space.ndim))
    codes = space.decode(rows)
    scores = [trained.score(code, 0) for code in codes]
    assert np.corrcoef(scores, np.log(space.values(rows)).sum(axis=1))[0, 1] > 0.3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"principle": "left"}, "principle: "),
        ({"principle": "sandwich", "iterative": True}, "iterative: is for bilateral principles, not sandwich"),
        ({"teacher": "resnet18"}, "teacher: is not for supernets"),
        ({"space": "mnv3"}, "space: "),
    ],
)
def test_what_a_supernet_has_not_is_named(changes, said):
    with pytest.raises(RecipeError, match=said):
        tiny(**changes)


def test_scores_need_a_supernets_recipe_and_a_folder():
    with pytest.raises(
        ValueError, match="expected a supernet's recipe, of the task supernet, got one of classification"
    ):
        SupernetScore("small/digits")
    with pytest.raises(ValueError, match="expected a folder"):
        SupernetScore(TINY).prepare()
    assert isinstance(tiny().code, Code)


SCALED = {
    "base": "small/digits",
    "task": "supernet",
    "space": {
        "base": "scalenet_tiny_scaled",
        "L": {"step": 1, "high": [2, 3, 3]},
        "O": {"ordered": False, "choices": [[10], *[[13, 14]] * 6]},
        "W": {"choices": [1000, 1080, 1160]},
        "R": {"choices": [8, 9, 10]},
        "budget": {"macs": "500K"},
    },
    "scaling": [
        {"depth": [1], "width": [1], "side": [8]},
        {"depth": [1.04, 1.16], "width": [1.08, 1.16], "side": [9, 10]},
    ],
    "principle": "unilateral",
    "epochs": 2,
    "warmup_epochs": 0.5,
    "holdout": 0.3,
    "batch_size": 50,
    "evaluate_every": None,
}


@pytest.mark.parametrize(
    "changes", [{}, {"hierarchical": False}, {"share_operations": True}, {"principle": "bilateral", "iterative": True}]
)
def test_a_super_supernet_learns(changes):
    recipe = TrainingRecipe.load({**SCALED, "epochs": 8, **changes})[0]
    accuracy, network = train(recipe)
    assert accuracy.top1 > 25  # of ten classes, a mean of scaled bases, after 160 steps
    apart = [name for name, _ in network.named_parameters() if ".operation" in name]
    assert bool(apart) is not recipe.share_operations


def test_an_interrupted_super_supernet_goes_on_to_the_same_weights(tmp_path):
    recipe = TrainingRecipe.load(SCALED)[0]
    whole = train(recipe, tmp_path / "whole")[1].state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", should_stop=iter([False] * 12 + [True]).__next__)
    again = train(recipe, tmp_path / "parts")[1].state_dict()
    assert all(torch.equal(value, again[key]) for key, value in whole.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scaling": "scalenet"}, "scaling: the space has no images of 224 pixels"),
        ({"scaling": "scalenets"}, "scaling: 'scalenets': did you mean scalenet"),
        ({"scaling": None, "hierarchical": False}, "hierarchical: is for a supernet with a scaling"),
        ({"principle": "sandwich"}, "scaling: goes with unilateral and bilateral without a complement, got principle"),
        ({"space": "width_bench_plain"}, "scaling: expected a space of images of several sides, such as width_bench"),
    ],
)
def test_what_does_not_go_with_a_scaling_is_named(changes, said):
    with pytest.raises(RecipeError, match=said):
        TrainingRecipe.load({**SCALED, **changes})
