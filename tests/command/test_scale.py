"""`autobss scale`."""

import json

import pytest

from autobss_search.command.cli import main
from autobss_zoo import get


def run(capsys, *arguments):
    code = main(["scale", *arguments])
    return code, *capsys.readouterr()


def test_by_a_strategy(capsys):
    code, out, _ = run(capsys, "scalenet_s0", "--strategy", "d=1.48,w=1.4,r=354")
    entry = get("scalenet_s3")
    assert code == 0
    assert str(entry.code) in out
    assert f"{entry.measured.macs:,}" in out
    facts = json.loads(run(capsys, "scalenet_s0", "--strategy", "d=1.48,w=1.4,r=1.58", "--json")[1])
    assert (facts["code"], facts["input_size"], facts["stage"]) == (str(entry.code), 354, None)
    assert (facts["macs"], facts["params"]) == (entry.measured.macs, entry.measured.params)
    assert facts["strategy"] == {"depth": 1.48, "width": 1.4, "resolution": 1.58}
    assert facts["base"]["macs"] == get("scalenet_s0").measured.macs


def test_to_a_budget(capsys):
    code, out, _ = run(capsys, "scalenet_s0", "--budget", "2G")
    assert code == 0
    assert "of ScaleNet's" in out
    options = ("--budget", "8G", "--in-chans", "1", "--num-classes", "10", "--json")
    facts = json.loads(run(capsys, "resnet50_original", *options)[1])
    assert facts["code"].startswith("resnet50_r{")
    assert 7.5e9 < facts["macs"] <= 8e9
    assert facts["stage"] > 0


def test_the_base_may_be_any_network_with_images_of_its_own(capsys):
    facts = json.loads(run(capsys, "resnet_small_autobss", "--strategy", "r=1.5", "--json")[1])
    assert (facts["base"]["input_size"], facts["input_size"]) == (28, 42)
    facts = json.loads(run(capsys, "mnv1{32,64,128,256,512,1024,1,2,2,6,2}", "--strategy", "w=0.5", "--json")[1])
    assert facts["code"] == "mnv1{16,32,64,128,256,512,1,2,2,6,2}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scalenet_s0"], "one of the arguments --strategy --budget is required"),
        (["scalenet_s0", "--strategy", "d=2", "--budget", "1G"], "not allowed with argument"),
        (["scalenet_s0", "--strategy", "depth=2"], "strategy: expected d, w and r"),
        (["scalenet_s0", "--budget", "much"], "--budget: expected a positive amount"),
        (["scalenet_s0", "--budget", "100M"], "has 352,691,328 MACs already"),
        (["mnv2_bcnet_50m", "--strategy", "d=2"], "its codes state no numbers of blocks; give a depth of 1"),
        (["maskrcnn_r50_autobss", "--budget", "9G"], "is for detection; give resnet50_v1{"),
        (["scalenet_s1", "--strategy", "r=2", "--input-size", "64"], "is for images of 256 pixels; leave it out"),
        (["scalenet_s9", "--strategy", "r=2"], "unknown network 'scalenet_s9'"),
    ],
)
def test_bad_input_is_a_line(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("autobss: error: ")
    assert message in err
    assert err.count("\n") == 1
