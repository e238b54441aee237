"""Data sets: found, divided, read, and named where they are missing or broken."""

import gzip
import hashlib
import logging
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import CIFAR10

from autobss_zoo.errors import DataError
from autobss_zoo.training import TrainingRecipe, train
from autobss_zoo.training.data.batches import MemoryBatches, Parts
from autobss_zoo.training.data.sources import SOURCES, Images, indices, load
from autobss_zoo.training.processes import World

CPU = torch.device("cpu")
DEBIAN = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")


def write_folder(root, classes=3, images=8, side=40, parts=("train", "val")):
    """A tiny ImageFolder; each class has a colour of its own."""
    rng = np.random.default_rng(0)
    for part in parts:
        for label in range(classes):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(images):
                pixels = rng.integers(0, 90, (side, side + 8, 3)) + 160 * np.eye(3, dtype=int)[label % 3]
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.jpg")
    return root


def folder_recipe(root, **changes):
    small = {"data": "imagefolder", "data_dir": str(root), "input_size": 32, "batch_size": 8, "epochs": 1}
    small |= {"warmup_epochs": 0, "amp": None, "workers": 0, "learning_rate": 0.05}
    return TrainingRecipe.load("imagenet/resnet18", {**small, "model": "resnet18{8,8,8,8,1,1,1,1}", **changes})[0]


@pytest.fixture(autouse=True)
def fresh():
    load.cache_clear()


def test_the_statistics_of_digits_are_those_of_the_training_images():
    batches = TrainingRecipe.load("small/digits", {"shift": 0})[0].prepare().batches(CPU)
    pixels = torch.cat([x for x, _ in batches.epoch(Parts(len(batches), 128), 0, 0)])
    assert (float(pixels.mean()), float(pixels.std())) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    train, test = load("digits")
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == set(range(10))


