"""Save a network with its card, share it on the Hugging Face Hub, and load it again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import CommitInfo, HfApi
from safetensors.torch import save
from timm.utils import unwrap_model
from torch import nn

from . import composed
from .about import About
from .cards import composed_card, hub_card
from .codes import Code
from .errors import WeightsError
from .families import family_of
from .files import replacing
from .models import FROM_CODE, setting_of
from .timm_private import save_config_for_hf
from .weights import CONFIG_NAME, WEIGHTS_NAME, download, read_config, sha256, verify


def save_pretrained(model: Any, directory: str | os.PathLike[str]) -> None:
    """Write `config.json`, `model.safetensors` and a model card (`README.md`) into a folder.

    `from_pretrained` loads the folder again, and so does timm if the network is a classifier, with
    `create_model("local-dir:<directory>", pretrained=True)`. The configuration states the code, its costs and the
    SHA-256 of the weights. It is replaced last: a save that is interrupted between two files leaves weights that do not
    match, which are refused when they are loaded.

    Args:
        model: A network of this zoo; of a compiled, averaged or parallel one, the network inside is saved.
        directory: The folder, made if it does not exist; files of the same names are replaced.

    Raises:
        WeightsError: If `model` is no network of this zoo, or its layers are not those that it was built with.
        ValueError: If it was built with an argument that JSON cannot hold, such as a class instead of its timm name.
    """
    model = unwrap_model(model)
    about: About | None = getattr(model, "about", None)
    if about is None or not (about.architecture or hasattr(model, "num_classes")):  # as of a network of features
        raise WeightsError(f"expected a classifier, detector or segmenter of autobss_zoo, got {type(model).__name__}")
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as folder:
        temporary = Path(folder)
        # safetensors keeps neither shared memory (tied weights) nor memory formats (channels_last).
        contiguous = torch.contiguous_format
        tensors = {k: v.detach().cpu().clone(memory_format=contiguous) for k, v in model.state_dict().items()}
        (temporary / WEIGHTS_NAME).write_bytes(save(tensors))  # save_file's are its writer's alone
        checksum = sha256(temporary / WEIGHTS_NAME)
        if about.architecture:
            config = json.dumps({**composed.configuration(model), "sha256": checksum}, indent=2, default=_refuse)
            (temporary / CONFIG_NAME).write_text(config, encoding="utf-8")
            (temporary / "README.md").write_text(composed_card(model), encoding="utf-8")
            _check_layers(tensors, lambda: composed.create_composed(about.architecture, about.code, **about.arguments))
        else:
            _write_classifier(model, tensors, temporary, checksum)
        for name in (WEIGHTS_NAME, "README.md", CONFIG_NAME):
            with replacing(target / name) as finished:
                shutil.move(temporary / name, finished)


def _refuse(value: Any) -> None:
    raise ValueError(f"built with {value!r}, which JSON cannot hold")


def _write_classifier(model: Any, tensors: Mapping[str, torch.Tensor], folder: Path, checksum: str) -> None:
    """The configuration, in timm's form, and the card."""
    if isinstance(classifier := model.get_classifier(), nn.Linear):
        model.num_classes = classifier.out_features  # stale where a layer of the user's own was assigned
    code: Code = model.about.code
    cost = family_of(code).cost(code, setting_of(model))
    facts = {"code": str(code), "macs": cost.macs, "params": cost.params, "sha256": checksum}
    arguments = {"code": str(code)} if model.pretrained_cfg["architecture"] == FROM_CODE else {}
    save_config_for_hf(model, str(folder / CONFIG_NAME), model_config=facts, model_args=arguments)
    _check_layers(tensors, lambda: timm.create_model(f"local-dir:{folder}"))
    (folder / "README.md").write_text(hub_card(model), encoding="utf-8")


def _check_layers(tensors: Mapping[str, torch.Tensor], create: Callable[[], nn.Module]) -> None:
    """Raise WeightsError unless the network that the configuration gives can hold the tensors."""
    with torch.device("meta"):
        built = {name: tensor.shape for name, tensor in create().state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if changed := sorted(dict(built.items() ^ shapes.items())):
        raise WeightsError(
            f"{', '.join(changed[:3])}{'...' if changed[3:] else ''}: not as the network was built, so that it could "
            "not be loaded again; change a classifier by reset_classifier, other layers by arguments of create_model"
        )


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    commit_message: str = "Add model",
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
) -> CommitInfo:
    """Upload what `save_pretrained` writes to a repository on the Hugging Face Hub, made if it does not exist.

    Args:
        model: A network of this zoo.
        repo_id: The repository, "owner/name".
        commit_message: What the commit says.
        token: A token that may write; the logged-in user's when None.
        private: Whether a new repository is private.
        revision: The branch, made if it does not exist; the main one when None.

    Returns:
        The commit, with its address as `commit_url`.

    Raises:
        WeightsError, ValueError: As save_pretrained.
        huggingface_hub.errors.HfHubHTTPError: If the Hub refuses.
    """
    api = HfApi(token=token, library_name="autobss-zoo")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)


def from_pretrained(
    repo_or_directory: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Load a network with its weights from a folder or from the Hugging Face Hub.

    Args:
        repo_or_directory: A folder, or a repository "owner/name" or "owner/name@revision".
        revision: A branch, tag or commit; what it is given for is a repository, never a folder.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.
        **kwargs: Of a classifier as in timm.create_model: num_classes, in_chans, features_only... Of others as in
            `create_detector` and `create_segmenter`: box_score_thresh...

    Raises:
        WeightsError: If it is not there, or if the weights do not match their checksum.
    """
    name = os.fspath(repo_or_directory)
    if revision is None and os.path.isdir(name):
        source, config = "local-dir", Path(name) / CONFIG_NAME
    else:
        name = f"{name}@{revision}" if revision else name
        source, config = "hf-hub", download(name, CONFIG_NAME, cache_dir)
    facts = read_config(config)  # its errors are clear where timm's are not
    if "task" in facts:
        weights = Path(name) / WEIGHTS_NAME if source == "local-dir" else download(name, WEIGHTS_NAME, cache_dir)
        if not weights.is_file():
            raise WeightsError(f"{weights}: no such file of weights")
        verify(weights, facts["sha256"])
        return composed.load(facts, weights, **kwargs)
    return timm.create_model(f"{source}:{name}", pretrained=True, cache_dir=cache_dir, **kwargs)
