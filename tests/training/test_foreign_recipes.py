"""Recipes and spaces of strangers are read, or refused in one line, soon; hypothesis over their structure."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autobss_search import load_space
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo.errors import AutoBSSError
from autobss_zoo.recipes import resolve
from autobss_zoo.training import TrainingRecipe
from autobss_zoo.yaml_text import write_yaml
from foreign_values import changed, mutated

TRAININGS = [
    resolve(name).values for name in ("small/digits", "imagenet/resnet50", "coco/maskrcnn_r50", "voc/pspnet_r50")
]
TRAININGS.append(
    {"base": "small/fashion_mnist.mnv2", "variants": {"a": {"epochs": 3}}, "model_args": {"drop_rate": 0.1}}
)
TRAINING = {"base": "small/digits", "holdout": 0.2}
SEARCHES = [
    {"space": "resnet18_small", "budget": {"macs": "2M", "params": "1K..9M"}, "training": TRAINING, "rounds": 2},
    {"base": "small/digits_search", "budget": "macs=1M..3M", "seed": 3, "searcher": "random", "asynchronous": True},
    {"space": {"base": "mnv2_small"}, "score": {"kind": "table", "file": "t.json"}, "enqueue": ["mnv2_small{1}"]},
]
SPACES = [
    {"base": "resnet50_small", "B": {"fractions": ["1/4", "1/2"]}, "budget": {"macs": "90M"}, "num_classes": 10},
    {"family": "resnet18_small", "C": {"powers": 2, "low": 8, "high": [16, 32, 64, 64]}, "L": {"step": 1, "high": 4}},
    {
        "base": "retinanet_r50",
        "width": 64,
        "input_size": 320,
        "C": {"step": 64, "low": 64, "high": [64, 128, 256, 512]},
    },
    {"family": "mine", "dimensions": {"W1": [1, 2, 4], "W2": [3, 5]}},
    {"base": "mnv2_small", "R": {"choices": [24, 28]}, "T": {"choices": [3, 6], "ordered": False}},
]


def training(source):
    TrainingRecipe.load(source)


def search(source):
    SearchRecipe.load(source)


KINDS = [(training, TRAININGS), (search, SEARCHES), (load_space, SPACES)]
quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def one_line_or_nothing(load, source):
    """Load; of an error, whatever is not ours comes up."""
    problem, start = "", time.thread_time()
    try:
        load(source)
    except AutoBSSError as error:
        problem = str(error)
    assert "\n" not in problem
    assert len(problem) < 2000
    assert time.thread_time() - start < 5  # most take milliseconds


@pytest.mark.parametrize(("load", "good"), KINDS)
@given(st.data())
@quick
def test_any_mapping(load, good, data):
    one_line_or_nothing(load, data.draw(st.sampled_from(good).flatmap(changed)))


@pytest.mark.parametrize(("load", "good"), KINDS)
@given(st.data())
@quick
def test_any_file(load, good, tmp_path, data):
    path = tmp_path / "own.yaml"
    text = data.draw(st.sampled_from(good).map(write_yaml).flatmap(mutated))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    one_line_or_nothing(load, path)
