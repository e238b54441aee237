"""Detectors and segmenters are trained: they learn, repeat themselves, survive being killed, and are searched for."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import forked
from autobss_search.command.cli import main
from autobss_search.studies.recipe import SearchRecipe as SearchRecipe
from autobss_zoo import Code, Setting, create_model, from_pretrained, get, save_pretrained
from autobss_zoo.errors import DataError, RecipeError, TrainingError, WeightsError
from autobss_zoo.families import get_family
from autobss_zoo.families.detectors import DetectorKind
from autobss_zoo.recipes import list_recipes
from autobss_zoo.training import TrainingRecipe, World, train
from autobss_zoo.training.data.coco import load_part
from autobss_zoo.training.data.voc import VocImages
from autobss_zoo.training.metrics.average_precision import average_precision
from autobss_zoo.training.tasks.detection import evaluate_detector
from autobss_zoo.training.tasks.segmentation import evaluate_segmenter
from conftest import long
from scenes import CLASSES, write_coco, write_voc

SCRIPT = Path(__file__).parents[1] / "training_script.py"
WORLD = World(torch.device("cpu"))

DETECTION = {
    "task": "detection",
    "model": "resnet50_v1{32,48,64,96,1,1,1,1,8,16,24,32}",
    "width": 32,
    "min_size": 128,
    "max_size": 171,
    "optimizer": "adamw",
    "learning_rate": 0.002,
    "weight_decay": 0.05,
    "batch_size": 8,
    "flip": True,
    "workers": 0,
    "schedule": "multistep",
    "warmup_iterations": 50,
    "evaluate_every": None,
}
FEW_BOXES = {"box_batch_size_per_image": 64, "rpn_post_nms_top_n_train": 200, "rpn_post_nms_top_n_test": 100}
SEGMENTATION = {
    "task": "segmentation",
    "model": "resnet50{32,48,64,96,1,1,1,1,8,16,24,32}",
    "width": 64,
    "input_size": 97,
    "scale": [0.75, 1.5],
    "rotate": 10,
    "flip": True,
    "learning_rate": 0.02,
    "head_rate": 5,
    "weight_decay": 0.0001,
    "schedule": "poly",
    "batch_size": 8,
    "workers": 0,
    "evaluate_every": None,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twenty small images to train on in each format."""
    root = tmp_path_factory.mktemp("scenes")
    write_coco(root / "coco", 20, 8, side=64, empty=2)
    write_voc(root / "voc", 20, 8, side=49)
    return root


TINY = "resnet50_v1{8,8,16,16,1,1,1,1,4,4,8,8}"


def quick(kind, scenes, **changes):
    """A training of seven steps: five of them are an epoch of the segmenters', four of the detectors'."""
    if kind in ("pspnet", "psanet"):
        own = {**SEGMENTATION, "data_dir": str(scenes / "voc"), "width": 16, "input_size": 41, "blur": True}
    else:
        own = {**DETECTION, "data_dir": str(scenes / "coco"), "width": 8, "min_size": 64, "max_size": 85}
        own |= {"milestones": [5], "warmup_iterations": 2}
        own |= {"model_args": FEW_BOXES} if kind != "retinanet" else {}
    own |= {"architecture": kind, "model": TINY, "iterations": 7, "batch_size": 4}
    return TrainingRecipe.load({**own, **changes})[0]


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("architecture", ["maskrcnn", "pspnet", *long("retinanet", "fasterrcnn", "psanet")])
def test_stopped_at_any_step_it_ends_with_the_same_weights(architecture, scenes, tmp_path):
    everything = {"ema_decay": 0.9, "accumulation": 2, "amp": "bfloat16"}
    for stop_at, settings in ((2, {}), (6, everything)):
        recipe = quick(architecture, scenes, **settings)
        whole, network = train(recipe)
        folder, done = tmp_path / str(stop_at), [0]
        with pytest.raises(KeyboardInterrupt):
            train(
                recipe,
                folder,
                on_step=lambda progress, done=done: done.append(progress.step),
                should_stop=lambda done=done, at=stop_at: done[-1] == at,
            )
        assert torch.load(folder / "last.pt", weights_only=True)["step"] == stop_at
        result, again = train(recipe, folder)
        assert result == whole
        assert same_weights(again, network)
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert all(np.isfinite(float(row["train_loss"])) for row in rows)
        kept = json.loads((folder / "result.json").read_text())
        assert kept["evaluated_on"] == "test"
        assert kept["images"] == 8
        assert len(list((folder / "pictures").glob("*.png"))) == 8


