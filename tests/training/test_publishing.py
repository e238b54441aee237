"""From a finished training to a network that the zoo lists and loads."""

import json
import os
import shutil
import subprocess
import sys

import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from test_hub import run as run_client
from test_training_data import DEBIAN

import autobss_zoo
from autobss_zoo.errors import TrainingError, WeightsError
from autobss_zoo.registry import entries, read_published
from autobss_zoo.training import TrainingRecipe, train
from autobss_zoo.training.publishing import publish
from autobss_zoo.training.validation import validate
from conftest import exports, long
from hub_server import Hub

pytestmark = exports

CODE = "resnet18_small{8,8,8,8,1,1,1,1}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    small = {"model": CODE, "input_size": 8, "epochs": 3, "holdout": 0.25}
    train(TrainingRecipe.load("small/digits", small)[0], folder)
    return folder


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    return publish(run, tmp_path_factory.mktemp("zoo"), "tiny_autobss", "digits8", found_by="autobss", source="a test")


def python(source, zoo):
    """What a program prints that runs with a folder of published networks."""
    environment = {**os.environ, "AUTOBSS_ZOO": str(zoo)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_the_folder_is_complete(run, published):
    names = {"README.md", "config.json", "curve.png", "metrics.csv", "model.onnx", "model.safetensors", "recipe.yaml"}
    assert {path.name for path in published.iterdir()} == names
    assert published.name == "tiny_autobss.digits8"
    assert list(published.parent.iterdir()) == [published]
    facts = json.loads((published / "config.json").read_text())["published"]
    assert (facts["name"], facts["tag"], facts["found_by"]) == ("tiny_autobss", "digits8", "autobss")
    assert facts["accuracy"]["images"] == 360  # the test set, though the training only saw its holdout
    assert json.loads((run / "result.json").read_text())["evaluated_on"] == "holdout"
    recipe = TrainingRecipe.load(published / "recipe.yaml")[0]
    assert (recipe.code, recipe.data_dir) == (TrainingRecipe.load(run / "recipe.yaml")[0].code, None)
    card = (published / "README.md").read_text()
    entry = read_published(published)
    for stated in (CODE, f"{entry.measured.macs:,}", f"{entry.measured.params:,}", facts["accuracy"]["text"], "95%",
                   "curve.png", "autobss train recipe.yaml", "licence: not stated", "CC BY 4.0", "a test",
                   '"autobss_tiny.digits8", pretrained=True', "| epochs | 3 |"):  # fmt: skip
        assert stated in card
    network = autobss_zoo.from_pretrained(published).eval()
    images = torch.randn(3, 1, 8, 8)
    session = onnxruntime.InferenceSession(published / "model.onnx", providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = network(images)
    torch.testing.assert_close(
        torch.tensor(session.run(None, {"image": images.numpy()})[0]), expected, rtol=1e-4, atol=1e-4
    )


def test_timm_hub_and_zoo_load_it_by_its_tag(published):
    source = f"""
import autobss_zoo, timm, torch
expected = autobss_zoo.from_pretrained({str(published)!r}).state_dict()
for network in (
    timm.create_model("autobss_tiny.digits8", pretrained=True),
    timm.create_model("tiny_autobss", pretrained=True),
    autobss_zoo.create_model("tiny_autobss.digits8", pretrained=True),
    autobss_zoo.create_model("autobss_tiny", pretrained=True),
):
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert (network.num_classes, network.in_chans) == (10, 1)
other = timm.create_model("autobss_tiny", pretrained=True, num_classes=3, in_chans=3)
assert torch.equal(other.state_dict()["layer1.0.conv1.weight"], expected["layer1.0.conv1.weight"])
features = timm.create_model("autobss_tiny", pretrained=True, features_only=True)
assert torch.equal(features.state_dict()["layer1.0.conv1.weight"], expected["layer1.0.conv1.weight"])
assert autobss_zoo.list_models(pretrained=True)[-1] == "tiny_autobss"
assert "autobss_tiny.digits8" in timm.list_pretrained("autobss*")
config = network.pretrained_cfg
assert (tuple(config["input_size"]), tuple(config["mean"])) == ((1, 8, 8), (0.3054,))
print("loaded")
"""
    assert python(source, published.parent) == "loaded\n"


def test_damaged_weights_are_refused(published, tmp_path):
    import shutil

    copy = shutil.copytree(published, tmp_path / "zoo" / published.name)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    source = 'import autobss_zoo; autobss_zoo.create_model("tiny_autobss", pretrained=True)'
    assert "expected weights with sha256" in python(source, tmp_path / "zoo")


@pytest.mark.parametrize(
    ("name", "content"),
    [("metrics.csv", None), ("metrics.csv", b"\x80"), ("metrics.csv", b"epoch,top1\n1,a\n"), ("result.json", b"[]")],
)
def test_broken_trainings_are_named_and_leave_nothing(run, tmp_path, name, content):
    copy = shutil.copytree(run, tmp_path / "run")
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    with pytest.raises(TrainingError, match=f"run/{name}: is no "):
        publish(copy, tmp_path / "zoo" / "inner", name="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_broken_folders_of_published_networks_are_named(published, tmp_path):
    assert "missing is no folder" in python("import autobss_zoo", tmp_path / "missing")
    (tmp_path / "a.b").mkdir()
    (tmp_path / "a.b" / "config.json").write_text("{}")
    assert "a.b/config.json: architecture: is missing" in python("import autobss_zoo", tmp_path)


def test_the_card_says_what_its_user_says_and_is_valid_for_the_hub(run, tmp_path):
    stated = {"found_by": "a friend", "source": "a letter", "license": "mit", "card_text": "Trained on a Sunday."}
    folder = publish(run, tmp_path, "tiny_autobss", "stated", onnx=False, **stated)
    card = ModelCard.load(folder / "README.md")
    for text in ("Found by: a friend", "Source: a letter", "licence: mit", "Trained on a Sunday."):
        assert text in card.text
    (result,) = card.data.eval_results
    accuracy = json.loads((folder / "config.json").read_text())["published"]["accuracy"]
    assert (result.dataset_type, result.metric_type) == ("digits", "accuracy")
    assert result.metric_value == round(accuracy["top1"], 4)
    assert (card.data.model_name, card.data.license) == ("tiny_autobss.stated", "mit")
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["license"] == "mit"

    publish(run, tmp_path, "tiny_autobss", "stated", onnx=False)
    assert ModelCard.load(folder / "README.md").data.license is None
    (folder / "README.md").write_text("My own words.")
    publish(run, tmp_path, "tiny_autobss", "stated", onnx=False)
    assert (folder / "README.md").read_text() == "My own words."


def test_publishing_again_replaces_the_whole_folder(run, tmp_path):
    first = publish(run, tmp_path, "tiny_autobss", "again", onnx=False)
    (first / "stray").write_text("")
    assert publish(run, tmp_path, "tiny_autobss", "again", onnx=False) == first
    assert not (first / "stray").exists()
    assert list(tmp_path.iterdir()) == [first]


def test_another_code_takes_the_place_of_a_published_one(run, tmp_path):
    publish(run, tmp_path / "zoo", "tiny_autobss", "digits8", onnx=False)
    other = {"model": "resnet18_small{8,8,8,8,1,1,1,2}", "input_size": 8, "epochs": 2}
    train(TrainingRecipe.load("small/digits", other)[0], tmp_path / "other")
    source = f"""
from autobss_zoo.training.publishing import publish
print(publish({str(tmp_path / "other")!r}, {str(tmp_path / "zoo")!r}, "tiny_autobss", "digits8", onnx=False).name)
publish({str(tmp_path / "other")!r}, {str(tmp_path / "zoo")!r}, "tiny_autobss", "second", onnx=False)
"""
    out = python(source, tmp_path / "zoo")
    assert out.startswith("tiny_autobss.digits8\n")
    assert "name: tiny_autobss is resnet18_small{8,8,8,8,1,1,1,1} already" in out
    assert read_published(tmp_path / "zoo" / "tiny_autobss.digits8").code.layers == (1, 1, 1, 2)


def test_what_cannot_be_published_is_named(run, tmp_path):
    with pytest.raises(TrainingError, match="there is no finished training here"):
        publish(tmp_path, tmp_path / "zoo")
    with pytest.raises(WeightsError, match=r"name: expected up to 64 small letters.*got 'resnet18_small\{"):
        publish(run, tmp_path / "zoo")
    with pytest.raises(WeightsError, match=r"tag: expected up to 64 small letters.*got 'a b'"):
        publish(run, tmp_path / "zoo", "tiny", "a b")
    with pytest.raises(WeightsError, match=r"name: resnet18_autobss is resnet18\{32,.* already"):
        publish(run, tmp_path / "zoo", "resnet18_autobss")
    assert not (tmp_path / "zoo").exists()
    (tmp_path / "tiny.file").touch()
    (tmp_path / "tiny.link").symlink_to("elsewhere")
    for tag in ("file", "link"):
        with pytest.raises(WeightsError, match=f"tiny.{tag}: is a file or a link"):
            publish(run, tmp_path, "tiny", tag)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.file", "tiny.link"]


def test_a_hub_repository_has_the_whole_folder_and_loads(published, tmp_path):
    with Hub() as hub:
        run_client(
            f"""
            from autobss_zoo.training.publishing import upload
            assert upload({str(published)!r}, "someone/tiny").startswith({hub.url!r})
            network = autobss_zoo.from_pretrained("someone/tiny")
            expected = autobss_zoo.from_pretrained({str(published)!r})
            assert torch.equal(network.fc.weight, expected.fc.weight)
            """,
            hub,
            tmp_path,
        )
        assert set(hub.files["someone/tiny", "main"]) == {path.name for path in published.iterdir()}
        hub.shutdown()


PACKAGED = [f"{e.name}.{tag}" for e in entries().values() if not e.paper for tag in e.weights]


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packages_own_networks_load_and_cost_what_they_state(name):
    entry = entries()[name.partition(".")[0]]
    network = autobss_zoo.create_model(name, pretrained=True)
    assert network.about.code == entry.code
    cost = entry.family.cost(entry.code, entry.setting)
    assert cost == entry.measured
    assert sum(p.numel() for p in network.parameters()) == entry.measured.params


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN.is_file(), reason="Debian's package dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("name", [*PACKAGED[::3], *long(*PACKAGED[1::3], *PACKAGED[2::3])])
def test_the_packages_own_networks_score_what_they_state(name):
    base, _, tag = name.partition(".")
    stated = entries()[base].weights[tag]["accuracy"]
    found = validate(name, "fashion_mnist")
    assert found.images == stated["images"] == 10_000
    assert found.top1 == pytest.approx(stated["top1"], abs=0.03)  # other machines round otherwise
