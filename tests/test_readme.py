"""The lines of README, and of the pages that go on where it ends, do what it says there."""

import re
import shlex
from pathlib import Path

import pytest

from autobss_search.command.cli import main
from autobss_zoo import get
from conftest import exports

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@exports
@pytest.mark.parametrize("page", ["README.md", "docs/loading.md", "docs/model_scaling.md", "docs/search.md"])
def test_python(page, tmp_path, monkeypatch, capsys):
    """The blocks in order, as one session; what a line prints is what its comment says."""
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python", (ROOT / page).read_text(encoding="utf-8")))
    source = source.replace('torch.hub.load("."', f"torch.hub.load({str(ROOT)!r}")
    exec(compile(source, page, "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out
    for promised in re.findall(r"print\(.*\)  # (.*?)(?: \.\.\.)?$", source, re.MULTILINE):
        assert promised in printed or "a million codes" in promised
    if page == "README.md":
        assert (tmp_path / "my-network.onnx").stat().st_size > 10_000


def test_the_latencies_are_those_of_the_results():
    for network in ("resnet18", "resnet50", "mnv2"):
        original, searched = (get(f"{network}_{how}").latency for how in ("original", "autobss"))
        assert f"| {original['onnxruntime']:.1f} → {searched['onnxruntime']:.1f} |" in README
        if network != "mnv2":
            assert f"{searched['pytorch'] / original['pytorch']:.2f}x" in README


def test_readme_is_short():
    assert len(README.splitlines()) < 200


_SCALING = (ROOT / "docs" / "model_scaling.md").read_text(encoding="utf-8")


@exports
@pytest.mark.parametrize("block", [*blocks("bash"), *blocks("bash", _SCALING)])
def test_bash(block, tmp_path, monkeypatch):
    """The lines of a block, in one folder."""
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        command, *arguments = shlex.split(line, comments=True)
        if command == "autobss":
            assert main(arguments) == 0
        else:
            assert arguments[0] == "install"
            extra = re.fullmatch(r"autobss-zoo(?:\[(\w+)\])?", arguments[1])[1]
            assert extra is None or f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_figure_of_the_first_table_is_the_registrys():
    from autobss_zoo import get

    for label, name in (("ResNet18", "resnet18"), ("ResNet50", "resnet50"), ("MobileNetV2", "mnv2")):
        row = next(line for line in README.splitlines() if line.startswith(f"| {label} |"))
        for how in ("original", "autobss"):
            entry = get(f"{name}_{how}")
            assert str(entry.code).removeprefix(name) in row
            assert str(entry.accuracy["top-1, 120 epochs"]) in row
            macs = entry.measured.macs
            assert (f"{macs / 1e9:.2f}B" if macs > 1e9 else f"{macs / 1e6:.0f}M") in row
