import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import timm
import torch
from timm.models import save_for_hf

import autobss_search.command.cli
from autobss_search.command.cli import main
from autobss_zoo import Setting, create_model, get, list_models
from autobss_zoo.families import family_of
from autobss_zoo.registry import PUBLISHED, entries
from conftest import exports, tiny

CODE = str(tiny("resnet18_small"))


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    return code, *capsys.readouterr()


def test_list(capsys):
    code, out, _ = run(capsys, "list")
    assert code == 0
    for entry in entries().values():
        assert any(entry.name in line and str(entry.code) in line for line in out.splitlines())
    code, out, _ = run(capsys, "list", "*autobss", "--family", "resnet50", "--task", "classification", "--json")
    assert [entry["name"] for entry in json.loads(out)] == ["resnet50_autobss"]


def test_list_finds_nothing(capsys):
    said = "autobss: error: no network matches 'x*' and the options; `autobss list` lists all\n"
    assert run(capsys, "list", "x*") == (1, "", said)
    assert run(capsys, "list", "maskrcnn*", "--pretrained", "--json")[:2] == (1, "[]\n")


@pytest.mark.parametrize("name", list_models())
def test_info(capsys, name):
    entry = get(name)
    code, out, _ = run(capsys, "info", name)
    assert code == 0
    assert str(entry.code) in out
    assert entry.printed.get("macs", entry.source) in out
    assert f"{entry.measured.macs:,} MACs" in out
    facts = json.loads(run(capsys, "info", entry.timm_name, "--json")[1])
    cost = entry.family.cost(entry.code, entry.setting)
    assert (facts["macs"], facts["params"]) == (cost.macs, cost.params)
    assert sum(stage["macs"] for stage in facts["stages"].values()) == cost.macs
    assert facts["elements"] == entry.code.as_dict()
    assert facts["entry"]["measured"] == vars(entry.measured)


def test_info_of_a_saved_network_is_that_of_its_code(capsys):
    folder, named = str(PUBLISHED / "resnet_small_autobss.fmnist"), get("resnet_small_autobss")
    facts = json.loads(run(capsys, "info", folder, "--json")[1])
    assert (facts["code"], facts["macs"], facts["input_size"]) == (str(named.code), named.measured.macs, 28)
    assert (facts["in_chans"], facts["num_classes"], facts["entry"]) == (1, 10, None)
    code, out, err = run(capsys, "info", "owner/nothing")
    assert (code, out) == (1, "")
    assert err.startswith("autobss: error: owner/nothing: cannot have config.json")


def test_info_of_a_code_at_another_size(capsys):
    options = ("--input-size", "40", "--in-chans", "1", "--num-classes", "10")
    facts = json.loads(run(capsys, "info", CODE, "--json", *options)[1])
    cost = family_of(tiny("resnet18_small")).cost(tiny("resnet18_small"), Setting(40, 1, 10))
    assert (facts["macs"], facts["params"], facts["entry"]) == (cost.macs, cost.params, None)


def test_compare(capsys, tmp_path):
    picture = tmp_path / "out.png"
    code, out, _ = run(capsys, "compare", "resnet18_original", "resnet18_autobss", "--plot", str(picture))
    assert code == 0
    assert "1,814.1M" in out
    assert "1,809.4M" in out
    assert out.count("█") > 50
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_compare_shows_every_element_in_80_columns(capsys):
    for a, b in (("resnet50_original", "resnet50_autobss"), ("mnv2_original", "mnv2_autobss")):
        _, out, _ = run(capsys, "compare", a, b)
        rows = [line.split() for line in out.splitlines() if line.split()[1:2] in (["A"], ["B"]) or "B " in line[:12]]
        assert max(len(line.rstrip()) for line in out.splitlines() if not line.startswith(("A:", "B:"))) <= 80
        elements = list(get(a).code.as_dict().items())
        number = elements[0][0][1:]
        row = next(row for row in rows if row[0] == f"stage{number}")
        assert row[2:5] == [str(value) for name, value in elements if name[1:] == number]


def test_list_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _, out, _ = run(capsys, "list")
    for name in list_models():
        assert sum(name in line.split() for line in out.splitlines()) == 1


@exports
def test_export(capsys, tmp_path):
    path = tmp_path / "out.onnx"
    code, out, _ = run(capsys, "export", CODE, str(path), "--num-classes", "4", "--in-chans", "1", "--input-size", "36")
    assert code == 0
    assert "relative" in out
    (output,) = onnxruntime.InferenceSession(path).get_outputs()
    assert output.shape == ["batch", 4]
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == ["batch", 1, 36, 36]
    options = ["--features-only", "--input-size", "32x48", "--batch", "2", "--half", "--opset", "19"]
    assert main(["export", CODE, str(path), *options]) == 0
    session = onnxruntime.InferenceSession(path)
    assert len(session.get_outputs()) == 5
    assert session.get_inputs()[0].shape == [2, 3, 32, 48]
    assert [opset.version for opset in onnx.load(path).opset_import if not opset.domain] == [19]


