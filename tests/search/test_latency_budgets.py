"""Latency as a budget: from a device's table to a search under milliseconds, and the command's verbs for it."""

import json
import shutil

import numpy as np
import pytest
from test_latency import a_part_or_network, fake_clock

from autobss_search import AutoBSS, Session, get_space
from autobss_search.command.cli import main
from autobss_search.conformance import check_space
from autobss_search.errors import SpaceError
from autobss_search.spaces.amounts import parse_milliseconds
from autobss_search.spaces.blocks import covering_codes, sampled_codes
from autobss_search.spaces.budgets import parse_budget
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import Code, Setting, create_model, get_family
from autobss_zoo.errors import LatencyError
from autobss_zoo.latency import Table, load_table
from autobss_zoo.latency.blocks import distinct, kinds
from autobss_zoo.latency.conditions import Conditions, Runtime
from autobss_zoo.latency.table import Fit, MeasuredBlock

NAMES = ["resnet18", "resnet50", "mnv2", "efficientnet_b0", "resnet18_small", "channel_bench_mobilenet"]


@pytest.mark.parametrize("name", NAMES)
def test_covering_codes_have_every_block(name):
    space = get_space(name)
    counted, family = space.constraints[0].function.counted, get_family(space.family)
    codes = covering_codes(space, counted)
    known = distinct(family.plan(codes, counted.setting), len(codes))
    assert len(codes) <= len(known)
    random = space.values(np.random.default_rng(0).integers(0, space.lengths, (20_000, space.ndim)))
    assert distinct(family.plan(random, counted.setting), len(random)).keys() <= known.keys()


def test_of_too_many_blocks_a_sample_is_taken():
    space = get_space("mnv1_input")
    counted, family = space.constraints[0].function.counted, get_family(space.family)
    assert covering_codes(space, counted, 1000) is None
    codes = space.values(np.random.default_rng(0).integers(0, space.lengths, (500, space.ndim)))
    some = sampled_codes(codes, counted, 300)
    assert 250 <= len(distinct(family.plan(some, counted.setting), len(some))) <= 350
    assert (some == codes[: len(some)]).all()
    assert (sampled_codes(codes, counted, 10**6) == codes).all()


def a_table(name, setting=None):
    """A table of every block of a space, whose times are not monotone in channels."""
    space = get_space(name, setting=setting)
    counted, family = space.constraints[0].function.counted, get_family(space.family)
    codes = covering_codes(space, counted)
    blocks = [
        MeasuredBlock(kind=s.kind, shape=s.shape, quick=seconds(s), median=seconds(s), spread=0.01, n=9)
        for s in distinct(family.plan(codes, counted.setting), len(codes))
    ]
    conditions = Conditions(processor="a test's", system="none", versions={}, runtime=Runtime())
    return Table(
        conditions=conditions,
        protocol="made up",
        family=space.family,
        largest_macs=1 << 40,
        reference=1e-3,
        blocks=blocks,
        fit=Fit(constant=1e-4, factor=1.1, block=1e-6, input=-1e-12, param=1e-12),
        **counted.setting.describe(),
    )


def seconds(signature):
    cls = kinds()[signature.kind]
    (macs,) = cls(**dict(zip(cls.shape, signature.shape, strict=True))).figures(("macs",))
    return 1e-6 + macs * 1e-10 * (1.3 if signature.shape[1] % 16 else 1.0)


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    path = tmp_path_factory.mktemp("device") / "mine.json"
    a_table("mnv2_small", Setting(16, 1, 10)).save(path)
    return str(path)


def test_a_search_under_latency(device):
    space = get_space("mnv2_small", latency="0.6x", device=device, setting=Setting(16, 1, 10))
    table, original = load_table(device), Code("mnv2_small", get_family("mnv2_small").original)
    (constraint,) = space.constraints
    assert constraint.upper == pytest.approx(0.6e3 * table.predict(original))
    assert not constraint.monotone
    described = space.describe()["constraints"]["latency"]["of"]
    assert (described["table"], described["unit"]) == (table.identity, "ms")
    assert "a test's; onnxruntime on cpu, 1 thread" in described["device"]
    session = Session(AutoBSS(space, n_candidates=300))
    for _ in range(2):
        for code in session.ask(8):
            assert 1e3 * table.predict(code) <= constraint.upper
            session.tell(code, sum(code.channels))
    best = session.recommend()
    assert 1e3 * table.predict(best) <= constraint.upper
    check_space(space, n=30)


