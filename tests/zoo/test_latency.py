"""Latency: what is timed, what a table knows, and how it is made. No test depends on how long anything takes."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from autobss_zoo import Code, Setting, create_model, get_family, save_pretrained
from autobss_zoo.codes import LAYOUTS
from autobss_zoo.errors import AutoBSSWarning, LatencyError
from autobss_zoo.families import FAMILIES
from autobss_zoo.latency import Runtime, Table, build_table, building, load_table, measure, measuring
from autobss_zoo.latency.blocks import BlockTimes, Signature, distinct, signatures
from autobss_zoo.latency.building import agreed
from autobss_zoo.latency.runners import open_runner
from autobss_zoo.latency.table import Errors
from autobss_zoo.latency.timing import Timing, time_in_turns
from conftest import EVERY_FAMILY, tiny
from own_families import WIDE, WideMobileNet

FAMILY = "mnv2_small"
SETTING = Setting(16, 1, 4)
RUNTIMES = [Runtime(), Runtime(name="pytorch"), Runtime(name="pytorch", dtype="bfloat16", channels_last=True, batch=2)]


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_the_parts_of_a_network_are_the_blocks_of_its_plan(family):
    code, kind = tiny(family), get_family(family)
    model, setting = create_model(code, num_classes=7).eval(), kind.setting(code=code)
    images = torch.randn(2, 3, setting.input_size, setting.input_size)
    x = images
    for part, block in zip(kind.parts(model), signatures(kind.plan(code, setting)), strict=True):
        inputs, outputs, side, *_ = block.shape
        assert x.shape[1:] == (inputs, side, side)
        x = part(x)
        assert x.shape[1] == (outputs if block.kind != "linear" else 7)
    assert torch.equal(x, model(images))


def test_blocks_are_found_and_counted():
    codes = np.array([tiny("resnet18").values, (12, 12, 14, 15, 3, 1, 1, 2)])
    kind = get_family("resnet18")
    plan, found = kind.plan(codes), set()
    for code in codes.tolist():
        found |= set(signatures(kind.plan(Code("resnet18", tuple(code)))))
    assert set(distinct(plan, 2)) == found
    times = {signature: float(place) for place, signature in enumerate(sorted(found), 1)}
    lookup = BlockTimes(times)
    for number, code in enumerate(codes.tolist()):
        summed = sum(
            float(np.nan_to_num(lookup.of(b, 2)[number]) * np.broadcast_to(b.times, 2)[number]) for b in plan.blocks
        )
        assert summed == sum(times[s] for s in signatures(kind.plan(Code("resnet18", tuple(code)))))
    assert np.isnan(lookup.of(kind.plan(codes + 1).blocks[-1], 2)).all()


def test_a_block_is_named_by_its_figures():
    (*_, last) = signatures(get_family(FAMILY).plan(tiny(FAMILY), SETTING))
    assert str(last) == "linear(inputs=640, outputs=4, side=1, kernel=1, stride=1)"


def test_runs_are_in_turns_and_their_medians_kept():
    ran, seconds = [], itertools.cycle([5.0, 1.0, 3.0])

    def runner(name):
        return lambda: ran.append(name) or next(seconds)

    shares = []
    timings = time_in_turns([runner("a"), runner("b")], 48, shares.append)
    assert ran == ["a", "b"] * 8
    assert [(t.median, t.n) for t in timings] == [(3.0, 8), (3.0, 8)]
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert Timing.of([1.0, 2.0, 3.0]).spread == 0.5


def fake_clock(monkeypatch, of=lambda module, shape: 1e-3):
    """Runners that are not timed: each says what `of` tells of its module and the shape of its input."""

    def open_runner(module, shape, runtime):
        seconds = of(module, shape)
        return lambda: seconds

    for module in (building, measuring):
        monkeypatch.setattr(module, "open_runner", open_runner)


def test_measure(monkeypatch):
    fake_clock(monkeypatch, lambda network, shape: 1e-3 * shape[0] * shape[1])
    model = create_model(tiny("resnet18_small"), in_chans=1)
    found = measure(["mnv2_original", tiny("resnet18_r"), model], seconds=0.01)
    assert found.names == ("mnv2_original", str(tiny("resnet18_r")), "CodedResNet")
    assert found.ms == pytest.approx([3 * 224, 3 * 40, 32])
    assert found.conditions.runtime == Runtime()
    assert {"python", "torch", "timm", "onnxruntime"} == found.conditions.versions.keys()
    assert measure(tiny("resnet18_small"), Setting(20), seconds=0.01).ms == pytest.approx([60])


def test_what_is_measured_of_a_network_that_says_little(monkeypatch, tmp_path):
    fake_clock(monkeypatch, lambda network, shape: 1e-3 * shape[0] * shape[1])
    save_pretrained(create_model(tiny("resnet18_small"), in_chans=1), tmp_path)
    assert measure(str(tmp_path), seconds=0.01).ms == pytest.approx([32])
    assert measure(torch.nn.Conv2d(3, 4, 1), Setting(10), seconds=0.01).ms == pytest.approx([30])
    with pytest.raises(ValueError, match="setting: expected one with an input_size: a Conv2d states none"):
        measure(torch.nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match="maskrcnn_r50_autobss: is a maskrcnn; give its backbone resnet50_v1"):
        measure("maskrcnn_r50_autobss")


def test_a_wide_spread_is_a_warning(monkeypatch):
    monkeypatch.setattr(measuring, "open_runner", lambda *_: iter(itertools.cycle([1.0, 2.0])).__next__)
    with pytest.warns(AutoBSSWarning, match="differ by more than"):
        measure("mnv2_original", seconds=8)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_every_runtime_runs_every_part(runtime):
    for family in ("resnet18", "resnet50_v1", "mnv2_small", "efficientnet_b0_small"):
        code, kind = tiny(family), get_family(family)
        network = create_model(code, num_classes=3).eval()
        blocks = list(signatures(kind.plan(code, Setting(32, num_classes=3))))
        for part, block in list(zip(kind.parts(network), blocks, strict=True))[::3]:
            inputs, _, side, *_ = block.shape
            assert open_runner(part, (inputs, side, side), runtime)() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tflite"}, "name"),
        ({"device": "cuda"}, "onnxruntime: runs on cpu"),
        ({"dtype": "float16"}, "onnxruntime: runs on cpu"),
        ({"threads": 0}, "threads"),
        ({"batch": True}, "batch"),
    ],
)
def test_impossible_runtimes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        measure("mnv2_original", **options)


def random_codes(n, seed=0):
    rng = np.random.default_rng(seed)
    widths, blocks, expansions = rng.integers(8, 12, (n, 6)), rng.integers(1, 3, (n, 6)), rng.choice([1, 6], (n, 6))
    return np.concatenate([widths, blocks, expansions], axis=1)


def a_part_or_network(module, shape):
    """Seconds by which a network takes 1 ms more than twice its blocks, each of which takes its parameters in us."""
    parts = module.parts() if hasattr(module, "parts") else None
    if parts is None:
        return 1e-6 * sum(p.numel() for p in module.parameters())
    return 1e-3 + 2 * sum(a_part_or_network(part, None) for part in parts)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory):
    path, networks = tmp_path_factory.mktemp("device") / "table.json", (random_codes(8), random_codes(6, 1))
    codes = np.concatenate([random_codes(12, 2), *networks])
    with pytest.MonkeyPatch.context() as patched:
        fake_clock(patched, a_part_or_network)
        build_table(path, FAMILY, codes, networks, Runtime(), SETTING)
    return path, codes, networks


@pytest.fixture
def built(built_once, monkeypatch, tmp_path):
    """A table's file, its codes and its networks, under the clock that it was made by."""
    fake_clock(monkeypatch, a_part_or_network)
    path, codes, networks = built_once
    return Path(shutil.copy(path, tmp_path)), codes, networks