@exports
def test_a_folder_that_timm_saved(capsys, tmp_path):
    folder, path = tmp_path / "saved", tmp_path / "out.onnx"
    model = timm.create_model("test_resnet", num_classes=4).eval()
    save_for_hf(model, folder, safe_serialization=True)
    assert main(["export", str(folder), str(path), "--input-size", "32"]) == 0
    inputs = torch.randn(1, 3, 32, 32)
    (logits,) = onnxruntime.InferenceSession(path).run(None, {"image": inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(inputs), rtol=1e-4, atol=1e-5)
    code, _, err = run(capsys, "info", str(folder))
    assert (code, err) == (1, f"autobss: error: {folder}: is timm's test_resnet, which has no code\n")


@exports
def test_export_with_weights_of_ones_own(tmp_path):
    model = create_model(CODE, num_classes=4, in_chans=1).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    options = ["--weights", str(tmp_path / "weights.pth"), "--num-classes", "4", "--in-chans", "1"]
    assert main(["export", CODE, str(tmp_path / "out.onnx"), *options]) == 0
    inputs = torch.randn(2, 1, 32, 32)
    (logits,) = onnxruntime.InferenceSession(tmp_path / "out.onnx").run(None, {"image": inputs.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), model(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "resnet50_autobs"], 2, "unknown network 'resnet50_autobs': did you mean resnet50_autobss"),
        (["info", "resnet18{64,128,256,512,2,2,0,2}"], 2, "element 7 (L4): expected an integer"),
        (["list", "--family", "resnet19"], 2, "unknown family 'resnet19': did you mean resnet18"),
        (["compare", "resnet18_original", "mnv2_original"], 2, "cannot compare networks with the stages"),
        (["compare", "resnet50_original", "maskrcnn_r50_autobss"], 2, "give --input-size"),
        (["compare", "resnet18_original", "resnet18_random", "--plot", "a.txt"], 2, "ends in .png, .svg or .pdf"),
        (["compare", "resnet18_original", "resnet18_random", "--plot", "no/a.png"], 1, "the folder no does not exist"),
        (["export", "resnet50_autobss", "a.onnx", "--pretrained"], 1, "no weights are published for resnet50_autobss"),
        (["export", CODE, "missing/a.onnx"], 1, "the folder missing does not exist"),
        (["export", CODE, "a.onnx", "--weights", "missing.pth"], 1, "missing.pth"),
        (["export", CODE, "a.onnx", "--weights", __file__], 1, "test_cli.py: cannot load it into"),
        (["export", CODE, "a.onnx", "--features-only", "--num-classes", "3"], 2, "--num-classes: feature maps have no"),
        (["watch", ".", "--once", "--interval", "3"], 2, "--interval: --once looks one time"),
        (["info", CODE, "--input-size", "0"], 2, "expected a positive integer up to 65536, got '0'"),
        (["info", CODE, "--input-size", "99999999"], 2, "expected a positive integer up to 65536"),
        (["nothing"], 2, "invalid choice"),
        ([], 2, "required: COMMAND"),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, *arguments)
    errors = [line for line in err.splitlines() if "error:" in line]
    assert (found, out, len(errors)) == (code, "", 1)
    assert message in errors[0]
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_interrupts_and_missing_extras(capsys, monkeypatch):
    """What a verb raises becomes an exit code and a line."""
    for error, code, message in (
        (KeyboardInterrupt(), 130, "interrupted"),
        (ModuleNotFoundError("no", name="onnxruntime.capi"), 1, "pip install 'autobss-zoo[onnx]'"),
        (ModuleNotFoundError("no", name="matplotlib"), 1, "pip install 'autobss-zoo[plot]'"),
        (ModuleNotFoundError("No module named 'foo'", name="foo"), 1, "No module named 'foo'"),
        (ImportError("broken", name="matplotlib"), 1, "pip install 'autobss-zoo[plot]'"),
        (RuntimeError("two\nlines"), 1, "two lines"),
        (RuntimeError(), 1, "RuntimeError()"),
        (ValueError("a\x1b[31m\x00b\u2028\udc80"), 2, r"error: a\x1b[31m\x00b \udc80" + "\n"),
        (ValueError("x" * 10_000 + "the end"), 2, "xxthe end"),
        (KeyError("a"), 1, "unexpected KeyError: 'a' (AUTOBSS_TRACEBACK=1 shows where)"),
        (MemoryError(), 1, "unexpected MemoryError"),
        (RecursionError("too deep"), 1, "unexpected RecursionError: too deep"),
    ):

        class Verbs:
            @staticmethod
            def add_commands(commands, error=error):
                def fail(arguments):
                    raise error

                commands.add_parser("fail").set_defaults(run=fail)

        monkeypatch.setattr(autobss_search.command.cli, "VERBS", (Verbs,))
        found, out, err = run(capsys, "fail")
        assert (found, out, err.count("\n")) == (code, "", 1)
        assert err.startswith("autobss: error: ")
        assert message in err
        assert len(err) < 600


@pytest.mark.parametrize("verb", [[], ["list"], ["info"], ["compare"], ["export"]])
def test_help(capsys, verb):
    code, out, _ = run(capsys, *verb, "--help")
    assert code == 0
    assert "usage: autobss" in out


def test_as_a_process():
    command = [sys.executable, "-m", "autobss_search"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("autobss 0.")
    done = subprocess.run([*command, "info", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_cannot_be_written():
    """A full disk is one line; a reader that has gone is nothing."""
    command = [sys.executable, "-m", "autobss_search", "info", CODE]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as gone:
        gone.stdout.close()
        assert (gone.stderr.read(), gone.wait()) == ("", 0)


def test_help_is_quick():
    """It imports nothing heavy."""
    script = (
        "import sys; from autobss_search.command.cli import main; main(['--help']); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"