def test_what_is_out_of_reach_is_not_looked_at(device):
    setting, rng = Setting(16, 1, 10), np.random.default_rng(0)
    space = get_space("mnv2_small", latency="0.52x", device=device, setting=setting)
    (constraint,) = space.constraints
    assert (space.reach < space.lengths).any()
    rows = rng.integers(0, space.lengths, (100_000, space.ndim))
    few = rows * (rng.random(rows.shape) < 0.2)  # most are the smallest choices
    feasible = few[space.feasible(few)]
    assert len(feasible) > 100
    assert (feasible < space.reach).all()
    smaller = np.maximum(rows[:5000] - np.eye(space.ndim, dtype=int)[rng.integers(0, space.ndim, 5000)], 0)
    least, costs = (f(space.values(r)) for f, r in ((constraint.least, smaller), (constraint.costs, rows[:5000])))
    assert (least <= costs).all()
    assert (constraint.costs(space.values(smaller)) > costs).any()  # as it is not monotone
    assert (constraint.least(space.values(rows[:5000])) <= costs).all()


def test_a_table_by_which_blocks_make_networks_quicker_bounds_nothing():
    table = a_table("mnv2_small", Setting(16, 1, 10))
    codes = np.array([get_family("mnv2_small").original])
    assert 0 < table.least(codes)[0] < table.predict(codes)[0]
    for changes in ({"sampled": True}, {"fit": Fit(constant=1e-4, factor=1.1, block=-1e-5, input=0, param=1e-12)}):
        assert table.changed(**changes).least(codes)[0] == 0


def test_latency_beside_other_costs(device):
    setting = Setting(16, 1, 10)
    macs = get_space("mnv2_small", setting=setting).constraints[0].upper
    space = get_space("mnv2_small", macs=macs, latency="0.5x..0.9x", device=device, setting=setting)
    assert [c.name for c in space.constraints] == ["macs", "latency"]
    rows = space.encode(AutoBSS(space, n_candidates=200).propose([], 0, 8))
    costs = space.costs(rows)
    latency = space.constraints[1]
    assert (costs["macs"] <= macs).all()
    assert ((latency.lower <= costs["latency"]) & (costs["latency"] <= latency.upper)).all()
    assert get_space("mnv2_small", macs="0.5x", setting=setting).constraints[0].upper == macs / 2
    with pytest.raises(LatencyError, match=r"the table has no .*side="):
        get_space("mnv2_small", latency="1ms", device=device, setting=Setting(20, 1, 10))


@pytest.mark.parametrize(
    ("value", "ms"), [("9ms", 9), ("0.009s", 9), (" 9 MS ", 9), (9, 9), ("9", 9), (0.5, 0.5), ("1e1ms", 10)]
)
def test_times(value, ms):
    assert parse_milliseconds(value) == pytest.approx(ms)


@pytest.mark.parametrize("value", ["9 minutes", "-1ms", "ms", "", 0, True, None, "nan", "9x"])
def test_what_is_no_time(value):
    with pytest.raises(SpaceError, match="expected a positive time such as"):
        parse_milliseconds(value)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ("latency=9ms", {"latency": 9.0}),
        ("latency=8ms..0.009s,macs=300M", {"latency": [8.0, 9.0], "macs": 300_000_000}),
        ("latency=.750x", {"latency": "0.75x"}),
        ({"latency": [None, "1x"]}, {"latency": "1x"}),
        ("macs=0.5x..", {"macs": ["0.5x", None]}),
    ],
)
def test_budgets_are_read_and_read_again(budget, expected):
    assert parse_budget(budget) == expected
    assert parse_budget(expected) == expected


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"latency": "9ms"}, "latency: of which device"),
        ({"latency": "9ms", "device": "none.json"}, "device: .*none.json: No such file"),
        ({"macs": "1M", "device": "x.json"}, "device: is for a bound on latency"),
        ({"latency": "9ms", "device": 3}, "device: expected the file of a device's latencies, got 3"),
        ({"latency": "9ms", "device": ""}, "device: expected the file"),
        ({"latency": "0x"}, "latency: expected a positive time"),
        ({"latency": "1ns", "device": ...}, "latency: expected a positive time"),
    ],
)
def test_wrong_budgets_are_named(budget, message, device):
    with pytest.raises(SpaceError, match=message):
        get_space("mnv2_small", **{key: device if value is ... else value for key, value in budget.items()})


