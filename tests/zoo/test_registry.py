import csv
import re

import pytest

import autobss_zoo
from autobss_zoo import Code, get, list_models
from autobss_zoo.errors import AutoBSSError, UnknownNameError, WeightsError
from autobss_zoo.latencies import COLUMNS, FOLDER, RUNTIMES, measured_on
from autobss_zoo.registry import entries
from conftest import AUTOBSS, PAPER


def test_all_codes_of_autobss_tables_5_8_9_and_10_are_there():
    assert len(AUTOBSS) == 26
    assert list_models()[: len(PAPER)] == PAPER
    assert PAPER[:26] == AUTOBSS
    assert len(list_models("*_r50_*", task="detection")) == 9
    assert len(list_models(task="segmentation")) == 4
    for network in ("resnet18", "resnet50", "mnv2", "efficientnet_b0", "efficientnet_b1"):
        for found_by in ("original", "random", "autobss"):
            entry = get(f"{network}_{found_by}")
            assert (entry.found_by, entry.family.base) == (found_by, network)
            assert entry.accuracy
    assert str(get("resnet18_autobss").code) == "resnet18{32,32,128,1024,4,14,14,1}"
    corrected, printed = get("retinanet_r50_autobss").code, get("retinanet_r50_autobss_printed").code
    assert (corrected.bottlenecks[1], printed.bottlenecks[1]) == (96, 192)
    assert [a == b for a, b in zip(corrected, printed, strict=True)].count(False) == 1


def test_the_uniform_networks_are_the_hand_made_ones_times_a_factor():
    names = [name for name in PAPER if re.search(r"_uniform_[wr]\d", name)]
    assert len(names) == 13
    for name in names:
        entry, factors = get(name), dict(re.findall(r"_([wr])(\d+)", name))
        width = 7 / 8 if name == "mnv2_uniform_w088_r196" else int(factors.get("w", 100)) / 100
        original = entry.family.inner.original
        for value, whole, title in zip(entry.code, original, entry.family.layout.names, strict=False):
            kept = title[0] == "L" or (title == "C9" and width > 0.35)
            assert value == (whole if kept else int(whole * width + 1e-9)), f"{name}: {title}"
        assert entry.setting.input_size == int(factors.get("r", 224))


@pytest.mark.parametrize("name", PAPER)
def test_printed_figures_are_rounded_or_truncated_or_explained(name):
    entry = get(name)
    for figure, printed in entry.printed.items():
        value, unit = float(printed[:-1]), {"M": 1e6, "B": 1e9, "G": 1e9}[printed[-1]]
        digit = 10 ** -len(printed[:-1].partition(".")[2])
        within = value - digit / 2 <= getattr(entry.measured, figure) / unit <= value + digit / 2
        assert within or entry.notes, f"{figure}: printed {printed}, measured {getattr(entry.measured, figure)}"


@pytest.mark.parametrize("entry", entries().values(), ids=str)
def test_names_say_how_the_code_was_found(entry):
    if "ScaleNet" in entry.paper and entry.found_by != "original":  # a base and its scaled networks have no other names
        names = {"scalenet": r"scalenet_s[0-5]", "scaled": r"efficientnet_s[1-5]"}
        assert re.fullmatch(names[entry.found_by], entry.name)
    else:
        assert re.fullmatch(rf"\w+_{entry.found_by}(_130m|_printed|(_w\d+)?(_r\d+)?|_\d+[mg])", entry.name)
    assert entry.timm_name.startswith("autobss_")
    assert entry.timm_name.count("autobss") == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"pattern": "resnet18*"}, ["resnet18_original", "resnet18_random", "resnet18_autobss"]),
        ({"pattern": "autobss_mnv2"}, ["mnv2_autobss"]),
        ({"family": "efficientnet_b1"}, [f"efficientnet_b1_{how}" for how in ("original", "random", "autobss")]),
        ({"family": "efficientnet_b1_searched"}, [f"efficientnet_b1_{how}" for how in ("random", "autobss")]),
        ({"family": "resnet50", "task": "classification", "pattern": "*random"}, ["resnet50_random"]),
        ({"task": "segmentation", "pattern": "psp*"}, ["pspnet_r50_original", "pspnet_r50_autobss"]),
        ({"pretrained": True, "family": "resnet50"}, ["resnet50_original"]),
        ({"pattern": "nothing*"}, []),
        ({"pattern": "resnet18*", "max_macs": 1.8e9}, ["resnet18_random"]),
        (
            {"pattern": "resnet50_uniform_w*", "max_params": 23.5e6, "max_macs": 3.5e9},
            [f"resnet50_uniform_{w}" for w in ("w088", "w075", "w050")],
        ),
    ],
)
def test_list_models(options, names):
    assert list_models(**options) == names


