"""From a finished training to an entry of the zoo."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from .. import registry
from ..cards import trained_card, write_card
from ..errors import TrainingError, WeightsError
from ..files import making, write_atomically
from ..hub import from_pretrained
from ..names import check_name
from ..plots import COLOURS, save
from ..weights import CONFIG_NAME
from ..yaml_text import write_yaml
from .metrics.accuracy import Accuracy
from .processes import World
from .recipe import TrainingRecipe

NOT_STATED = "not stated"


def publish(
    run: str | Path,
    to: str | Path,
    name: str | None = None,
    tag: str | None = None,
    *,
    found_by: str = NOT_STATED,
    source: str = NOT_STATED,
    license: str | None = None,
    card_text: str = "",
    recipe: str = "recipe.yaml",
    onnx: bool = True,
    world: World | None = None,
) -> Path:
    """Turn a finished training into a folder that the zoo lists: weights, configuration, card, recipe, curve, ONNX.

    The network is tested anew on the test set, from the weights that are published. Where the environment variable
    AUTOBSS_ZOO names the folder `to`, `timm.create_model("autobss_<name>.<tag>", pretrained=True)` loads it.

    Args:
        run: The training's folder.
        to: The folder of published networks, made if it does not exist.
        name: The registry's name; that of the recipe's model when None.
        tag: Of the weights, e.g. "fmnist"; the data set's name when None.
        found_by: How the code was found: "original", "random", "uniform", "autobss" or in your own words.
        source: Where the code is from.
        license: Of the weights, as the Hub calls it ("apache-2.0"); not stated when None.
        card_text: Your own text for the card.
        recipe: What to call the recipe in the registry.
        onnx: Also write model.onnx; needs the extra `autobss-zoo[onnx]`.
        world: Where to test; on a GPU where there is one when None.

    Returns:
        The published network's folder, <to>/<name>.<tag>; one that was there is replaced, but for a card that somebody
        edited.

    Raises:
        TrainingError: If the training is not finished.
        WeightsError: If the name is another network's, or it cannot be one.
    """
    run, to = Path(run), Path(to)
    result, settings = _finished(run)
    curve = _curve(run / "metrics.csv")
    name = name if name is not None else settings.model
    tag = tag if tag is not None else settings.data
    target = to / f"{name}.{tag}"
    _check_name(name, tag, settings, target)
    network, data, accuracy = _tested(run, world)
    facts = {
        "name": name,
        "tag": tag,
        "found_by": found_by,
        "source": source,
        "license": license,
        "recipe": recipe,
        "data": data.source.title,
        "data_licence": data.source.licence,
        "machine": result["machine"],
        "accuracy": {**accuracy.as_dict(), "text": _in_words(accuracy)},
    }
    with making(to), tempfile.TemporaryDirectory(dir=to, prefix=".publishing-") as temporary:
        folder = Path(temporary) / "new"
        _write(run, folder, facts, settings)
        _plot(curve, folder / "curve.png")
        stated = settings.model_dump(mode="json", exclude_defaults=True)
        write_card(folder, trained_card(network, facts, stated, card_text), before=target)
        if onnx:
            from ..export.classifiers import to_onnx

            to_onnx(network, folder / "model.onnx")
        registry.read_published(folder)  # as it will be read
        if target.exists():
            target.rename(Path(temporary) / "old")
        folder.rename(target)
    return target


def _finished(run: Path) -> tuple[dict[str, Any], TrainingRecipe]:
    """The result and the recipe of a finished training of a classifier."""
    try:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        text = "there is no finished training here; `autobss train` makes one, or goes on with it"
        raise TrainingError(f"{run}: {text}") from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{run / 'result.json'}: is no result of a training: {error}") from None
    if not isinstance(result, dict) or not isinstance(result.get("machine"), str):
        raise TrainingError(f"{run / 'result.json'}: is no result of a training: it states no machine")
    settings = TrainingRecipe.load(run / "recipe.yaml", {"data_dir": None})[0]
    if settings.task != "classification":
        text = "publishing is for classifiers; share its folder last/ by autobss_zoo.push_to_hub"
        raise TrainingError(f"{run}: is a training for {settings.task}; {text}")
    return result, settings


def _tested(run: Path, world: World | None) -> tuple[Any, Any, Accuracy]:
    """The trained network, its task with the data, and the network's accuracy on the test set."""
    task: Any = TrainingRecipe.load(run / "recipe.yaml", {"holdout": 0})[0].prepare()
    world = world or World(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    network: Any = from_pretrained(run / "last").to(world.device)
    return network, task, task.evaluate(network, world)


def _write(run: Path, folder: Path, facts: dict[str, Any], settings: TrainingRecipe) -> None:
    """Write what is published into a new folder, all but the card and the graph."""
    shutil.copytree(run / "last", folder)
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    config["pretrained_cfg"]["license"] = facts["license"] or ""
    write_atomically(folder / CONFIG_NAME, json.dumps({**config, "published": facts}, indent=2).encode())
    write_atomically(folder / "recipe.yaml", write_yaml(settings.model_dump(mode="json")).encode())
    shutil.copy(run / "metrics.csv", folder)


def upload(folder: str | Path, repo_id: str, *, token: str | None = None, private: bool = False) -> str:
    """Upload a published network to the Hugging Face Hub; returns the commit's address.

    Args:
        folder: As `publish` returns it.
        repo_id: The repository, "owner/name", made if it does not exist.
        token: A token that may write; the logged-in user's when None.
        private: Whether a new repository is private.
    """
    from huggingface_hub import HfApi

    registry.read_published(Path(folder))
    api = HfApi(token=token, library_name="autobss-zoo")
    repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    commit = api.upload_folder(repo_id=repo_id, folder_path=str(folder), commit_message="Publish the network")
    return commit.commit_url


def _check_name(name: str, tag: str, settings: TrainingRecipe, target: Path) -> None:
    check_name(name, tag)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise WeightsError(f"{target}: is a file or a link, and would be replaced by a folder; choose another place")

    def replaced(entry: registry.Entry) -> bool:
        places = [Path(weights.get("file", "")).parent.resolve() for weights in entry.weights.values()]
        return not entry.paper and all(place == target.resolve() for place in places)

    others = [entry for entry in registry.entries().values() if not replaced(entry)]
    registry.check_free(name, settings.code, others, "name")


def _in_words(accuracy: Accuracy) -> str:
    low, high = accuracy.interval
    interval = f"95% interval {low:.2f} to {high:.2f}%"
    return f"Top-1 {accuracy.top1:.2f}% on the {accuracy.images:,} test images ({interval})"


def _curve(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    """The training's loss and accuracies, each with its epoch."""
    try:
        with open(metrics, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = ("train_loss", "top1")
        return {name: [(int(row["epoch"]), float(row[name])) for row in rows if row[name]] for name in columns}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingError(f"{metrics}: is no record of a training: {error}") from None


def _plot(curve: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """The training's loss and the accuracies by epoch. Needs the extra `autobss-zoo[plot]`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    titles = ("training loss", "top-1, %")
    for axes, points, title, colour in zip(figure.subplots(1, 2), curve.values(), titles, COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
