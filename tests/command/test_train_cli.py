"""The command's verbs for trainings."""

import json

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from test_training_data import write_folder
from torchvision import models

from autobss_search.command.cli import main
from autobss_zoo import create_model
from autobss_zoo.recipes import list_recipes
from autobss_zoo.training.validation import validate
from conftest import exports

CODE = "resnet18_small{8,8,8,8,1,1,1,1}"
SMALL = ["--set", f"model={CODE}", "--set", "input_size=8", "--set", "epochs=2"]


def test_recipes_are_listed_and_shown(capsys):
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert all(f" {name} " in out for name in list_recipes())
    assert main(["recipes", "imagenet/resnet50*_350", "--show"]) == 0
    first, second = yaml.safe_load_all(capsys.readouterr().out.replace("\n# imagenet/resnet50.autobss", "\n---\n# "))
    assert (first["model"], first["epochs"], first["weight_decay"]) == ("resnet50_original", 350, 0.0001)
    assert second["model"] == "resnet50_autobss"
    assert first.keys() == second.keys()
    assert main(["recipes", "nothing*"]) == 1
    assert "no recipe matches" in capsys.readouterr().err


@exports
def test_train_evaluate_publish(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "small/digits", *SMALL, "--set", "batch_size=32"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("test: top-1 ")
    assert out.endswith("of 360 images: runs/small-digits\n")
    assert "learning_rate: 0.1 became 0.05, as batch_size went from 64 to 32" in err
    assert "epoch 2/2: training loss" in err
    assert main(["evaluate", "runs/small-digits/last", "--data", "digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    result = json.loads((tmp_path / "runs" / "small-digits" / "result.json").read_text())
    assert (found["right"], found["images"]) == (result["right"], 360)
    weights = "runs/small-digits/last/model.safetensors"
    assert validate("runs/small-digits/last", "digits").right == found["right"]
    assert main(["publish", "runs/small-digits", "--name", "tiny_autobss", "--tag", "digits", "--to", "zoo"]) == 0
    assert "with AUTOBSS_ZOO=zoo it is in the zoo, as tiny_autobss.digits" in capsys.readouterr().out
    assert main(["evaluate", CODE, "--data", "digits", "--weights", weights, "--input-size", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == found["right"]
    assert main(["evaluate", CODE, "--data", "digits", "--weights", weights]) == 0  # at 16 pixels
    assert "95% interval" in capsys.readouterr().out


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("images"), classes=6, images=3, side=90)


def saved(network, path):
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return str(path)


def test_any_network_is_evaluated_by_the_protocol_it_was_published_with(images, tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    networks = {
        "resnet18_small{8,8,8,8,1,1,1,1}": create_model(CODE, num_classes=6),
        "resnet10t": timm.create_model("resnet10t", num_classes=6),
        "torchvision:mobilenet_v3_small": models.mobilenet_v3_small(num_classes=6),
    }
    for name, network in networks.items():
        weights = saved(network, tmp_path / "weights.safetensors")
        options = ["--data", "imagefolder", "--data-dir", str(images), "--weights", weights, "--json", "--workers", "0"]
        assert main(["evaluate", name, *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["images"], found["left_out"]) == (18, 0)
        assert found["right5"] >= found["right"]
    # torchvision's own transforms and a loop by hand
    from PIL import Image

    preset = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    paths = sorted((images / "val").rglob("*.jpg"))
    with torch.inference_mode():
        logits = network.eval()(torch.stack([preset(Image.open(path)) for path in paths]))
    labels = torch.tensor([int(path.parent.name[-1]) for path in paths])
    assert found["right"] == int((logits.argmax(1) == labels).sum())
    assert found["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-2)


def test_a_broken_validation_image_is_named_and_left_out(images, tmp_path, capsys, caplog):
    import shutil

    root = shutil.copytree(images, tmp_path / "images")
    (root / "val" / "class2" / "1.jpg").write_bytes(b"broken")
    weights = saved(create_model(CODE, num_classes=6), tmp_path / "weights.safetensors")
    options = ["--data", "imagefolder", "--data-dir", str(root), "--weights", weights, "--workers", "0"]
    assert main(["evaluate", CODE, *options]) == 0
    out, err = capsys.readouterr()
    assert "of 17 images" in out
    assert "1 broken images were left out" in err
    assert "class2/1.jpg: broken image" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "small/digitz"], 2, "recipe 'small/digitz': did you mean small/digits"),
        (["train", "small/digits_search"], 2, "is a search's recipe, for `autobss search`"),
        (["train", "small/digits", "--set", "epochz=2"], 2, "small/digits: unknown key 'epochz': did you mean epochs"),
        (["train", "small/digits", "--set", "epochs"], 2, "--set epochs: expected key=value"),
        (["train", "imagenet/resnet18"], 1, "data_dir: expected a folder with train/<class>"),
        (["train", "imagenet/resnet18", "--data-dir", "missing"], 1, "missing: there is no such folder of data"),
        (["evaluate", "resnet18_autobss", "--data", "digits"], 1, "no weights are published for resnet18_autobss"),
        (["evaluate", "resnet19_autobss", "--data", "digits"], 2, "unknown network 'resnet19_autobss'"),
        (["evaluate", CODE, "--data", "nothing", "--weights", "w.pth"], 2, "data: 'nothing': known: cifar10, coco"),
        (["evaluate", CODE, "--data", "digits", "--weights", "w.pth"], 1, "w.pth: cannot load it into resnet18_small"),
        (
            ["evaluate", CODE, "--data", "coco", "--batch-size", "8"],
            2,
            "batch_size: is not for networks on coco; leave it out",
        ),
        (["evaluate", CODE, "--data", "digits", "--batch-size", "0"], 2, "--batch-size: expected a positive integer"),
        (["train", "small/digits", "--data-dir", "."], 1, "data_dir: the digits come with scikit-learn, not from"),
        (["evaluate", "torchvision:nothing", "--data", "digits"], 1, "torchvision:nothing"),
        (["publish", "missing"], 1, "missing: there is no finished training here"),
    ],
)
def test_bad_input_is_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_other_images_or_classes_is_named(images, tmp_path, capsys):
    small = create_model(CODE, num_classes=10, in_chans=2)
    from autobss_zoo import save_pretrained

    save_pretrained(small, tmp_path / "small")
    options = ["--data", "imagefolder", "--data-dir", str(images)]
    assert main(["evaluate", str(tmp_path / "small"), *options]) == 1
    assert "takes 2 channels; the images of imagefolder have 3" in capsys.readouterr().err
    save_pretrained(create_model(CODE, num_classes=10), tmp_path / "ten")
    assert main(["evaluate", str(tmp_path / "ten"), *options]) == 1
    assert "knows 10 classes, which are not the 6 of imagefolder" in capsys.readouterr().err