def test_every_classifier_has_a_measured_latency():
    names = list_models(task="classification")
    assert {name for name, entry in entries().items() if entry.latency} == set(names)
    for name in names:
        assert get(name).latency.keys() == set(RUNTIMES)
    bound = get("mnv2_autobss").latency["onnxruntime"]
    quick = list_models(max_latency=bound)
    assert "mnv2_autobss" in quick
    assert quick == [name for name in names if get(name).latency["onnxruntime"] <= bound]
    assert {runtime.partition("-")[0] for runtime in measured_on()} >= set(RUNTIMES)
    for conditions in measured_on().values():
        assert conditions["processor"]
        assert conditions["versions"]["torch"]


@pytest.mark.parametrize("bound", ["max_macs", "max_params", "max_latency"])
def test_a_bound_of_networks_is_a_number(bound):
    with pytest.raises(TypeError, match=f"{bound}: expected a number such as 300e6, got '300M'"):
        list_models(**{bound: "300M"})


@pytest.mark.parametrize("name", [f"{runtime}-cpu-1thread" for runtime in RUNTIMES])
def test_results_state_what_timms_do_and_the_registrys_costs(name):
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert rows == sorted(rows, key=lambda row: float(row["infer_step_time"]))
    for row in rows:
        entry = get(row["model"])
        assert float(row["param_count"]) == round(entry.measured.params / 1e6, 2)
        assert float(row["infer_gmacs"]) == round(entry.measured.macs / 1e9, 3)
        assert int(row["infer_img_size"]) == entry.setting.input_size
        assert float(row["infer_samples_per_sec"]) == pytest.approx(1e3 / float(row["infer_step_time"]), rel=0.01)


@pytest.mark.parametrize("options", [{"family": "resnet19"}, {"task": "detecting"}])
def test_list_models_knows_families_and_tasks(options):
    with pytest.raises(UnknownNameError, match="unknown"):
        list_models(**options)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet50_autobs", "resnet50_autobss"), ("autobss_resnet5", "autobss_resnet50"), ("mnv2-random", "mnv2_random")],
)
def test_a_misspelt_name_suggests_the_nearest(name, nearest):
    pytest.importorskip("torch")
    for look_up in (get, autobss_zoo.create_model):
        with pytest.raises(UnknownNameError, match=rf"unknown network '{name}': did you mean .*{nearest}"):
            look_up(name)


def test_codes_need_no_registration():
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        model = autobss_zoo.create_model("resnet18{64,64,256,512,2,3,4,1}", num_classes=10)
        assert model.about.code == autobss_zoo.create_model(Code("resnet18", (64, 64, 256, 512, 2, 3, 4, 1))).about.code
    assert model.num_classes == 10


def test_unpublished_weights_name_their_recipe():
    timm = pytest.importorskip("timm")
    for create in (autobss_zoo.create_model, timm.create_model):
        with pytest.raises(
            WeightsError, match=r"published for resnet50_autobss; `autobss train imagenet/resnet50` makes"
        ):
            create("autobss_resnet50", pretrained=True)
    with pytest.raises(WeightsError, match="no weights are published for a code"):
        autobss_zoo.create_model("resnet18{64,64,256,512,2,3,4,1}", pretrained=True)


def test_a_wrong_tag_is_refused():
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        autobss_zoo.create_model("autobss_resnet50.in1k")


def test_the_generic_entry_point_needs_a_code():
    timm = pytest.importorskip("timm")
    with pytest.raises(AutoBSSError, match=r"expected a code, e\.g\."):
        timm.create_model("autobss_from_code")


def test_version_and_lazy_names():
    pytest.importorskip("torch")
    assert autobss_zoo.__version__
    assert callable(autobss_zoo.from_pretrained)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        autobss_zoo.nothing  # noqa: B018
