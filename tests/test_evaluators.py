"""Tables of finished trainings, Channel-Bench-Macro's networks, and scoring by training."""

import itertools
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

import autobss_zoo
from autobss_search.errors import SpaceError
from autobss_search.evaluators import channel_bench
from autobss_search.evaluators.tabular import Table
from autobss_search.evaluators.training import CLASSES, DATASETS, Training, accuracy, digits, model_folder
from autobss_search.space import Space
from autobss_zoo import Code
from autobss_zoo.cost import count_network

FILE = Path(__file__).parents[2] / "shared/data/channel_bench_macro/Results_MobileNet.json"


@pytest.fixture
def published():
    if not FILE.exists():
        pytest.skip("Channel-Bench-Macro's file is not beside the checkout")
    return FILE


def entries(digits="012", length=3, key="test_acc"):
    keys = ["".join(k) for k in itertools.product(digits, repeat=length)]
    return {k: {key: [80.0 + i, 81.0 + i], "flops": 100 * (1 + sum(map(int, k)))} for i, k in enumerate(keys)}


@pytest.mark.parametrize(("digits", "length", "key"), [("012", 3, "test_acc"), ("1234", 2, "acc"), ("05", 5, "acc")])
@pytest.mark.parametrize("suffix", [".json", ".json.xz"])
def test_tables_of_any_alphabet_and_length(tmp_path, digits, length, key, suffix):
    path = tmp_path / f"My-Table{suffix}"
    opened = lzma.open if suffix.endswith("xz") else open
    table_entries = entries(digits, length, key)
    with opened(path, "wt") as file:
        json.dump(dict(reversed(table_entries.items())), file)
    table = Table(path)
    assert table.family == "table_my_table"
    space = Space("copy" + digits + str(length), table.space().dimensions)
    assert space.size == len(digits) ** length
    for i, (k, entry) in enumerate(table_entries.items()):
        code = Code(table.family, tuple(map(int, k)))
        assert table.index(code) == i
        assert table(code, 0) in entry[key]
        assert table.macs[i] == entry["flops"]
    from autobss_zoo.codes import LAYOUTS

    del LAYOUTS[table.family]  # another table of this name follows


def test_codes_that_a_table_lacks_are_not_feasible(tmp_path):
    path = tmp_path / "holes.json"
    some = {k: v for k, v in entries().items() if k != "111"}
    path.write_text(json.dumps(some))
    space = Table(path).space()
    assert space.count() == 26
    assert Code(space.family, (1, 1, 1)) not in space
    with pytest.raises(SpaceError, match="macs of at most 50"):
        Table(path).space(macs=50)


def test_all_trainings_of_a_code_are_drawn(tmp_path):
    path = tmp_path / "draws.json"
    path.write_text(json.dumps(entries()))
    table = Table(path)
    code = table.space().decode(np.array([[0, 1, 2]]))[0]
    assert {table(code, seed) for seed in range(30)} == set(table.scores[table.index(code)])
    assert table(code, 3) == table(code, 3)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "nonsense", '{"12": {"flops": 1}}', '{"1": {"acc": 3, "flops": 1}}', '{"ab": {}}']
)
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad.json: expected an object of keys of digits"):
        Table(path)


def test_the_published_table(published):
    table = Table(published)
    assert table.scores.shape == (16_384, 3)
    assert table.scores.std(axis=1, ddof=1).mean() == pytest.approx(0.16, abs=0.005)  # the spread of the trainings
    assert table.macs.max() == 211_281_920
    assert table.space(0.5).count() == 12_318


def test_costs_of_the_mobilenets_equal_the_published_ones_on_all_keys(published):
    entries = json.loads(published.read_text())
    digits = np.array([[int(c) for c in key] for key in entries])
    cost = channel_bench.cost("mobilenet", digits)
    np.testing.assert_array_equal(cost.macs, [e["flops"] for e in entries.values()])
    np.testing.assert_array_equal(cost.params, [e["params"] for e in entries.values()])


@pytest.mark.parametrize("network", channel_bench.WIDEST)
@pytest.mark.parametrize("digits", [(1, 2, 3, 4, 1, 2, 3), (4, 3, 2, 1, 4, 1, 2), (1,) * 7])
def test_networks_of_channel_bench_have_their_costs_and_learn(network, digits):
    model = channel_bench.build(network, digits)
    assert count_network(model, 32) == channel_bench.cost(network, np.array([digits])).item()
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bad_channel_bench_codes_are_named():
    with pytest.raises(ValueError, match="network: expected mobilenet or resnet, got 'vgg'"):
        channel_bench.widths("vgg", np.ones((1, 7), int))
    with pytest.raises(ValueError, match=r"digits of 1 to 4 of shape \(n, 7\)"):
        channel_bench.widths("resnet", np.full((1, 7), 5))


CODE = Code.parse("resnet18_small{8,8,16,32,1,1,1,1}")


def test_digits_are_split_into_three_disjoint_standardised_parts():
    data = digits(16)
    parts = (data.train, data.holdout, data.test)
    assert [len(p.labels) for p in parts] == [1077, 360, 360]
    assert len({image.numpy().tobytes() for p in parts for image in p.images}) >= 1790  # a few images are the same
    assert data.train.images.shape[1:] == (1, 16, 16)
    assert (float(data.train.images.mean()), float(data.train.images.std())) == pytest.approx((0, 1), abs=1e-4)
    for part in parts:
        assert set(part.labels.tolist()) == set(range(10))


def test_training_learns_repeats_itself_and_saves(tmp_path):
    evaluate = Training("digits", 16, epochs=8, models=str(tmp_path))
    score = evaluate(CODE, 1)
    assert 60 < score <= 100
    assert evaluate(CODE, 1) == score
    folder = tmp_path / model_folder(CODE)
    saved = autobss_zoo.from_pretrained(str(folder)).eval()
    assert accuracy(saved, digits(16).holdout) == pytest.approx(score)
    assert Training("digits", 16, epochs=1)(CODE, 1) < score


def test_each_trial_has_its_own_seed_and_leaves_the_global_one_alone():
    data = digits(8)
    evaluate = Training("digits", 8, epochs=1)
    state = torch.get_rng_state()
    one, two = evaluate.train(CODE, 1, data), evaluate.train(CODE, 2, data)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(one.conv1.weight, two.conv1.weight)


def test_the_score_is_of_the_held_out_images_until_the_test():
    assert Training().describe()["split"] == "holdout"
    data = digits(8)
    model = Training("digits", 8, epochs=1).train(CODE, 0, data)
    for split in ("holdout", "test"):
        assert Training("digits", 8, epochs=1, split=split)(CODE, 0) == accuracy(model, getattr(data, split))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "imagenet"}, "data: expected digits, got 'imagenet'"),
        ({"epochs": 0}, "epochs: expected a positive number, got 0"),
        ({"split": "train"}, "split: expected holdout or test, got 'train'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Training(**settings)


def test_what_networks_need_is_known_of_every_data_set():
    assert CLASSES.keys() == DATASETS.keys()