def test_tables_of_others_and_unfinished_ones_are_refused(device, tmp_path):
    with pytest.raises(
        SpaceError, match="budget: device: the table is of mnv2_small, and has nothing of resnet18_small"
    ):
        get_space("resnet18_small", latency="9ms", device=device)
    load_table(device).changed(fit=None).save(tmp_path / "begun.json")
    with pytest.raises(SpaceError, match="the table is not finished"):
        get_space("mnv2_small", latency="9ms", device=tmp_path / "begun.json")
    with pytest.raises(SpaceError, match="latency: is of classifiers"):
        get_space("maskrcnn_r50", latency="9ms", device=device)


def test_a_recipe_means_the_same_in_another_folder(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(device, tmp_path / "here.json")
    recipe = SearchRecipe.load(
        "small/digits_search", {"space": "mnv2_small", "budget": {"latency": "0.9x", "device": "here.json"}}
    )
    assert f"device: {tmp_path / 'here.json'}" in recipe.dump()


def test_the_command_builds_measures_checks_and_searches(capsys, monkeypatch, tmp_path):
    fake_clock(monkeypatch, a_part_or_network)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(
        "{base: mnv2_small, C: {step: 4, low: 8, high: 12}, L: {step: 1, high: 2}, T: {choices: [1, 6]}}"
    )
    images = ["--input-size", "8", "--in-chans", "1", "--num-classes", "10"]
    command = [
        "latency",
        "build",
        "--space",
        "space.yaml",
        "-o",
        "mine.json",
        "--networks",
        "8",
        "--held-out",
        "8",
        *images,
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "blocks of mnv2_small; " in out
    for title in (
        "the table: RMSPE 0.0%, within 5% 100%",
        "MACs alone: ",
        "MACs and activations: ",
        "measured again: ",
    ):
        assert title in out
    assert main(command) == 0  # there is nothing left to do
    assert main(["latency", "check", "mine.json", "--space", "space.yaml", "--networks", "4", "--rescale"]) == 0
    assert "on 4 fresh codes: RMSPE 0.0%" in capsys.readouterr().out
    code = Code("mnv2_small", (8,) * 6 + (1,) * 6 + (6,) * 6)
    assert main(["measure", str(code), "mnv2_original", "--seconds", "0.1", "--json", *images]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = a_part_or_network(create_model(code, in_chans=1, num_classes=10), None)
    assert found["seconds"][0]["median"] == pytest.approx(expected)
    assert main(["measure", "mnv2_original", "--seconds", "0.1", *images]) == 0
    assert "beside the first" in capsys.readouterr().out
    search = ["search", "small/digits_search", "--space", "space.yaml", "--budget", "latency=0.9x", "--device"]
    short = ["--rounds", "1", "--batch", "2", "--set", "training.epochs=1", "--set", "training.input_size=8"]
    assert main([*search, "mine.json", *short, "--set", "training.warmup_epochs=0"]) == 0
    assert "its latency: predicted " in (out := capsys.readouterr().out)
    assert " ms is kept (" in out
    assert main(["report", "study"]) == 0
    assert "its latency: predicted " in capsys.readouterr().out
    other = load_table("mine.json").conditions.model_copy(update={"processor": "another"})
    load_table("mine.json").changed(conditions=other).save("other.json")
    assert main([*search, "other.json", *short, "--set", "training.warmup_epochs=0", "--folder", "elsewhere"]) == 0
    assert "its latency" not in capsys.readouterr().out  # this machine's would be no answer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--space", "mnv2", "-o", "t.json", "--on", "cuda"], "onnxruntime: runs on cpu"),
        (["build", "--space", "mnv2", "-o", "t.json", "--on", "cuda", "--runtime", "pytorch"], "there is no GPU here"),
        (["build", "--space", "maskrcnn_r50", "-o", "t.json"], "--space: maskrcnn_r50: expected classifiers"),
        (["build", "--space", "params.yaml", "-o", "t.json"], "--space: params.yaml: expected classifiers"),
        (["build", "--space", "mnv2", "-o", "no/t.json"], "the folder no does not exist"),
        (["check", "none.json", "--space", "mnv2"], "none.json: No such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "params.yaml").write_text("{base: mnv2_small, budget: {params: 1M}}")
    assert main(["latency", *arguments]) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
