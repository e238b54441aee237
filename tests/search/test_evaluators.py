"""Tables of finished trainings, Channel-Bench-Macro's networks, and scoring by training."""

import itertools
import json
import lzma
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import autobss_zoo
from autobss_search.errors import SpaceError
from autobss_search.evaluators.tabular import Table
from autobss_search.evaluators.training import Training, model_folder
from autobss_zoo import Code, Setting, create_model
from autobss_zoo.cost import count_network
from autobss_zoo.errors import CodeError
from autobss_zoo.families import get_family

FILE = Path(__file__).parents[3] / "shared/data/channel_bench_macro/Results_MobileNet.json"


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
    space = table.space()
    assert space.size == len(digits) ** length
    for i, (k, entry) in enumerate(table_entries.items()):
        code = table.space().code(map(int, k))
        assert table.index(code) == i
        assert table.score(code, 0) in entry[key]
        assert table.macs[i] == entry["flops"]


def test_codes_that_a_table_lacks_are_not_feasible(tmp_path):
    path = tmp_path / "holes.json"
    some = {k: v for k, v in entries().items() if k != "111"}
    path.write_text(json.dumps(some))
    space = Table(path).space()
    assert space.count() == 26
    assert space.code((1, 1, 1)) not in space
    with pytest.raises(SpaceError, match="macs of at most 50"):
        Table(path).space(macs=50)


def test_all_trainings_of_a_code_are_drawn(tmp_path):
    path = tmp_path / "draws.json"
    path.write_text(json.dumps(entries()))
    table = Table(path)
    code = table.space().decode(np.array([[0, 1, 2]]))[0]
    assert {table.score(code, seed) for seed in range(30)} == set(table.scores[table.index(code)])
    assert table.score(code, 3) == table.score(code, 3)


@pytest.mark.parametrize(
    "content", ["[]", "{}", "nonsense", '{"12": {"flops": 1}}', '{"1": {"acc": 3, "flops": 1}}', '{"ab": {}}']
)
def test_a_file_that_is_no_table_is_named(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad.json: expected an object of keys of digits"):
        Table(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["00", "01", "10", "9", "", "ab", "0" * 30]), st.fixed_dictionaries(
    {}, optional={"acc": JSON | st.just([1.0, 2]), "test_acc": JSON | st.just([3]), "flops": JSON | st.just(100)}
), max_size=3) | JSON)  # fmt: skip
def test_a_file_is_a_table_or_is_named(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("tables") / "any.json"
    path.write_text(json.dumps(content))
    try:
        table = Table(path)
    except ValueError as error:
        assert re.match(r".*any.json: expected an object of keys of digits", str(error))  # noqa: PT017
    else:
        assert np.isfinite(table.scores).sum() == sum(len(e.get("acc", e.get("test_acc"))) for e in content.values())
        assert table.space().count() == len(content)


def test_deep_huge_and_truncated_files_are_no_tables(tmp_path):
    grid = {str(digit) * 19: {"acc": [1], "flops": 1} for digit in range(10)}
    for name, content in {
        "deep.json": b"[" * 100_000,
        "wide.json": json.dumps(grid).encode(),
        "cut.json.xz": lzma.compress(json.dumps(entries()).encode())[:-30],
        "none.json.xz": b"nothing",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: expected an object of keys of digits"):
            Table(tmp_path / name)


def test_the_published_table(published):
    table = Table(published)
    assert table.scores.shape == (16_384, 3)
    assert table.scores.std(axis=1, ddof=1).mean() == pytest.approx(0.16, abs=0.005)  # the spread of the trainings
    assert table.macs.max() == 211_281_920
    assert table.space(0.5).count() == 12_318


def test_costs_of_the_mobilenets_equal_the_published_ones_on_all_keys(published):
    entries = json.loads(published.read_text())
    digits = np.array([[int(c) for c in key] for key in entries])
    family = get_family("channel_bench_mobilenet")
    cost = family.cost(family.of_groups(digits, 4), Setting(32, num_classes=10))
    np.testing.assert_array_equal(cost.macs, [e["flops"] for e in entries.values()])
    np.testing.assert_array_equal(cost.params, [e["params"] for e in entries.values()])


@pytest.mark.parametrize("network", ["mobilenet", "resnet"])
@pytest.mark.parametrize("digits", [(1, 2, 3, 4, 1, 2, 3), (4, 3, 2, 1, 4, 1, 2), (1,) * 7])
def test_networks_of_channel_bench_have_their_costs_and_learn(network, digits):
    family = get_family(f"channel_bench_{network}")
    code = Code(family.name, family.of_groups(np.array([digits]), 4)[0])
    model = (
        create_model(code, num_classes=10, zero_init_last=False)
        if network == "resnet"
        else create_model(code, num_classes=10)
    )
    assert count_network(model, Setting(32)) == family.cost(code, Setting(32, num_classes=10))
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bad_channel_bench_codes_are_named():
    with pytest.raises(ValueError, match=r"counts of 1 to 4 of shape \(n, 7\)"):
        get_family("channel_bench_resnet").of_groups(np.full((1, 7), 5), 4)
    with pytest.raises(CodeError, match=r"element 4 \(s2.e1\): expected an integer from 1"):
        Code("channel_bench_mobilenet", (128, 768, 768, 0, 256, 1536, 1024))


CODE = Code.parse("resnet18_small{8,8,16,32,1,1,1,1}")


SMALL = {"base": "small/digits", "input_size": 8, "epochs": 2, "holdout": 0.25}


def test_training_repeats_itself_and_keeps_its_network(tmp_path):
    evaluate = Training(SMALL, str(tmp_path))
    score = evaluate.score(CODE, 1)
    assert Training(SMALL).score(CODE, 1) == score
    assert Training(SMALL).score(CODE, 2) != score
    folder = tmp_path / model_folder(CODE, 1)
    assert json.loads((folder / "result.json").read_text())["top1"] == score
    assert autobss_zoo.from_pretrained(folder / "last").about.code == CODE


def test_the_score_is_of_the_holdout_until_there_is_none(tmp_path):
    Training(SMALL, str(tmp_path)).score(CODE, 1)
    Training({**SMALL, "holdout": 0}, str(tmp_path)).score(CODE, 2)
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
    assert Training(SMALL).counting == {"setting": Setting(8, 1, 10)}
    assert Training("small/cifar10").counting == {"setting": Setting(32, 3, 10)}
