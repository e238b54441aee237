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
from autobss_search.evaluators.training import Training, model_folder
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


SMALL = {"base": "small/digits", "input_size": 8, "epochs": 2, "holdout": 0.25}


def test_training_repeats_itself_and_keeps_its_network(tmp_path):
    evaluate = Training(SMALL, str(tmp_path))
    score = evaluate(CODE, 1)
    assert Training(SMALL)(CODE, 1) == score
    assert Training(SMALL)(CODE, 2) != score
    folder = tmp_path / model_folder(CODE, 1)
    assert json.loads((folder / "result.json").read_text())["top1"] == score
    assert autobss_zoo.from_pretrained(folder / "last").code == CODE


def test_the_score_is_of_the_holdout_until_there_is_none(tmp_path):
    Training(SMALL, str(tmp_path))(CODE, 1)
    Training({**SMALL, "holdout": 0}, str(tmp_path))(CODE, 2)
    results = [json.loads((tmp_path / model_folder(CODE, seed) / "result.json").read_text()) for seed in (1, 2)]
    assert [r["evaluated_on"] for r in results] == ["holdout", "test"]
    assert [r["images"] for r in results] == [360, 360]


def test_a_score_depends_on_the_settings_but_not_on_model_seed_or_machine():
    described = Training(SMALL).describe()
    assert Training({**SMALL, "seed": 5, "workers": 1, "model": "mnv2_autobss"}).describe() == described
    assert Training({**SMALL, "epochs": 3}).describe() != described
    assert json.loads(json.dumps(described)) == described


def test_bad_settings_are_named_before_anything_is_trained():
    with pytest.raises(ValueError, match="unknown key 'epoch': did you mean epochs"):
        Training({**SMALL, "epoch": 3})
    with pytest.raises(ValueError, match="did you mean small/digits"):
        Training("small/digit")


def test_what_networks_are_counted_with():
    assert Training(SMALL).counting == {"input_size": 8, "in_chans": 1, "num_classes": 10}
    assert Training("small/cifar10").counting == {"input_size": 32, "in_chans": 3, "num_classes": 10}