def test_a_table_predicts_sums_of_blocks(built):
    path, codes, _ = built
    table = load_table(path)
    assert table.validation.predicted.rmspe < 1e-6
    assert table.validation.predicted.within_5 == table.validation.predicted.rank_correlation == 1
    assert table.validation.macs.rmspe > 0.01
    assert table.validation.repeated.rmspe == 0
    expected = [
        a_part_or_network(create_model(Code(FAMILY, tuple(c)), in_chans=1, num_classes=4), None)
        for c in codes[:5].tolist()
    ]
    assert table.predict(codes[:5]) == pytest.approx(expected)
    assert table.predict(Code(FAMILY, tuple(codes[0].tolist()))) == pytest.approx(expected[0])
    with_side = np.append(codes[0], 16)[None]
    assert table.predict(with_side, family=f"{FAMILY}_r") == pytest.approx(expected[:1])
    assert load_table(path).identity == table.identity
    assert table.rescaled(2).predict(codes[:5]) == pytest.approx(2 * np.array(expected))
    assert table.rescaled(2).identity != table.identity


def test_a_machine_that_changes_its_pace_gives_the_same_table(built, monkeypatch, tmp_path):
    path, codes, networks = built
    paces = itertools.cycle([1.0, 3.0, 0.5, 2.0])
    pace = [next(paces)]

    def open_runner(module, shape, runtime):
        seconds = a_part_or_network(module, shape)
        return lambda: seconds * pace[0]

    def in_turns(*arguments):
        pace[0] = next(paces)
        return time_in_turns(*arguments)

    monkeypatch.setattr(building, "open_runner", open_runner)
    monkeypatch.setattr(building, "time_in_turns", in_turns)
    again = build_table(tmp_path / "again.json", FAMILY, codes, networks, Runtime(), SETTING)
    table = load_table(path)
    ratio = again.reference / table.reference
    for one, other in zip(again.blocks, table.blocks, strict=True):
        assert one.quick == pytest.approx(ratio * other.quick)
    assert again.predict(codes) == pytest.approx(ratio * table.predict(codes))
    measured = building.measure_codes(table, codes[:15])  # more than are run in turns
    assert len(set(measured.paces)) == 2
    assert set(measured.paces) < {1.0, 3.0, 0.5, 2.0}
    assert measured.at_pace == pytest.approx(table.predict(codes[:15]))


