"""A training that is refused leaves everything as it was."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autobss_zoo import create_model
from autobss_zoo.errors import AutoBSSError
from autobss_zoo.training import TrainingRecipe, World, train

SMALL = {
    "base": "small/digits",
    "model": "resnet18_small{8,8,8,8,1,1,1,1}",
    "input_size": 8,
    "epochs": 1,
    "warmup_epochs": 0,
    "batch_size": 400,
}
CPU = torch.device("cpu")
FAULTS = {
    "data that are not there": {"data": "fashion_mnist", "data_dir": "/nonexistent"},
    "no folder of images": {"data": "imagefolder", "data_dir": "EMPTY", "shift": 0},
    "too many images": {"train_images": 100_000},
    "too large a batch": {"batch_size": 20_000},
    "no images to hold out": {"holdout": 1e-9},
    "no weights": {"weights": "runs/nothing/last"},
    "a broken file of weights": {"weights": "EMPTY/text.pth"},
    "weights of another network": {"weights": "EMPTY/other.pth"},
    "unpublished weights": {"weights": "resnet18_autobss"},
    "an unknown argument": {"model_args": {"no_such_argument": 1}},
    "an argument of another type": {"model_args": {"act_layer": "no_such_layer"}},
    "an argument that breaks": {"model_args": {"output_stride": 7}},
    "images that pool to nothing": {"model_args": {"global_pool": "nothing"}},
}
WORLDS = {"a batch that does not divide": World(CPU, 0, 3), "batch norms without GPUs": World(CPU, 0, 2)}
FOLDERS = ("absent", "empty", "with a file", "with another training", "with a broken state", "with a foreign state")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A folder with a training of another recipe."""
    folder = tmp_path_factory.mktemp("other") / "run"
    train(load({**SMALL, "seed": 7}), folder)
    return folder


def load(settings):
    return TrainingRecipe.load(settings)[0]


def tree(root):
    return {path.relative_to(root): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def make(root, folder, other):
    """The folder of a training, in a state."""
    if folder != "absent":
        root.mkdir(parents=True)
    if folder == "with a file":
        (root / "notes.txt").write_text("mine")
    if folder == "with another training":
        shutil.copytree(other, root, dirs_exist_ok=True)
    if "state" in folder:
        if "foreign" in folder:
            torch.save({"history": [], "best": 1.0, "result": None, "step": "x"}, root / "last.pt")
        else:
            (root / "last.pt").write_bytes(b"broken")


@settings(max_examples=40)
@given(data=st.data())
def test_nothing_is_left_and_nothing_is_changed(data, other, tmp_path_factory):
    root = tmp_path_factory.mktemp("refused")
    empty = tmp_path_factory.mktemp("empty")
    (empty / "text.pth").write_text("no weights")
    torch.save(create_model("resnet18_small{8,8,8,16,1,1,1,1}").state_dict(), empty / "other.pth")
    folder = data.draw(st.sampled_from(FOLDERS))
    refusing = folder in FOLDERS[3:]  # whatever the recipe
    fault = data.draw(st.sampled_from([*FAULTS, *WORLDS, *([""] if refusing else [])]))
    changes = {
        key: value.replace("EMPTY", str(empty)) if isinstance(value, str) else value
        for key, value in FAULTS.get(fault, {}).items()
    }
    if fault == "batch norms without GPUs":
        changes["sync_bn"] = True
    make(root / "a" / "run", folder, other)
    before = tree(root)
    tensorboard = data.draw(st.booleans())
    with pytest.raises((AutoBSSError, ValueError)) as error:
        train(load({**SMALL, **changes}), root / "a" / "run", world=WORLDS.get(fault), tensorboard=tensorboard)
    assert str(error.value)
    assert tree(root) == before
