"""A classifier begins with the weights of another one."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.models import save_for_hf

from autobss_search.command.cli import main
from autobss_zoo import create_model, from_pretrained
from autobss_zoo.errors import RecipeError, WeightsError
from autobss_zoo.families import family_of
from autobss_zoo.training import TrainingRecipe, train
from autobss_zoo.training.data.sources import load
from autobss_zoo.training.pretrained import begin_with
from conftest import EVERY_FAMILY, tiny
from hub_server import Hub

DOCS = Path(__file__).parents[2] / "docs" / "training.md"
CODE = "resnet18_small{8,16,32,32,1,1,1,1}"
DIGITS = {"base": "small/digits", "model": CODE, "epochs": 6, "shift": 0.05}


def write_digits(root, chosen=(3, 5, 6, 8, 9), images=30):
    """Handwritten digits as a user's own folder of PNGs."""
    digits = load("digits")
    for part, split in (("train", digits.train), ("val", digits.test)):
        for label in chosen:
            folder = root / part / f"digit{label}"
            folder.mkdir(parents=True)
            for number, pixels in enumerate(split.images[split.labels == label][:images]):
                Image.fromarray(pixels[0].numpy()).resize((20, 20)).save(folder / f"{number}.png")
    return root


def own_recipe(root, **changes):
    settings = {"data": "imagefolder", "data_dir": str(root), "input_size": 16, "epochs": 2, "batch_size": 15}
    settings |= {"learning_rate": 0.03, "weight_decay": 0.0005, "crop_scale": [0.9, 1.0], "workers": 0}
    return TrainingRecipe.load({"model": CODE, **settings, **changes})[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a training on ten classes of images with one channel."""
    folder = tmp_path_factory.mktemp("run")
    assert train(TrainingRecipe.load(DIGITS)[0], folder)[0].top1 > 85
    return folder


def started(**changes):
    """A network at the beginning of a training on digits, and what the user is told."""
    task = TrainingRecipe.load({**DIGITS, **changes})[0].prepare()
    network = task.create()
    return network, task.start(network)


def test_a_fine_tuned_network_beats_one_from_scratch_on_a_small_folder(run, tmp_path, caplog):
    root = write_digits(tmp_path / "images")
    scratch = train(own_recipe(root))[0]
    assert caplog.text == ""
    tuned, network = train(own_recipe(root, weights=str(run / "last")), tmp_path / "tuned")
    assert tuned.images == scratch.images == 150
    assert tuned.top1 > scratch.top1 + 30
    assert f"weights: conv1.weight has 3 input channels, made from the 1 of {run}" in caplog.text
    assert f"weights: fc begins untrained, as {run}/last has other classes" in caplog.text
    assert network.pretrained_cfg["label_names"] == tuple(f"digit{n}" for n in (3, 5, 6, 8, 9))


def test_weights_are_loaded_at_the_beginning_alone_and_are_part_of_what_is_trained(run, tmp_path, caplog):
    source = shutil.copytree(run / "last", tmp_path / "source")
    recipe = TrainingRecipe.load({**DIGITS, "weights": str(source), "epochs": 2})[0]
    assert recipe.identity()["weights"] == str(source)
    whole = train(recipe)[1].state_dict()
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", should_stop=iter([False] * 9 + [True]).__next__)
    shutil.rmtree(source)
    caplog.clear()
    resumed = train(recipe, tmp_path / "run")[1].state_dict()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert caplog.text == ""


@pytest.mark.parametrize("source", ["last", "best", "last/model.safetensors", "weights.pth"])
def test_the_same_classes_and_channels_take_everything(run, source):
    torch.save(from_pretrained(run / "last").state_dict(), run / "weights.pth")
    network, notes = started(weights=str(run / source))
    expected = from_pretrained(run / ("best" if source == "best" else "last")).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    assert notes == ()


def test_a_folder_that_timm_saved_and_one_on_the_hub(tmp_path, monkeypatch):
    """Of timm's own network, whose layers are those of the zoo's."""
    torch.manual_seed(0)
    theirs = timm.create_model("resnet18", num_classes=3)
    save_for_hf(theirs, str(tmp_path / "timm"), safe_serialization=True)
    ours = create_model("resnet18_original", num_classes=5, in_chans=1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with Hub() as hub:
        address = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        hub.commit("owner/resnet18.mine", {p.name: p.read_bytes() for p in (tmp_path / "timm").iterdir()}, "v1")
        hub.commit("owner/resnet18.mine", {})
        for source in (str(tmp_path / "timm"), "owner/resnet18.mine@v1"):
            for parameter in ours.parameters():
                torch.nn.init.zeros_(parameter)
            notes = begin_with(ours, source, family_of(ours.about.code), "weights")
            assert len(notes) == 2
            torch.testing.assert_close(ours.conv1.weight, theirs.conv1.weight.sum(1, keepdim=True))
            assert torch.equal(ours.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)
            assert not ours.fc.weight.any()
        hub.shutdown()


def test_published_networks():
    changes = {"model": "resnet_small_original", "input_size": 28, "weights": "resnet_small_original.fmnist"}
    published = create_model("resnet_small_original", pretrained=True).state_dict()
    for name in ("resnet_small_original.fmnist", "resnet_small_original", "autobss_resnet_small_original.fmnist"):
        network, notes = started(**{**changes, "weights": name})
        assert notes == ()
        assert all(torch.equal(tensor, published[key]) for key, tensor in network.state_dict().items())
    network, notes = started(**{**changes, "weights": None})
    assert notes == (
        "model: resnet_small_original begins untrained; with weights: resnet_small_original.fmnist it begins with "
        "those published",
    )
    assert not torch.equal(network.conv1.weight, published["conv1.weight"])


@pytest.mark.parametrize("model", ["resnet_small_original.fmnist", "autobss_resnet50.in1k", "resnet18_original."])
def test_a_tag_in_model_is_an_error_that_tells_about_weights(model):
    with pytest.raises(RecipeError, match=rf"model: is untrained, and {model} names weights: give .* and weights: "):
        TrainingRecipe.load({**DIGITS, "model": model})
    coco = {"base": "coco/maskrcnn_r50", "model": "resnet50_v1{64,128,256,512,3,4,6,3}"}
    with pytest.raises(RecipeError, match=r"model: resnet50_original and backbone_weights: resnet50_original\.a1"):
        TrainingRecipe.load({**coco, "model": "resnet50_original.a1"})


def test_other_weights_and_what_is_none_are_named_and_nothing_is_left(run, tmp_path):
    other = create_model("resnet18_small{8,16,32,32,2,1,1,1}", num_classes=10, in_chans=1)
    torch.save(other.state_dict(), tmp_path / "deeper.pth")
    torch.save({}, tmp_path / "empty.pth")
    for source, message in (
        (str(tmp_path / "deeper.pth"), r"is of another network: layer1\.1\..* is in it alone"),
        (str(tmp_path / "empty.pth"), "is of another network: bn1.bias is not in it with the shape"),
        ("resnet_small_autobss.fmnist", "resnet_small_autobss.fmnist is of another network: "),
        (str(tmp_path / "absent.pth"), "absent.pth: cannot read weights"),
        ("resnet_small_original.nothing", "weights: .*resnet_small_original.*nothing"),
        ("no such network", "weights: 'no such network' is no folder, file, repository or network"),
        (str(run), "config.json: no such file"),
    ):
        with pytest.raises(WeightsError, match=message):
            train(TrainingRecipe.load({**DIGITS, "weights": source})[0], tmp_path / "run")
        assert not (tmp_path / "run").exists()


@settings(max_examples=12)
@given(data=st.data())
def test_any_code_takes_the_weights_of_its_own_network_and_of_no_other(data, tmp_path_factory):
    """Whatever the family, classes and channels; the first layer answers to grey images as before."""
    family = data.draw(st.sampled_from(sorted(f for f in EVERY_FAMILY if not f.startswith("channel_bench"))))
    code = tiny(family)
    had, has = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    before, after = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    theirs = create_model(code, num_classes=before, in_chans=had)
    ours = create_model(code, num_classes=after, in_chans=has)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(theirs.state_dict(), path)
    classifier, first = family_of(code).classifier, f"{family_of(code).first_conv}.weight"
    kept = ours.get_classifier().weight.clone()
    notes = begin_with(ours, str(path), family_of(code), "weights")
    assert len(notes) == (had != has) + (before != after)
    new, old = ours.state_dict(), theirs.state_dict()
    if has % had == 0 or has == 1:  # else some channels come more often than others
        torch.testing.assert_close(new[first].sum(1), old[first].sum(1))
    assert all(torch.equal(new[n], old[n]) for n in new if n != first and not n.startswith(classifier))
    assert torch.equal(ours.get_classifier().weight, kept if before != after else theirs.get_classifier().weight)
    values = list(code.values)
    position = data.draw(st.integers(0, len(values) - 1))
    values[position] += 1
    try:
        changed = type(code)(code.family, tuple(values))
    except ValueError:
        return
    other = create_model(changed, num_classes=after, in_chans=has)
    if {k: v.shape for k, v in other.state_dict().items()} == {k: v.shape for k, v in new.items()}:
        return  # such as the side of the images
    with pytest.raises(WeightsError, match="is of another network"):
        begin_with(other, str(path), family_of(code), "weights")


def test_the_documents_example(tmp_path, monkeypatch, capsys):
    section = DOCS.read_text(encoding="utf-8").partition("## Fine-tuning")[2].partition("\n## ")[0]
    recipe, commands = (re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1] for language in ("yaml", "bash"))
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "images")
    (tmp_path / "mine.yaml").write_text(recipe)
    for line in commands.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "autobss"
        assert main(arguments) == 0
    trained, evaluated = capsys.readouterr().out.splitlines()
    accuracy = re.search(r"top-1 ([\d.]+)%", evaluated)[1]
    assert accuracy in trained
    assert float(accuracy) > 60  # of five classes