def test_the_hand_made_network_is_fitted_on_too(monkeypatch, tmp_path):
    def clock(module, shape):  # deep networks take more than sums say
        if not hasattr(module, "parts"):
            return 1e-6 * sum(p.numel() for p in module.parameters()) ** 0.5
        times = [clock(part, None) for part in module.parts()]
        return sum(times) + 1e-5 * len(times) ** 2

    fake_clock(monkeypatch, clock)
    networks = random_codes(8), random_codes(4, 1)
    table = build_table(tmp_path / "table.json", FAMILY, np.concatenate(networks), networks, Runtime(), SETTING)
    assert table.predict(Code(FAMILY, get_family(FAMILY).original)) == pytest.approx(table.reference, rel=0.01)


def test_blocks_that_a_sample_has_not_are_predicted_within_its_sizes(monkeypatch, tmp_path):
    fake_clock(monkeypatch, a_part_or_network)
    networks = random_codes(8), random_codes(40, 1)
    codes = np.concatenate([random_codes(40, 2), [[8] * 6 + [2] * 6 + [6] * 6, [11] * 6 + [2] * 6 + [6] * 6]])
    table = build_table(tmp_path / "table.json", FAMILY, codes, networks, Runtime(), SETTING, sampled=True)
    assert table.sampled
    with pytest.raises(LatencyError, match="the table has no"):
        table.changed(sampled=False).predict(networks[1])
    assert table.validation.predicted.rmspe < 0.02 < table.validation.macs.rmspe
    assert table.identity != table.changed(sampled=False).identity
    with pytest.raises(LatencyError, match=r"the table has no inverted_residual\(inputs=8, outputs=400"):
        table.predict(np.array([(*[8] * 5, 400, *[1] * 6, *[6] * 6)]))


def test_parts_have_weights_whatever_their_modules_say():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.scale = torch.nn.Conv2d(3, 4, 1), torch.nn.Parameter(torch.ones(4, 1, 1))

    with torch.device("meta"):
        part = Scaled()
    building._filled(part)
    assert part.conv.weight.std() > 0
    assert not part.scale.any()


def test_a_family_that_computes_with_tensors_as_it_builds_has_its_networks_measured(monkeypatch):
    class Computing(WideMobileNet):
        def build(self, code, **kwargs):
            assert torch.ones(3).sum().item() == 3
            return super().build(code, **kwargs)

    family = Computing("computing_mnv2", "mnv2", WIDE.original)
    monkeypatch.setitem(FAMILIES, family.name, family)
    monkeypatch.setitem(LAYOUTS, family.name, family.layout)
    network = building._unfilled(Code(family.name, family.original), Setting(32, 3, 10))
    assert {p.device.type for p in building._filled(network).parameters()} == {"cpu"}


