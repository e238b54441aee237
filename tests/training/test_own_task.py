"""A task of a user's own: two paths trained at once, kept in a form of its own, with a state in the checkpoint."""

import json
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from autobss_zoo import create_model
from autobss_zoo.errors import RecipeError
from autobss_zoo.training import TrainingRecipe, World, register_task, train
from autobss_zoo.training.tasks.classification import Classification
from autobss_zoo.training.tasks.classification import ClassificationRecipe as ClassificationRecipe
from autobss_zoo.training.validations import Validation, measure, register_validation


class Paths(nn.Module):
    """The mean of two networks' logits."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, images):
        return (self.one(images) + self.other(images)) / 2


class TwoPaths(Classification):
    def __init__(self, recipe):
        super().__init__(recipe)
        self.steps, self.mean = 0, torch.zeros(())

    def create(self):
        return Paths(super().create(), create_model(self.recipe.model, num_classes=10, in_chans=1))

    def loss(self, model, batch):
        self.steps += 1
        loss = super().loss(model, batch)
        self.mean += 0.1 * (loss.detach() - self.mean)
        return loss * (1 + 0.1 * torch.tanh(self.mean))  # so that a lost state would change the weights

    def save(self, network, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, folder / "paths.safetensors")
        (folder / "paths.json").write_text(json.dumps({"steps": self.steps}))

    def state_dict(self):
        return {"steps": self.steps, "mean": self.mean}

    def load_state_dict(self, state):
        self.steps, self.mean = state["steps"], state["mean"]


@register_task("two_paths")
class ClassificationRecipe(ClassificationRecipe):
    task: Literal["two_paths"] = "two_paths"

    def prepare(self):
        return TwoPaths(self)


SETTINGS = {
    "base": "small/digits",
    "task": "two_paths",
    "model": "resnet18_small{8,8,16,16,1,1,1,1}",
    "input_size": 8,
    "epochs": 2,
    "batch_size": 128,
}


def test_it_is_kept_and_goes_on_with_its_state(tmp_path):
    recipe = TrainingRecipe.load(SETTINGS)[0]
    accuracy, network = train(recipe, tmp_path / "whole")
    left = [7]

    def stop():
        left[0] -= 1
        return left[0] == 0

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", should_stop=stop)
    assert torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["task"]["steps"] == 7
    again, resumed = train(recipe, tmp_path / "parts")
    assert again == accuracy
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])
    kept = load_file(tmp_path / "parts" / "last" / "paths.safetensors")
    assert kept.keys() == network.state_dict().keys()
    assert json.loads((tmp_path / "parts" / "last" / "paths.json").read_text()) == {"steps": 22}
    assert (tmp_path / "parts" / "best" / "paths.safetensors").is_file()
    assert TrainingRecipe.load(tmp_path / "parts" / "recipe.yaml")[0] == recipe


def test_a_task_that_nobody_registered_is_named():
    with pytest.raises(RecipeError, match="task: 'three_paths': did you mean two_paths"):
        TrainingRecipe.load({**SETTINGS, "task": "three_paths"})


@register_validation("own_images")
class OwnValidation(Validation):
    options = ("depth",)

    def measure(self, name, data, data_dir, *, world, workers=4, depth=1):
        return name, data, data_dir, world, workers, depth


def test_data_of_ones_own_have_a_validation():
    shared = {"world": World(torch.device("cpu")), "workers": 0}
    found = measure("net", "own_images", "place", options={"depth": 3, "weights": None}, **shared)
    assert found == ("net", "own_images", "place", *shared.values(), 3)
    with pytest.raises(ValueError, match="weights: is not for networks on own_images; leave it out"):
        measure("net", "own_images", None, options={"weights": "x.pth"}, **shared)
    with pytest.raises(ValueError, match="data: 'own_image': did you mean own_images"):
        measure("net", "own_image", None, options={}, **shared)
