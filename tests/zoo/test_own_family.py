"""A user's own family, as docs/families.md has it, in a module of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import exports

PAGE = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
MODULE = re.search(r"^```python module\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    (place / "plain.py").write_text(MODULE)
    return place


def python(folder, *arguments, **variables):
    environment = {**os.environ, "PYTHONPATH": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@exports
def test_the_page_runs(folder):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (folder / "page.py").write_text("\n".join(blocks))
    done = python(folder, "page.py")
    assert done.returncode == 0
    assert "stage3 bottleneck 256 128 512 3 2 56" in done.stdout
    assert "torch.Size([2, 10])" in done.stdout
    assert (folder / "plain.onnx").stat().st_size > 1000
    assert (folder / "my-plain" / "model.safetensors").is_file()


def test_the_command_knows_a_module_that_the_environment_names(folder):
    done = python(folder, "-m", "autobss_search", "info", "plain{8,16,24,5}", AUTOBSS_MODULES="plain")
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows if row[:1] in (["one"], ["two"], ["three"])] == [
        ["one", "8"],
        ["two", "16"],
        ["three", "24"],
    ]
    assert "kernel: 5" in done.stdout  # an element of the whole network
    done = python(folder, "-m", "autobss_search", "info", "plain{8,16,24,5}")
    assert done.returncode == 2
    assert "unknown family 'plain'" in done.stderr
    assert "AUTOBSS_MODULES can name" in done.stderr


def test_worker_processes_score_codes_of_a_users_family(folder):
    (folder / "search.yaml").write_text(
        "space: {family: plain, W: {step: 8, high: 16}, K: {choices: [3, 1], ordered: false}}\n"
        "budget: 90K\ntraining: {base: small/digits, input_size: 8, epochs: 2, holdout: 0.2}\n"
    )
    command = ["search", "search.yaml", "--rounds", "1", "--batch", "2", "--workers", "2", "--folder", "study"]
    done = python(folder, "-m", "autobss_search", *command, AUTOBSS_MODULES="plain")
    assert done.returncode == 0
    assert "answer: plain{" in done.stdout


def test_its_cost_is_its_networks(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    import plain  # noqa: F401

    from autobss_zoo import Code, Setting, create_model
    from autobss_zoo.cost import count_network
    from autobss_zoo.families import get_family

    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(1, 20, (8, 3)), rng.choice([1, 3, 5], 8)])
    setting = Setting(21, 1, 4)
    together = get_family("plain").cost(codes, setting)
    for i, row in enumerate(codes.tolist()):
        model = create_model(Code("plain", tuple(row)), num_classes=4, in_chans=1)
        alone = count_network(model, setting)
        assert (together.macs[i], together.params[i], together.activations[i]) == tuple(vars(alone).values())