def test_the_loaded_network_is_evaluated_as_in_training(scenes, tmp_path, capsys):
    for architecture, data in (("maskrcnn", "coco"), ("psanet", "voc")):
        result, _ = train(quick(architecture, scenes), tmp_path / architecture)
        network = from_pretrained(tmp_path / architecture / "last")
        assert network.about.label_names == (CLASSES if data == "coco" else ("background", *CLASSES))
        words = ["evaluate", str(tmp_path / architecture / "last"), "--data", data, "--data-dir", str(scenes / data)]
        assert main([*words, "--workers", "0", "--pictures", str(tmp_path / data), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(result.as_dict()))
        assert len(list((tmp_path / data).glob("*.png"))) == 8
        picture = Image.open(next((tmp_path / data).glob("*.png")))
        assert picture.width > 2 * 32
        assert main([*words, "--weights", "x.pth"]) == 2
        assert f"weights: is not for networks on {data}; leave it out" in capsys.readouterr().err
    wrong = ["evaluate", str(tmp_path / "psanet" / "last"), "--data", "coco", "--data-dir", str(scenes / "coco")]
    assert main(wrong) == 1
    assert "is for segmentation; these data are for detection" in capsys.readouterr().err


def test_the_command_trains_a_detector_and_shows_its_precision(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(quick("retinanet", scenes).model_dump(mode="json")))
    assert main(["train", "mine.yaml", "--set", "evaluate_every=1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("test: box AP ")
    assert out.endswith("of 8 images: runs/mine\n")
    assert "epoch 1: training loss" in err
    assert "box_AP50" in err
    assert main(["publish", "runs/mine"]) == 1
    assert "publishing is for classifiers" in capsys.readouterr().err


def test_the_holdout_is_scored_and_never_trained_on(scenes):
    for architecture, number in (("retinanet", 20), ("pspnet", 20)):
        task = quick(architecture, scenes, holdout=0.25).prepare()
        assert task.on == "holdout"
        assert len(task.eval_indices) == number // 4
        assert not set(task.train_indices) & set(task.eval_indices)
    task = quick("retinanet", scenes).prepare()
    assert len(task.train_indices) == 18  # two of the twenty have no objects
    assert len(quick("retinanet", scenes, train_images=9).prepare().train_indices) == 9
    with pytest.raises(DataError, match="expected at least 19 images to train on, got 18"):
        quick("retinanet", scenes, train_images=19).prepare()
    with pytest.raises(DataError, match=r"a holdout of 0.01 is none of its 20 images"):
        quick("pspnet", scenes, holdout=0.01).prepare()


def test_a_backbone_can_be_trained_before(scenes, tmp_path):
    code = quick("retinanet", scenes).code
    torch.manual_seed(5)
    trained = create_model(code, num_classes=3)
    save_pretrained(trained, tmp_path / "trained")
    for architecture, part in (("retinanet", "backbone.body"), ("pspnet", "backbone")):
        recipe = quick(architecture, scenes, model=str(code), backbone_weights=str(tmp_path / "trained"))
        task = recipe.prepare()
        network = task.create()
        assert task.start(network) == ()
        backbone = network.get_submodule(part).state_dict()
        assert all(torch.equal(tensor, trained.state_dict()[name]) for name, tensor in backbone.items())
        other = quick(
            architecture, scenes, backbone_weights=str(tmp_path / "trained"), model="resnet18{8,8,8,8,1,1,1,1}"
        )
        with pytest.raises(WeightsError, match=r"backbone_weights: .* is of another network"):
            train(other, tmp_path / "run")
        missing = quick(architecture, scenes, backbone_weights="runs/nothing/last")
        with pytest.raises(WeightsError, match="is no folder, file, repository or network; train one first"):
            train(missing, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_heads_of_a_segmenter_have_a_rate_of_their_own(scenes):
    rates = []
    recipe = quick("pspnet", scenes, head_rate=10)
    task = recipe.prepare()
    network = task.create()
    groups = task.parameters(network)
    assert sum(len(g["params"]) for g in groups) == len(list(network.parameters()))
    assert [g.get("lr_scale", 1) for g in groups] == [1, 10]
    train(recipe, on_epoch=lambda row: rates.append(row["learning_rate"]))
    assert rates[1] == pytest.approx(0.02 * (1 - 5 / 7) ** 0.9)


def test_the_rate_is_divided_by_ten_at_milestones(scenes):
    rates = []
    recipe = quick("retinanet", scenes, iterations=12, milestones=[4, 8], learning_rate=0.001)
    train(recipe, on_epoch=lambda row: rates.append(row["learning_rate"]))
    assert rates == [pytest.approx(1e-5), pytest.approx(1e-4), pytest.approx(1e-5)]  # the first is timm's of warmup


@pytest.mark.parametrize("name", [n for n in list_recipes("coco/*") + list_recipes("voc/*") if "_search" not in n])
def test_every_recipe_of_the_paper_trains_on_a_small_folder(name, scenes):
    """The recipe as it is but for the size of everything."""
    detection = name.startswith("coco")
    small = {"model": TINY, "width": 8, "workers": 0, "batch_size": 4, "sync_bn": False, "learning_rate": 0.001}
    if detection:
        small |= {"data_dir": str(scenes / "coco"), "iterations": 4, "min_size": 64, "max_size": 85}
    else:
        small |= {"data_dir": str(scenes / "voc"), "epochs": 1, "input_size": 41, "base_size": 48}
        small |= {"split": "train", "backbone_weights": None}
    full = TrainingRecipe.load(name)[0]
    recipe = TrainingRecipe.load(name, small)[0]
    steps = []
    result, network = train(recipe, on_step=steps.append)
    assert (result.images, network.about.architecture) == (8, full.architecture)
    assert len(steps) == (4 if detection else 5)


def test_the_papers_settings():
    coco = TrainingRecipe.load("coco/maskrcnn_r50")[0]
    assert (coco.iterations, coco.warmup_iterations, coco.milestones) == (270_000, 2500, (210_000, 250_000))
    assert (coco.batch_size, coco.learning_rate, coco.weight_decay, coco.momentum) == (16, 0.02, 1e-4, 0.9)
    assert (coco.min_size, coco.flip, coco.sync_bn, coco.backbone_weights) == (800, True, True, None)
    voc = TrainingRecipe.load("voc/psanet_r50")[0]
    assert (voc.epochs, voc.batch_size, voc.learning_rate, voc.head_rate) == (50, 16, 0.01, 10)
    assert (voc.schedule, voc.split, voc.aux_weight, voc.input_size) == ("poly", "train_aug", 0.4, 465)
    alone, notes = TrainingRecipe.load("coco/retinanet_r50", {"batch_size": 2})
    assert (alone.iterations, alone.learning_rate, alone.milestones[0]) == (2_160_000, 0.0025, 1_680_000)
    assert len(notes) == 4


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("maskrcnn", {"architecture": "maskrcn"}, "architecture: 'maskrcn': did you mean maskrcnn"),
        ("maskrcnn", {"milestones": [5, 9]}, "expected iterations after the warmup's 2, below 7, got"),
        ("maskrcnn", {"epochs": 3}, "expected either epochs or iterations, got 3 and 7"),
        ("maskrcnn", {"shift": 0.1}, "unknown key 'shift'"),
        ("maskrcnn", {"warmup_epochs": 1}, "warmup_iterations for one of iterations"),
        ("pspnet", {"scale": [2, 1]}, "scale: expected two ascending positive factors"),
        ("pspnet", {"milestones": [3]}, "milestones: is for the schedule multistep"),
        ("pspnet", {"task": "segmenting"}, "task: 'segmenting': did you mean segmentation"),
    ],
)
def test_impossible_settings_are_named(architecture, changes, message, scenes):
    with pytest.raises(RecipeError, match=message):
        quick(architecture, scenes, **changes)


def test_arguments_that_torchvision_would_ignore_are_refused(scenes):
    with pytest.raises(RecipeError, match="no argument box_scor_thresh: did you mean box_score_thresh"):
        train(quick("maskrcnn", scenes, model_args={"box_scor_thresh": 0.5}))


def test_a_rate_that_is_too_high_ends_the_training_with_an_error(scenes):
    with pytest.raises(TrainingError, match="the loss is no longer finite; lower learning_rate"):
        train(quick("retinanet", scenes, optimizer="sgd", learning_rate=1e18, weight_decay=0))


def run(folder, kill_at, settings, processes):
    """A training in processes of its own, which ends itself at a step; -1 to let it finish."""
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return forked.run(SCRIPT, folder, kill_at, *words, processes=processes, errors=folder.with_suffix(".errors"))


IN_GATE = [("maskrcnn", 2)]
OTHERS = [("maskrcnn", 1), ("pspnet", 1), ("pspnet", 2), ("retinanet", 1), ("retinanet", 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "processes"), [*IN_GATE, *long(*OTHERS)])
def test_killed_at_a_step_and_resumed(architecture, processes, scenes, tmp_path):
    settings = quick(architecture, scenes, checkpoint_steps=2).model_dump(mode="json", exclude_unset=True)
    assert run(tmp_path / "parts", 6, settings, processes) == -9
    assert not (tmp_path / "parts" / "result.json").exists()
    for name in ("parts", "whole"):
        assert run(tmp_path / name, -1, settings, processes) == 0, (tmp_path / f"{name}.errors").read_text()
    a, b = (load_file(tmp_path / part / "last" / "model.safetensors") for part in ("whole", "parts"))
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    one, other = (json.loads((tmp_path / part / "result.json").read_text()) for part in ("whole", "parts"))
    assert one == other
    assert one["images"] == 8


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("learn") / "coco", 240, 60)


@pytest.mark.long
@pytest.mark.parametrize(("architecture", "iterations", "least"), [("retinanet", 900, 15), ("maskrcnn", 360, 30)])
def test_a_small_detector_learns_what_an_untrained_one_does_not_know(architecture, iterations, least, coco, tmp_path):
    settings = {"architecture": architecture, "data_dir": str(coco), "iterations": iterations}
    settings |= {"milestones": [iterations * 3 // 4, iterations * 9 // 10]}
    settings |= {"model_args": FEW_BOXES} if architecture == "maskrcnn" else {}
    recipe = TrainingRecipe.load({**DETECTION, **settings})[0]
    images = load_part(str(coco), "val")
    untrained = evaluate_detector(recipe.prepare().create(), images, images.ids, WORLD, 0)
    result, _ = train(recipe, tmp_path / "run")
    assert untrained.figures["box_AP"] < 1
    assert result.figures["box_AP"] > least
    if architecture == "maskrcnn":
        assert untrained.figures["mask_AP"] < 1
        assert result.figures["mask_AP"] > least
    assert onnx_precision(tmp_path, images) == pytest.approx(result.figures, abs=0.1)


def onnx_precision(folder, images):
    """The precision of a training's network, exported by the command and run by ONNX Runtime."""
    import onnxruntime

    from autobss_zoo.training.metrics.average_precision import as_results

    assert main(["export", str(folder / "run" / "last"), str(folder / "a.onnx")]) == 0
    session = onnxruntime.InferenceSession(str(folder / "a.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    first = 1 if "masks" in names else 0
    results = []
    for number in images.ids:
        image = images.image(number).float().numpy() / 255
        found = dict(zip(names, map(torch.from_numpy, session.run(None, {"image": image})), strict=True))
        results += as_results(number, found, dict(enumerate(images.categories, start=first)))
    return average_precision(images.api, images.ids, results, "masks" in names)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["pspnet", *long("psanet")])
def test_a_small_segmenter_learns_what_an_untrained_one_does_not_know(architecture, tmp_path):
    root = write_voc(tmp_path / "voc")
    settings = {"architecture": architecture, "data_dir": str(root), "epochs": 25}
    recipe = TrainingRecipe.load({**SEGMENTATION, **settings})[0]
    images = VocImages(str(root), "val")
    untrained = evaluate_segmenter(recipe.prepare().create(), images, list(range(40)), WORLD, 0)
    result, _ = train(recipe)
    assert untrained.row["mIoU"] < 25
    assert result.row["mIoU"] > 35


def search_settings(scenes):
    training = quick("retinanet", scenes, holdout=0.25).model_dump(mode="json", exclude_unset=True)
    space = {"family": "resnet50_v1", "C": {"step": [8, 8, 16, 16], "high": [16, 24, 32, 48]}}
    space |= {"L": {"step": 1, "high": 2}, "B": {"fractions": ["1/4", "1/2"]}}
    return {"space": space, "budget": {"macs": "14M"}, "training": training, "rounds": 2, "batch": 3}


def test_a_search_over_detectors_runs_and_resumes(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("search.yaml").write_text(yaml.safe_dump(search_settings(scenes)))
    assert main(["search", "search.yaml", "--folder", "whole"]) == 0
    whole = capsys.readouterr().out
    command = [sys.executable, "-m", "autobss_search", "search", "search.yaml", "--folder", "parts"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        seen = ""
        while not seen.count(" of 6") and process.poll() is None:
            seen += process.stderr.read(1)
        process.kill()
    assert process.wait() == -9
    assert main(["resume", "parts"]) == 0
    parts = capsys.readouterr().out
    answers = [next(line for line in text.splitlines() if line.startswith("answer:")) for text in (whole, parts)]
    assert answers[0] == answers[1]
    code = answers[0].removeprefix("answer: ")
    values = "-".join(map(str, Code.parse(code).values))
    (found,) = (path for path in Path("parts").rglob("result.json") if values in str(path))
    assert "box_AP" in json.loads(found.read_text())["figures"]
    family = get_family("resnet50_v1")
    assert DetectorKind("retinanet", 8).macs(family, Code.parse(code), Setting(64, num_classes=3)) <= 14e6


@pytest.mark.parametrize("detector", ["maskrcnn", "retinanet"])
def test_the_papers_searches_are_bound_by_the_original_detector(detector, scenes):
    training = {"data_dir": str(scenes / "coco")}
    recipe = SearchRecipe.load(f"coco/{detector}_r50_search", {"training": training})
    entry, kind = get(f"{detector}_r50_original"), DetectorKind(detector)
    bound = kind.macs(entry.family, entry.code, Setting(800, num_classes=3))
    assert [c.upper for c in recipe.make_space().constraints] == [bound]
    assert kind.macs(entry.family, entry.code) == entry.measured.macs
    assert (recipe.searcher, recipe.rounds, recipe.batch) == ("paper", 4, 16)
    assert recipe.make_evaluator().load().holdout == 0.04
