"""Every recipe for ImageNet's classes on a tiny folder of images: alone, in two processes, killed and resumed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_training_data import write_folder

import forked
from autobss_zoo.recipes import list_recipes
from autobss_zoo.training import TrainingRecipe, train
from conftest import long

KINDS = ("imagenet", "compression", "bcnet", "scalenet")
RECIPES = [
    name for kind in KINDS for name in list_recipes(f"{kind}/*") if not re.search(r"_search|_cifar10|_r50|\.s\d", name)
]
RECIPES.remove("bcnet/mnv2.distilled")  # whose teacher is on the Hub
IN_GATE = [("imagenet/efficientnet_b1", 2)]
BACKBONES = [name for name in RECIPES if "." not in name]
EVERY = [(name, processes) for name in BACKBONES for processes in (1, 2)]
SMALL = {"data": "imagefolder", "input_size": 32, "epochs": 2, "warmup_epochs": 0.5, "batch_size": 8, "workers": 0}
SCRIPT = Path(__file__).parents[1] / "training_script.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("name", [*BACKBONES, *long(*(name for name in RECIPES if name not in BACKBONES))])
def test_alone(name, images):
    recipe, notes = TrainingRecipe.load(name, {**SMALL, "epochs": 1, "data_dir": str(images), "amp": None})
    whole = TrainingRecipe.load(name)[0]
    assert recipe.learning_rate == whole.learning_rate * 8 / whole.batch_size
    assert len(notes) == (2 if whole.min_learning_rate else 1)
    steps = []
    accuracy, network = train(recipe, on_step=steps.append)
    assert len(steps) == 3
    assert accuracy.images == 24
    assert network.about.code == recipe.code
    assert network.num_classes == 3


QUICK = {**SMALL, "checkpoint_steps": 2, "amp": None, "workers": 1}


def run(folder, kill_at, name, images, processes):
    """A training in processes of its own, which ends itself at a step; -1 to let it finish."""
    words = [f"{key}={json.dumps(value)}" for key, value in {**QUICK, "base": name, "data_dir": str(images)}.items()]
    return forked.run(SCRIPT, folder, kill_at, *words, processes=processes, errors=folder.with_suffix(".errors"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [*IN_GATE, *long(*(both for both in EVERY if both not in IN_GATE))])
def test_killed_at_a_step_and_resumed(name, processes, images, tmp_path):
    assert run(tmp_path / "parts", 5, name, images, processes) == -9  # of six steps, two epochs of three
    assert not (tmp_path / "parts" / "result.json").exists()
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["step"] == 3
    assert run(tmp_path / "parts", -1, name, images, processes) == 0, (tmp_path / "parts.errors").read_text()
    if processes == 1:
        train(TrainingRecipe.load(name, {**QUICK, "data_dir": str(images)})[0], tmp_path / "whole")
    else:
        assert run(tmp_path / "whole", -1, name, images, processes) == 0
    a, b = (load_file(tmp_path / part / "last" / "model.safetensors") for part in ("whole", "parts"))
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    one, other = (json.loads((tmp_path / part / "result.json").read_text()) for part in ("whole", "parts"))
    assert one == other
    assert one["images"] == 24


@pytest.mark.long
def test_two_processes_compute_what_one_does(images, tmp_path):
    """Without batch norms, which see only their own process's images."""
    words = ["base=imagenet/resnet18", "model=resnet18{8,8,8,8,1,1,1,1}", "model_args={norm_layer: groupnorm1}"]
    words += [f"{key}={value}" for key, value in {**SMALL, "data_dir": images, "amp": "null"}.items()]
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / str(processes)), "-1", *words]
        subprocess.run(command, check=True, capture_output=True)
    one, two = (load_file(tmp_path / str(n) / "last" / "model.safetensors") for n in (1, 2))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)
    results = [json.loads((tmp_path / str(n) / "result.json").read_text()) for n in (1, 2)]
    assert results[0]["right"] == results[1]["right"]
    assert results[0]["images"] == results[1]["images"] == 24


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_keeps_its_state_when_it_is_told_to_stop(number, images, tmp_path):
    settings = {**SMALL, "epochs": 200, "warmup_epochs": 0, "model": "resnet18{8,8,8,8,1,1,1,1}", "amp": "null"}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "autobss_search", "train", "imagenet/resnet18", "--folder", "run"]
    command += ["--data-dir", str(images), *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "run" / "metrics.csv").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, number)
        errors = process.stderr.read()
        assert process.wait(60) == 130
    assert "interrupted; the same command goes on" in errors
    assert "learning_rate: 0.4 became 0.003125, as batch_size went from 1024 to 8" in errors
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert 3 <= state["step"] < 600
