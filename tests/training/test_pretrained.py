"""A backbone takes the weights of a classifier that was trained before."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from autobss_zoo import create_model, save_pretrained
from autobss_zoo.errors import WeightsError
from autobss_zoo.families import family_of
from autobss_zoo.registry import find
from autobss_zoo.training.pretrained import begin_with, fill, read_state

CODE = "resnet18{4,4,8,8,1,1,1,1}"


def backbone(code=CODE, seed=1):
    torch.manual_seed(seed)
    code = find(code)[0]
    return family_of(code).build(code, num_classes=0)


def fill_backbone(network, source):
    return begin_with(network, source, family_of(find(CODE)[0]), "backbone_weights")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A classifier, and its weights as a folder and as files."""
    torch.manual_seed(0)
    model = create_model(CODE, num_classes=7)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("weights")
    save_pretrained(model, folder / "saved")
    shutil.copy(folder / "saved" / "model.safetensors", folder / "weights.safetensors")
    torch.save(model.state_dict(), folder / "weights.pth")
    half = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file(half, folder / "half.safetensors")
    torch.save({"epoch": 3, "conv1.weight": 5, "bn1.bias": [1]}, folder / "odd.pth")
    torch.save([1, 2], folder / "list.pth")
    (folder / "text.pth").write_text("no weights")
    return model, folder


@pytest.mark.parametrize("source", ["saved", "weights.safetensors", "weights.pth"])
def test_a_backbone_takes_a_classifiers_weights(trained, source):
    model, folder = trained
    network = backbone()
    assert not torch.equal(network.layer4[0].conv1.weight, model.layer4[0].conv1.weight)
    fill_backbone(network, str(folder / source))
    expected = model.state_dict()
    assert network.state_dict().keys() == {key for key in expected if not key.startswith("fc.")}
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())


def test_weights_of_half_precision_become_a_backbones_own(trained):
    network = backbone()
    fill_backbone(network, str(trained[1] / "half.safetensors"))
    assert all(p.dtype == torch.float32 for p in network.parameters())
    torch.testing.assert_close(network.conv1.weight, trained[0].conv1.weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("source", ["saved", "weights.safetensors", "weights.pth", "odd.pth"])
def test_weights_of_another_network_are_refused_and_change_nothing(trained, source):
    network = backbone("resnet18{4,8,8,8,1,1,1,1}")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    absent = "bn1.bias" if source == "odd.pth" else "layer2.0.bn1.bias"
    with pytest.raises(WeightsError, match=rf"{source} is of another network: {absent} is not in it with the shape \("):
        fill_backbone(network, str(trained[1] / source))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_files_that_are_no_weights_are_named(trained, tmp_path):
    for name, message in (
        ("text.pth", r"text.pth: cannot read weights \("),
        ("missing.safetensors", r"missing.safetensors: cannot read weights"),
        ("list.pth", "list.pth: expected a state dict, .*got list"),
    ):
        with pytest.raises(WeightsError, match=message):
            fill_backbone(backbone(), str(trained[1] / name))
        with pytest.raises(WeightsError, match=message):
            read_state(trained[1] / name)
    with pytest.raises(WeightsError, match=r"config.json: no such file; expected a folder that save_pretrained"):
        fill_backbone(backbone(), str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18_autobs", "'resnet18_autobs' is no folder, file, repository or network; train one first"),
        ("runs/resnet50.maskrcnn/last", "is no folder, file, repository or network"),
        ("resnet18_autobss", "no weights are published for resnet18_autobss"),
        (CODE, "no weights are published for a code"),
        ("resnet18.nothing_like_it", "backbone_weights: cannot have the weights of resnet18.nothing_like_it"),
        ("ecaresnext50t_32x4d", "backbone_weights: cannot have the weights of .*No pretrained weights exist"),
    ],
)
def test_networks_without_weights_are_named(name, message):
    with pytest.raises(WeightsError, match=message):
        fill_backbone(backbone(), name)


def test_weights_that_cannot_be_downloaded_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"backbone_weights: cannot have the weights of test_resnet\.r160_in1k"):
        fill_backbone(backbone(), "test_resnet.r160_in1k")


@pytest.mark.parametrize("content", [b"", b"[" * 9, None, [1], {1: torch.ones(1)}, {"conv1.weight": 3}, {"a": "b"}])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_that_hold_no_weights_are_named(content, name, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=rf"{name}: (cannot|expected)"):
        fill(create_model(CODE), path, CODE)