@pytest.mark.skipif(not DEBIAN.is_file(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian():
    train, test = load("fashion_mnist")
    assert train.images.shape == (60000, 1, 28, 28)
    assert test.images.shape == (10000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [6000] * 10
    pixels = train.images.float() / 255
    source = SOURCES["fashion_mnist"]
    assert (float(pixels.mean()), float(pixels.std())) == pytest.approx((source.mean[0], source.std[0]), abs=1e-4)


def write_fashion(folder, n=50):
    rng = np.random.default_rng(0)
    for part, count in (("train", n), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">BBBBIII", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        header = struct.pack(">BBBBI", 0, 0, 8, 1, count)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


def test_fashion_mnist_of_a_folder_and_broken_files(tmp_path):
    write_fashion(tmp_path)
    train, test = load("fashion_mnist", str(tmp_path))
    assert train.images.shape == (50, 1, 28, 28)
    assert test.labels.tolist() == [i % 10 for i in range(20)]
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for broken in (whole[:200], gzip.compress(gzip.decompress(whole)[:100]), b"no gzip", b""):
        path.write_bytes(broken)
        load.cache_clear()
        with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz: broken or incomplete.*dataset-fashion-mnist"):
            load("fashion_mnist", str(tmp_path))


def test_cifar10(tmp_path, monkeypatch):
    """Files in CIFAR-10's format; torchvision is told their checksums."""
    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    sums = {}
    for name in [*(n for n, _ in CIFAR10.train_list), *(n for n, _ in CIFAR10.test_list), CIFAR10.meta["filename"]]:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)
        content = {"data": pixels, "labels": list(range(10)) * 2, "label_names": list("abcdefghij")}
        (base / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((base / name).read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[n, sums[n]] for n, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[n, sums[n]] for n, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums[CIFAR10.meta["filename"]]})
    train, test = load("cifar10", str(tmp_path))
    assert train.images.shape == (100, 3, 32, 32)
    assert test.images[0, 1].flatten().tolist() == pixels[0, 1024:2048].tolist()  # planes of red, green and blue


def test_missing_data_say_where_to_get_them(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", offline)
    with pytest.raises(DataError, match=r"cannot read or download CIFAR10.*torchvision downloads"):
        load("cifar10", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot read or download FashionMNIST.*dataset-fashion-mnist"):
        load("fashion_mnist", str(tmp_path))
    with pytest.raises(DataError, match="missing: there is no such folder of data"):
        load("cifar10", str(tmp_path / "missing"))
    with pytest.raises(DataError, match=r"data_dir: expected a folder with train/<class>/\*.jpg.*--data-dir"):
        load("imagenet")
    with pytest.raises(DataError, match=r"there is no train folder.*site after registration"):
        load("imagenet", str(tmp_path))


def test_broken_folders_are_named(tmp_path):
    write_folder(tmp_path / "few", parts=("train",))
    with pytest.raises(DataError, match="there is no val or validation or test folder"):
        load("imagefolder", str(tmp_path / "few"))
    (tmp_path / "few" / "val").mkdir()
    with pytest.raises(DataError, match="val: there are no images in it"):
        load("imagefolder", str(tmp_path / "few"))
    write_folder(tmp_path / "odd", classes=3, parts=("train",))
    write_folder(tmp_path / "odd", classes=2, parts=("val",))
    with pytest.raises(DataError, match="only one of its two parts has the class class2"):
        load("imagefolder", str(tmp_path / "odd"))
    with pytest.raises(DataError, match="expected ImageNet's 1000 classes, got 3; other images are data=imagefolder"):
        load("imagenet", str(write_folder(tmp_path / "good")))


def test_too_few_images_are_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot keep 0.1 of 10 images apart"):
        indices(torch.arange(10), 0.1)
    with pytest.raises(DataError, match="train_images: expected at most 1437, got 5000"):
        TrainingRecipe.load("small/digits", {"train_images": 5000})[0].prepare()


def memory(n=64, shift=0.125, flip=True, **changes):
    images = Images(torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8), torch.arange(n) % 10)
    settings = {"shift": shift, "flip": flip, **changes}
    return images, MemoryBatches(images, (0.0,), (1 / 255,), CPU, **settings), Parts(n, 32)


def test_augmented_images_are_shifted_and_mirrored_originals():
    images, batches, parts = memory()
    shifts, mirrored = set(), 0
    order = torch.cat(list(parts.indices(0, 0)))
    pixels = torch.cat([x for x, _ in batches.epoch(parts, 0, 0)])
    labels = torch.cat([y for _, y in batches.epoch(parts, 0, 0)])
    assert torch.equal(labels, images.labels[order])
    padded = torch.nn.functional.pad(images.images, (2,) * 4).float()
    for number, found in zip(order.tolist(), pixels, strict=True):
        windows = {(d, a): padded[number, :, d : d + 16, a : a + 16] for d in range(5) for a in range(5)}
        match = [
            (where, flip)
            for where, window in windows.items()
            for flip in (False, True)
            if torch.allclose(window.flip(2) if flip else window, found, atol=1e-3)
        ]
        assert len(match) == 1
        shifts.add(match[0][0])
        mirrored += match[0][1]
    assert len(shifts) > 15
    assert 16 < mirrored < 48


def test_an_epoch_that_begins_in_its_middle_is_the_same_from_there():
    _, batches, parts = memory(n=200)
    whole = list(batches.epoch(parts, 3, 0))
    rest = list(batches.epoch(parts, 3, 2))
    assert len(rest) == len(whole) - 2 == 4
    for (a, b), (c, d) in zip(whole[2:], rest, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)
    assert not torch.equal(whole[0][1], next(batches.epoch(parts, 4, 0))[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_begin_in_the_middle_and_repeat_themselves_with_any_workers(tmp_path, workers):
    root = write_folder(tmp_path)
    alone = folder_recipe(root, auto_augment="original")
    recipe = folder_recipe(root, auto_augment="original", workers=workers)
    whole = list(alone.prepare().batches(CPU).epoch(Parts(24, 8), 1, 0))
    rest = list(recipe.prepare().batches(CPU).epoch(Parts(24, 8), 1, 1))
    assert whole[0][0].shape == (8, 3, 32, 32)
    assert len(rest) == 2
    for (a, b), (c, d) in zip(whole[1:], rest, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_on_folders_that_is_stopped_within_an_epoch_draws_the_same_dropout(tmp_path, workers):
    recipe = folder_recipe(write_folder(tmp_path), model_args={"drop_rate": 0.5}, workers=workers)
    whole = train(recipe)[1].state_dict()
    done = [0]
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", on_step=lambda p: done.append(p.step), should_stop=lambda: done[-1] == 2)
    resumed = train(recipe, tmp_path / "run")[1].state_dict()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_folders_are_evaluated_by_imagenets_protocol(tmp_path):
    """As torchvision's transforms do it."""
    root = write_folder(tmp_path, side=90)
    recipe = folder_recipe(root, input_size=64, channels_last=False)
    data = recipe.prepare()
    ((images, labels),) = data.evaluation(World(CPU))
    source = SOURCES["imagefolder"]
    protocol = transforms.Compose(
        [
            transforms.Resize(73, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(64),
            transforms.ToTensor(),
            transforms.Normalize(source.mean, source.std),
        ]
    )
    paths = sorted((root / "val").rglob("*.jpg"))
    expected = torch.stack([protocol(Image.open(path)) for path in paths])
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-4)
    assert labels.tolist() == [int(path.parent.name[-1]) for path in paths]


def test_broken_images_are_named_replaced_in_training_and_left_out_of_evaluation(tmp_path, caplog):
    root = write_folder(tmp_path)
    broken = [root / "train" / "class1" / "3.jpg", root / "val" / "class0" / "2.jpg"]
    whole = broken[1].read_bytes()
    broken[0].write_bytes(b"this is no image")
    broken[1].write_bytes(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        accuracy, _ = train(folder_recipe(root))
    assert (accuracy.images, accuracy.left_out) == (23, 1)
    assert f"{broken[0]}: broken image" in caplog.text
    assert "the next one takes its place" in caplog.text
    assert f"{broken[1]}: broken image" in caplog.text


def test_a_folder_of_broken_images_stops_the_training(tmp_path):
    root = write_folder(tmp_path)
    for path in (root / "train").rglob("*.jpg"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="none of 24 images can be read"):
        train(folder_recipe(root))