def test_unknown_blocks_are_named_and_larger_ones_are_over_any_bound(built):
    table = load_table(built[0])
    other = np.array([(*[13] * 6, *[1] * 6, *[6] * 6)])
    with pytest.raises(
        LatencyError, match=r"mnv2_small: the table has no inverted_residual\(inputs=8, outputs=13, .* and "
    ):
        table.predict(other)
    small = table.changed(largest_macs=10)
    assert table.largest_macs == get_family(FAMILY).figure("macs", Code(FAMILY, get_family(FAMILY).original), SETTING)
    assert small.predict(other).tolist() == [np.inf]
    with pytest.raises(LatencyError, match="is of mnv2_small, and has nothing of mnv2"):
        table.predict(tiny("mnv2"))


def test_an_interrupted_build_goes_on(built, monkeypatch, tmp_path):
    whole, codes, networks = built
    opened = []

    def interrupted(module, shape, runtime):
        opened.append(module)
        if len(opened) == 60:
            raise KeyboardInterrupt
        return lambda: a_part_or_network(module, shape)

    path = tmp_path / "again.json"
    monkeypatch.setattr(building, "open_runner", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_table(path, FAMILY, codes, networks, Runtime(), SETTING)
    kept = load_table(path)
    assert 0 < len(kept.blocks) < len(load_table(whole).blocks)
    with pytest.raises(LatencyError, match="the table is not finished"):
        kept.predict(codes)
    shares = []
    build_table(
        path, FAMILY, codes, networks, Runtime(), SETTING, on_progress=lambda what, share: shares.append((what, share))
    )
    again, table = load_table(path), load_table(whole)
    assert {(b.kind, b.shape, b.quick) for b in again.blocks} == {(b.kind, b.shape, b.quick) for b in table.blocks}
    assert again.predict(codes) == pytest.approx(table.predict(codes))
    assert len({id(m) for m in opened}) < 60 + len(load_table(whole).blocks)
    assert shares[-1] == ("networks", 1.0)
    assert [share for what, share in shares if what == "blocks"][-1] == 1.0
    with pytest.raises(LatencyError, match="holds a table of family mnv2_small, not mnv2"):
        build_table(path, "mnv2", codes, networks, Runtime(), SETTING)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"blocks": [{"kind": "none", "shape": [1], "quick": 1.0, "median": 1.0, "spread": 0.0, "n": 1}]},
        {"blocks": [{"kind": "linear", "shape": [1], "quick": 1.0, "median": 1.0, "spread": 0.0, "n": 1}]},
        {"fit": {"constant": 0.0, "factor": -1.0, "block": 0.0, "input": 0.0, "param": 0.0}},
        {"family": 3},
        {"more": 1},
    ],
)
def test_broken_tables_are_one_line(built, change):
    path = built[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LatencyError, match="is no latency table: ") as error:
        load_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\x80"])
def test_what_is_no_table_is_one_line(tmp_path, content):
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(LatencyError, match=r"t\.json"):
        load_table(tmp_path / "t.json")
    with pytest.raises(LatencyError, match="No such file"):
        load_table(tmp_path / "none.json")


def test_errors_of_predictions():
    errors = Errors.of(np.array([1.04, 2.16, 2.7]), np.array([1.0, 2.0, 3.0]))
    assert (errors.networks, errors.within_5, errors.within_10, errors.rank_correlation) == (3, 0.33333, 1.0, 1.0)
    assert errors.rmspe == pytest.approx(np.sqrt((0.04**2 + 0.08**2 + 0.1**2) / 3), abs=1e-5)
    assert errors.bias == pytest.approx(0.02 / 3, abs=1e-5)


def test_signatures_of_every_kind_have_names():
    assert str(Signature("max_pool", (8, 8, 16, 3, 2, 0, 0))).startswith("max_pool(inputs=8")
    assert Table.model_fields.keys() >= {"conditions", "fit", "validation"}


def test_groups_that_erred_in_their_pace_are_made_to_agree():
    rng = np.random.default_rng(0)
    seconds, groups = rng.uniform(1, 2, 60), np.stack([rng.permutation(60) // 12 for _ in range(2)])
    errors = rng.normal(0, 0.2, (2, 5))
    errors -= errors.mean()
    halves = seconds * np.exp(np.take_along_axis(errors, groups, axis=1))
    np.testing.assert_allclose(agreed(halves, groups), seconds, rtol=1e-6)
    np.testing.assert_allclose(agreed(seconds * np.ones((2, 1)), groups), seconds)
