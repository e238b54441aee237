"""What trainings of width search need: learning from a trained network's answers, and their schedules."""

import pytest
import torch
from test_training import TINY, assert_same, tiny, weights
from torch.nn import functional as F

from autobss_zoo import create_model
from autobss_zoo.errors import RecipeError, WeightsError
from autobss_zoo.training import TrainingRecipe, World, train
from autobss_zoo.training.distillation import Teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a trained network."""
    folder = tmp_path_factory.mktemp("teacher")
    train(tiny(model="resnet18_small{8,16,16,32,1,1,1,1}", epochs=10), folder)
    return str(folder / "last")


def disagreement(network, teacher):
    """The mean divergence of a network's answers from the teacher's on the test images."""
    data = tiny().prepare()
    tutor = Teacher(teacher, data.configuration, data.classes, torch.device("cpu"))
    with torch.no_grad():
        each = [(len(y), tutor.loss(x, network.eval()(x), 1.0)) for x, y in data.evaluation(World(torch.device("cpu")))]
    return sum(n * float(loss) for n, loss in each) / sum(n for n, _ in each)


def test_a_distilled_network_answers_more_as_its_teacher_does(teacher):
    alone, distilled = (
        train(tiny(**changes, epochs=12))[1] for changes in ({}, {"teacher": teacher, "distillation": 0.9})
    )
    assert disagreement(distilled, teacher) < 0.8 * disagreement(alone, teacher)


def test_the_loss_is_the_divergence_at_a_temperature(teacher):
    data = tiny().prepare()
    tutor = Teacher(teacher, data.configuration, data.classes, torch.device("cpu"))
    images, logits = torch.rand(4, 1, 8, 8), torch.randn(4, 10)
    with torch.no_grad():
        answers = tutor._network(images)
    wanted, found = F.softmax(answers / 2, 1), F.softmax(logits / 2, 1)
    by_hand = 4 * (wanted * (wanted.log() - found.log())).sum(1).mean()
    torch.testing.assert_close(tutor.loss(images, logits, 2.0), by_hand)


def test_a_teacher_sees_images_as_it_was_trained_on(teacher):
    data = tiny().prepare()
    other = {**data.configuration, "mean": (0.1,), "std": (0.2,)}
    tutors = [Teacher(teacher, each, data.classes, torch.device("cpu")) for each in (data.configuration, other)]
    pixels, logits, losses = torch.rand(4, 1, 8, 8), torch.zeros(4, 10), []
    for tutor, each in zip(tutors, (data.configuration, other), strict=True):
        losses.append(tutor.loss((pixels - each["mean"][0]) / each["std"][0], logits, 1.0))
    torch.testing.assert_close(*losses)


def test_stopped_and_resumed_it_ends_with_the_same_weights(teacher, tmp_path):
    recipe = tiny(teacher=teacher)
    whole = weights(train(recipe)[1])
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, should_stop=iter([False] * 12 + [True]).__next__)
    assert_same(weights(train(recipe, tmp_path)[1]), whole)
    assert any(not torch.equal(whole[name], tensor) for name, tensor in weights(train(tiny())[1]).items())


def test_teachers_that_cannot_teach_are_named(teacher, tmp_path):
    with pytest.raises(WeightsError, match="teacher: 'nothing' is no folder, file, repository or network"):
        train(tiny(teacher="nothing"))
    from autobss_zoo import save_pretrained

    for arguments, said in (
        ({"num_classes": 7, "in_chans": 1}, "has 7 classes, not the data's 10; fine-tune it first"),
        ({"num_classes": 10, "in_chans": 3}, "takes images of 3 channels, and the data have 1"),
    ):
        save_pretrained(create_model("resnet18_small{8,8,8,8,1,1,1,1}", **arguments), tmp_path / "other")
        with pytest.raises(WeightsError, match=f"teacher: .*other {said}"):
            train(tiny(teacher=str(tmp_path / "other")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": 4}, "temperature: is for a training with a teacher, and none is given"),
        ({"distillation": 0.9}, "distillation: is for a training with a teacher"),
        ({"teacher": "x", "distillation": 1.5}, "distillation: "),
        ({"decay_epochs": 2}, "decay_epochs: is for the schedule step, got 2"),
        ({"schedule": "step"}, "decay_epochs: the schedule step needs them, and a training of epochs"),
        ({"schedule": "multistep"}, "milestones: the schedule multistep needs some"),
        ({"decay_rate": 0.5}, "decay_rate: is for the schedule multistep or step, got 0.5"),
        ({"min_learning_rate": 1}, r"min_learning_rate: expected at most the learning_rate, got 1"),
    ],
)
def test_keys_that_have_no_use_are_named(changes, said):
    with pytest.raises(RecipeError, match=said):
        TrainingRecipe.load(TINY, changes)


def rates(**changes):
    found = []
    recipe = tiny(epochs=10, warmup_epochs=0, batch_size=1400, learning_rate=0.4, **changes)  # a step an epoch
    train(recipe, on_epoch=lambda row: found.append(row["learning_rate"]))
    return found


def test_schedules_of_width_search():
    assert rates(schedule="step", decay_epochs=3, decay_rate=0.9) == pytest.approx(
        [0.4 * 0.9 ** (t // 3) for t in range(10)]
    )
    # timm's milestones come a step early.
    assert rates(schedule="multistep", milestones=[4, 8]) == pytest.approx([0.4] * 3 + [0.04] * 4 + [0.004] * 3)
    cosine = [0.1 + 0.15 * (1 + torch.cos(torch.tensor(torch.pi * t / 10)).item()) for t in range(10)]
    assert rates(min_learning_rate=0.1) == pytest.approx(cosine)


@pytest.mark.parametrize("name", ["bcnet/vgg19_cifar10.bcnet_77m", "bcnet/mnv2_cifar10.bcnet_28m"])
def test_recipes_of_width_search_for_cifar10_train(name):
    """On the digits, as CIFAR-10 is downloaded."""
    changes = {
        "data": "digits",
        "input_size": 32,
        "train_images": 64,
        "batch_size": 32,
        "epochs": 3,
        "milestones": [1, 2],
    }
    recipe, _ = TrainingRecipe.load(name, changes)
    steps = []
    accuracy, network = train(recipe, on_step=steps.append)
    assert len(steps) == 6
    assert network.about.code == recipe.code
    assert accuracy.images == 360
