"""Folders of images: grey ones, and those of which none can be read."""

import json

import pytest
import torch
from test_fine_tuning import own_recipe, write_digits

from autobss_search.command.cli import main
from autobss_zoo.errors import DataError, RecipeError
from autobss_zoo.training import World, train, validate
from autobss_zoo.training.processes import find_device

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images") / "digits", images=8)


def recipe(root, **changes):
    return own_recipe(root, **{"in_chans": 1, "batch_size": 8, "epochs": 1, **changes})


def test_grey_images_train_and_are_evaluated_by_a_network_of_one_channel(root, tmp_path, capsys):
    grey = recipe(root)
    assert grey.counting["setting"].in_chans == 1
    assert grey.counting["setting"].num_classes == 5
    data = grey.prepare()
    ((images, _),) = data.evaluation(World(CPU))
    assert images.shape == (40, 1, 16, 16)
    colour = recipe(root, in_chans=None).prepare()
    ((same, _),) = colour.evaluation(World(CPU))
    mean, std = (sum(values) / 3 for values in (colour.source.mean, colour.source.std))
    expected = (same[:, :1] * colour.source.std[0] + colour.source.mean[0] - mean) / std
    torch.testing.assert_close(images, expected, rtol=1e-3, atol=1e-3)
    accuracy, network = train(grey, tmp_path / "run")
    assert network.conv1.weight.shape[1] == 1
    assert validate(str(tmp_path / "run" / "last"), "imagefolder", root, workers=0) == accuracy
    options = ["--data", "imagefolder", "--data-dir", str(root), "--workers", "0"]
    assert main(["evaluate", str(tmp_path / "run" / "last"), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == accuracy.right
    assert main(["evaluate", str(tmp_path / "run"), *options]) == 1
    err = capsys.readouterr().err
    assert f"the networks of this training are {tmp_path}/run/last and {tmp_path}/run/best" in err
    assert main(["evaluate", str(tmp_path / "run" / "last"), *options, "--weights", "x.pth"]) == 1
    assert "run/last has its own" in capsys.readouterr().err


@pytest.mark.parametrize("policy", ["original", "rand-m9-mstd0.5", "augmix-m3", "3a"])
def test_grey_images_are_augmented(root, policy):
    data = recipe(root, auto_augment=policy, flip=True).prepare()
    from autobss_zoo.training.data.batches import Parts

    for images, labels in data.batches(CPU).epoch(Parts(40, 8), 0, 0):
        assert images.shape == (8, 1, 16, 16)
        assert labels.shape == (8,)


def test_channels_are_for_folders():
    with pytest.raises(RecipeError, match="in_chans: is only for data in folders, not digits"):
        recipe(None, data="digits", crop_scale=[0.08, 1.0], data_dir=None)
    with pytest.raises(RecipeError, match="in_chans: input should be 1 or 3, got 2"):
        recipe(".", in_chans=2)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("part", ["train", "val"])
def test_folders_of_which_no_image_can_be_read_are_named(tmp_path, part, workers):
    root = write_digits(tmp_path / "images", images=2)
    for path in (root / part).rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=f"images/{part}: none of 10 images can be read: .*png: broken image"):
        train(recipe(root, workers=workers, batch_size=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluating_no_readable_image_is_an_error_and_no_zero(root, tmp_path, capsys):
    train(recipe(root), tmp_path / "run")
    broken = write_digits(tmp_path / "images", images=2)
    for path in (broken / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    capsys.readouterr()
    assert main(["evaluate", f"{tmp_path}/run/last", "--data", "imagefolder", "--data-dir", str(broken)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"autobss: error: {broken}/val: none of 10 images can be read: ")
    assert err.count("\n") == 1


def test_workers_errors_are_one_line(tmp_path):
    """A class is readable, and after it comes a long row of what is not."""
    root = write_digits(tmp_path / "images", images=30)
    for path in sorted((root / "train").rglob("*.png"))[1:]:
        path.write_bytes(b"no image")
    with pytest.raises(DataError) as error:
        train(recipe(root, workers=1), tmp_path / "run")
    assert str(error.value) == "20 images in a row are broken: copy the data again"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"workers": -1}, {"input_size": 0}, {"input_size": -3}])
def test_impossible_numbers_are_named(changes):
    (key, value) = next(iter(changes.items()))
    with pytest.raises(ValueError, match=f"{key}: expected at least {int(key != 'workers')}, got {value}"):
        validate("resnet_small_original", "digits", **changes)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", "", "meta", "cuda:-1", "tpu"])
def test_devices_that_are_not_here_are_named(name, capsys):
    with pytest.raises(ValueError, match=r"device: expected one of cpu.*, got '"):
        find_device(name)
    assert main(["evaluate", "resnet_small_original", "--data", "digits", "--device", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert find_device("cpu") == CPU
