"""The training loop: it learns, repeats itself, survives being killed, and keeps what it should."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

import autobss_zoo
import forked
from autobss_zoo.errors import RecipeError, TrainingError
from autobss_zoo.training import TrainingRecipe, World, evaluate, train
from autobss_zoo.training.data.batches import Parts, mix
from autobss_zoo.training.data.sources import load
from autobss_zoo.training.validation import validate
from conftest import long

TINY = {
    "base": "small/digits",
    "model": "resnet18_small{8,8,16,16,1,1,1,1}",
    "input_size": 8,
    "epochs": 2,
    "batch_size": 128,
    "learning_rate": 0.1,
}
SCRIPT = Path(__file__).parents[1] / "training_script.py"


def tiny(**changes):
    return TrainingRecipe.load(TINY, changes)[0]


def weights(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_it_learns_and_the_folder_has_everything(tmp_path):
    recipe = TrainingRecipe.load(
        {
            **TINY,
            "model": "resnet18_small{8,8,16,32,1,1,1,1}",
            "input_size": 16,
            "epochs": 12,
            "batch_size": 64,
            "learning_rate": 0.1,
        }
    )[0]
    rows, steps = [], []
    accuracy, network = train(recipe, tmp_path / "run", tensorboard=True, on_epoch=rows.append, on_step=steps.append)
    assert accuracy.top1 > 90
    assert accuracy.images == 360
    assert not network.training
    kept = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert [float(row["top1"]) for row in kept] == [row["top1"] for row in rows]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2
    assert [s.step for s in steps] == list(range(1, 12 * 22 + 1))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["top1"], result["evaluated_on"]) == (accuracy.top1, "test")
    assert result["best_top1"] == max(row["top1"] for row in rows)
    assert TrainingRecipe.load(tmp_path / "run" / "recipe.yaml")[0] == recipe
    last = autobss_zoo.from_pretrained(tmp_path / "run" / "last")
    assert_same(weights(last), weights(network))
    assert tuple(last.pretrained_cfg["input_size"]) == (1, 16, 16)
    assert "".join(last.pretrained_cfg["label_names"]) == "0123456789"
    assert validate(str(tmp_path / "run" / "last"), "digits") == accuracy
    assert validate(str(tmp_path / "run" / "best"), "digits").top1 == result["best_top1"]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in logged.Scalars("top1")] == list(range(1, 13))
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 264


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    one, again, other = (weights(train(tiny(seed=seed))[1]) for seed in (3, 3, 4))
    assert_same(one, again)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.get_rng_state(), state)


EVERYTHING = {
    "ema_decay": 0.9,
    "accumulation": 2,
    "amp": "bfloat16",
    "model_args": {"drop_rate": 0.2, "drop_path_rate": 0.1},
    "grad_checkpointing": True,
    "flip": True,
    "warmup_epochs": 0.5,
}


@pytest.fixture(scope="module", params=[{}, EVERYTHING, {"amp": "float16"}], ids=["plain", "everything", "float16"])
def undisturbed(request, tmp_path_factory):
    """A recipe, and the folder, the score and the weights of its training."""
    recipe, folder = tiny(**request.param), tmp_path_factory.mktemp("whole")
    score, network = train(recipe, folder)
    return recipe, folder, score, weights(network)


@pytest.mark.parametrize(
    ("capability", "amp", "told"), [("AVX2", "bfloat16", 1), ("AVX512", "bfloat16", 0), ("AVX2", None, 0)]
)
def test_mixed_precision_that_a_processor_emulates_is_told_of(monkeypatch, caplog, capability, amp, told):
    monkeypatch.setattr("autobss_zoo.training.trainer.get_cpu_capability", lambda: capability)
    train(tiny(amp=amp, epochs=1, warmup_epochs=0))
    assert sum("amp: bfloat16 is emulated by this processor" in text for text in caplog.messages) == told


@pytest.mark.parametrize("stop_at", [8, 13, *long(1, 11)])
def test_a_training_that_is_stopped_at_any_step_ends_with_the_same_weights(tmp_path, undisturbed, stop_at):
    recipe, folder, whole, expected = undisturbed
    steps = 0

    def stop():
        nonlocal steps
        steps += 1
        return steps >= stop_at

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", should_stop=stop)
    assert not (tmp_path / "parts" / "result.json").exists()
    accuracy, again = train(recipe, tmp_path / "parts")
    assert accuracy == whole
    assert_same(weights(again), expected)
    lines = [list(csv.DictReader((path / "metrics.csv").open())) for path in (folder, tmp_path / "parts")]
    for before, after in zip(*lines, strict=True):
        assert (before["top1"], before["train_loss"]) == (after["top1"], after["train_loss"])


@pytest.mark.parametrize("kill_at", [14, *long(5)])
def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path, kill_at):
    settings = [f"base={tmp_path / 'recipe.yaml'}", "checkpoint_steps=4"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY))
    assert forked.run(SCRIPT, tmp_path / "run", kill_at, *settings) == -9
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == {5: 4, 14: 11}[kill_at]
    assert forked.run(SCRIPT, tmp_path / "run", -1, *settings) == 0
    torch.set_num_threads(1)  # as in the processes
    assert_same(load_file(tmp_path / "run" / "last" / "model.safetensors"), weights(train(tiny())[1]))


def test_a_finished_training_is_not_trained_again(tmp_path):
    first, network = train(tiny(), tmp_path)
    times = (tmp_path / "result.json").stat().st_mtime_ns
    again, same = train(tiny(), tmp_path, on_step=lambda progress: pytest.fail("it trained"))
    assert again == first
    assert_same(weights(same), weights(network))
    assert (tmp_path / "result.json").stat().st_mtime_ns == times


def test_another_recipe_or_a_broken_state_in_the_folder_is_named(tmp_path):
    train(tiny(), tmp_path)
    with pytest.raises(TrainingError, match="holds a training with epochs 2, not 3"):
        train(tiny(epochs=3), tmp_path)
    train(tiny(workers=1, checkpoint_steps=5), tmp_path)  # what does not change the weights may differ
    (tmp_path / "last.pt").write_bytes(b"broken")
    with pytest.raises(TrainingError, match=r"last.pt: cannot be read .* delete it to begin anew"):
        train(tiny(), tmp_path)
    (tmp_path / "last.pt").unlink()
    accuracy, network = train(tiny(epochs=3), tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["epochs"], result["right"]) == (3, accuracy.right)
    assert_same(load_file(tmp_path / "last" / "model.safetensors"), weights(network))


def test_accumulated_gradients_are_those_of_the_whole_batch():
    """Without batch norms in between, two half batches step as a whole one does."""
    recipe = tiny(epochs=1, warmup_epochs=0, model_args={"norm_layer": "groupnorm1"})
    one = weights(train(recipe)[1])
    two = weights(train(recipe.model_copy(update={"accumulation": 4}))[1])
    # Each part draws its own shifts: without them the images are the same.
    still = [recipe.model_copy(update={"shift": 0.0, "accumulation": parts}) for parts in (1, 4)]
    a, b = (weights(train(r)[1]) for r in still)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)
    assert any(not torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-4) for name in one)


def test_the_average_of_the_weights_is_what_is_evaluated_and_kept(tmp_path):
    recipe = tiny(ema_decay=0.5)
    _, average = train(recipe, tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert_same(weights(average), state["ema"])
    assert not torch.equal(state["ema"]["fc.weight"], state["network"]["fc.weight"])
    assert_same(load_file(tmp_path / "last" / "model.safetensors"), state["ema"])


def test_the_rate_follows_warmup_and_a_cosine_to_zero():
    rates = []
    recipe = tiny(epochs=10, warmup_epochs=2, batch_size=1400, learning_rate=0.4)  # one step an epoch
    train(recipe, on_epoch=lambda row: rates.append(row["learning_rate"]))
    assert rates[0] == pytest.approx(1e-5)
    assert rates[1] == pytest.approx(0.2, rel=1e-3)
    cosine = [0.2 * (1 + torch.cos(torch.tensor(torch.pi * t / 10)).item()) for t in range(2, 10)]
    assert rates[2:] == pytest.approx(cosine)


def test_the_holdout_is_apart_from_training_and_test_images():
    data = tiny(holdout=0.25).prepare()
    assert data.on == "holdout"
    assert not set(data.train_indices.tolist()) & set(data.eval_indices.tolist())
    assert len(data.train_indices) + len(data.eval_indices) == len(load("digits").train.labels)
    fewer = tiny(holdout=0.25, train_images=500).prepare()
    assert set(fewer.train_indices.tolist()) < set(data.train_indices.tolist())
    assert torch.equal(fewer.eval_indices, data.eval_indices)
    counts = load("digits").train.labels[fewer.train_indices].bincount()
    assert (int(counts.min()), int(counts.max()), int(counts.sum())) == (pytest.approx(50, abs=2),) * 2 + (500,)
    assert tiny().prepare().on == "test"


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(
        TrainingError, match=r"epoch 1, step 11: the loss is no longer finite; lower learning_rate \(1e\+20\)"
    ):
        train(tiny(learning_rate=1e20), tmp_path)
    assert not (tmp_path / "last.pt").exists()
    train(tiny(), tmp_path)  # another recipe may follow where nothing was kept


def test_batches_that_do_not_divide_or_fit_are_named():
    with pytest.raises(ValueError, match="batch_size: expected a multiple of accumulation 1 x 3 processes, got 128"):
        Parts(1000, 128, world=3)
    with pytest.raises(ValueError, match="batch_size: expected at most the 1437 training images, got 2000"):
        train(tiny(batch_size=2000))


def test_every_process_has_its_share_of_each_step_and_no_image_comes_twice():
    seen = [list(Parts(1000, 128, 2, 0, rank, 4).indices(0, 0)) for rank in range(4)]
    assert {len(part) for parts in seen for part in parts} == {16}
    images = torch.cat([part for parts in seen for part in parts])
    assert len(images) == len(images.unique()) == 7 * 128
    first = torch.cat([p for parts in seen for p in parts[:2]])
    alone = torch.cat(list(Parts(1000, 128, 2).indices(0, 0))[:2])
    assert torch.equal(first, alone)  # the same step, however many processes
    assert torch.equal(
        torch.stack(list(Parts(1000, 128, 2).indices(0, 3))), torch.stack(list(Parts(1000, 128, 2).indices(0, 0))[6:])
    )
    assert mix(1, 2) != mix(2, 1)


def test_evaluation_counts_as_one_would_by_hand():
    recipe = tiny()
    data = recipe.prepare()
    torch.manual_seed(recipe.seed)
    network = data.create()
    world = World(torch.device("cpu"))
    accuracy = evaluate(network, data.evaluation(world), world)
    images, labels = (torch.cat(parts) for parts in zip(*data.evaluation(world), strict=True))
    with torch.inference_mode():
        logits = network.eval()(images)
    right = logits.argsort(1, descending=True) == labels[:, None]
    assert (accuracy.right, accuracy.right5) == (int(right[:, 0].sum()), int(right[:, :5].sum()))
    assert accuracy.loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    low, high = accuracy.interval
    assert 0 <= low < accuracy.top1 < high <= 100


@pytest.mark.slow
def test_compiled_training_learns_the_same():
    compiled, plain = (
        train(tiny(compile=choice, epochs=1, warmup_epochs=0))[1].state_dict() for choice in (True, False)
    )
    for name, tensor in plain.items():
        torch.testing.assert_close(compiled[name], tensor, rtol=1e-2, atol=1e-2)


def test_arguments_that_a_network_does_not_have_are_named():
    with pytest.raises(RecipeError, match=r"model_args: .*cannot be built with \{'drop_rat': 0.1\}: .*drop_rat"):
        train(tiny(model_args={"drop_rat": 0.1}))


def test_another_optimizer_and_its_state(tmp_path):
    recipe = tiny(optimizer="adamw", learning_rate=0.001, epochs=2)
    whole = weights(train(recipe)[1])
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, should_stop=iter([False] * 12 + [True]).__next__)
    assert_same(weights(train(recipe, tmp_path)[1]), whole)


def test_synchronised_batch_norms_need_gpus():
    with pytest.raises(ValueError, match="sync_bn: synchronised batch norms need GPUs"):
        train(tiny(sync_bn=True), world=World(torch.device("cpu"), 0, 2))


@pytest.mark.slow
def test_the_shipped_recipe_of_digits_classifies_more_than_98_5_percent():
    assert train(TrainingRecipe.load("small/digits")[0])[0].top1 > 98.5
