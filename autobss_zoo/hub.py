"""Save a network with its card, share it on the Hugging Face Hub, and load it again."""

from __future__ import annotations

import dataclasses
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

from . import composed, registry
from .about import About
from .cards import composed_card, hub_card, write_card
from .codes import Code
from .configuration import CONFIG_NAME, ComposedConfiguration, Configuration
from .cost import Setting
from .errors import UnknownNameError, WeightsError, shown
from .families import family_of
from .files import making, replacing
from .models import MODULE, setting_of
from .names import FROM_CODE
from .timm_private import PretrainedCfg, save_config_for_hf
from .weights import WEIGHTS_NAME, Saved, check_fit, in_line, open_config, open_saved, sha256, shapes_in


def save_pretrained(
    model: Any, directory: str | os.PathLike[str], *, license: str | None = None, card_text: str = ""
) -> None:
    """Write `config.json`, `model.safetensors` and a model card (`README.md`) into a folder.

    `from_pretrained` loads the folder again, and so does timm if the network is a classifier, with
    `create_model("local-dir:<directory>", pretrained=True)`. The configuration states the code, its costs and the
    SHA-256 of the weights. It is replaced last: a save that is interrupted between two files leaves weights that do not
    match, which are refused when they are loaded.

    Args:
        model: A network of this zoo; of a compiled, averaged or parallel one, the network inside is saved.
        directory: The folder, made if it does not exist; files of the same names are replaced, but for a README.md that
            somebody wrote or edited.
        license: Of the weights, as the Hub calls it ("apache-2.0"), for the card; not stated when None.
        card_text: Your own text for the card: data, recipe, accuracy.

    Raises:
        WeightsError: If `model` is no network of this zoo, or its layers are not those that it was built with.
        ValueError: If it was built with an argument that JSON cannot hold, such as a class instead of its timm name.
    """
    model = unwrap_model(model)
    about: About | None = getattr(model, "about", None)
    if about is None or not (about.architecture or hasattr(model, "num_classes")):  # as of a network of features
        raise WeightsError(f"expected a classifier, detector or segmenter of autobss_zoo, got {type(model).__name__}")
    target = Path(directory)
    with making(target), tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as folder:
        temporary = Path(folder)
        # safetensors keeps neither shared memory (tied weights) nor memory formats (channels_last).
        contiguous = torch.contiguous_format
        tensors = {k: v.detach().cpu().clone(memory_format=contiguous) for k, v in model.state_dict().items()}
        (temporary / WEIGHTS_NAME).write_bytes(save(tensors))  # save_file's are its writer's alone
        checksum = sha256(temporary / WEIGHTS_NAME)
        if about.architecture:
            config = json.dumps({**composed.configuration(model), "sha256": checksum}, indent=2, default=_refuse)
            (temporary / CONFIG_NAME).write_text(config, encoding="utf-8")
            card = composed_card(model, license, card_text)
            _check_layers(tensors, lambda: composed.create_composed(about.architecture, about.code, **about.arguments))
        else:
            _write_classifier(model, tensors, temporary, checksum)
            card = hub_card(model, license, card_text)
        write_card(temporary, card, before=target)
        for name in (WEIGHTS_NAME, "README.md", CONFIG_NAME):
            with replacing(target / name) as finished:
                shutil.move(temporary / name, finished)


def _refuse(value: Any) -> None:
    raise ValueError(f"built with {value!r}, which JSON cannot hold")


def _write_classifier(model: Any, tensors: Mapping[str, torch.Tensor], folder: Path, checksum: str) -> None:
    """The configuration, in timm's form."""
    if isinstance(classifier := model.get_classifier(), nn.Linear):
        model.num_classes = classifier.out_features  # stale where a layer of the user's own was assigned
    code: Code = model.about.code
    cost = family_of(code).cost(code, setting_of(model))
    facts = {"code": str(code), "macs": cost.macs, "params": cost.params, "sha256": checksum}
    arguments = {"code": str(code)} if model.pretrained_cfg["architecture"] == FROM_CODE else {}
    save_config_for_hf(model, str(folder / CONFIG_NAME), model_config=facts, model_args=arguments)
    _check_layers(tensors, lambda: timm.create_model(f"local-dir:{folder}"))


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
    license: str | None = None,
    card_text: str = "",
) -> CommitInfo:
    """Upload what `save_pretrained` writes to a repository on the Hugging Face Hub, made if it does not exist.

    Args:
        model: A network of this zoo.
        repo_id: The repository, "owner/name".
        commit_message: What the commit says.
        token: A token that may write; the logged-in user's when None.
        private: Whether a new repository is private.
        revision: The branch, made if it does not exist; the main one when None.
        license: As of save_pretrained.
        card_text: As of save_pretrained.

    Returns:
        The commit, with its address as `commit_url`.

    Raises:
        WeightsError, ValueError: As save_pretrained.
        huggingface_hub.errors.HfHubHTTPError: If the Hub refuses.
    """
    api = HfApi(token=token, library_name="autobss-zoo")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, license=license, card_text=card_text)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message, revision=revision)


def from_pretrained(
    repo_or_directory: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Load a network with its weights from a folder or from the Hugging Face Hub.

    What save_pretrained, push_to_hub and timm's own savers have written is loaded; of timm's also networks that are not
    of this zoo.

    Args:
        repo_or_directory: A folder, or a repository "owner/name" or "owner/name@revision".
        revision: A branch, tag or commit; what it is given for is a repository, never a folder.
        token: A token that may read the repository; the logged-in user's when None, none at all when False.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.
        local_files_only: Use what the cache holds, and ask nobody.
        force_download: Download the files again, though the cache holds them.
        **kwargs: Of a classifier as in timm.create_model: num_classes, in_chans, features_only... Of others as in
            `create_detector` and `create_segmenter`: box_score_thresh...

    Raises:
        WeightsError: If it is not there or broken, or if the weights do not match their checksum.
    """
    saved = open_saved(
        os.fspath(repo_or_directory),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    if isinstance(saved.config, ComposedConfiguration):
        return composed.load(saved.where, saved.config, saved.weights, **kwargs)
    return _classifier(saved, saved.config, kwargs)


def _classifier(saved: Saved, config: Configuration, kwargs: dict[str, Any]) -> nn.Module:
    """The network of this zoo's or timm's that a folder or repository holds."""
    name, cfg, where = config.architecture, config.timms, f"{saved.where}: {CONFIG_NAME}"
    if not timm.is_model(name):
        raise WeightsError(f"{where}: architecture: {name} is no network of timm {timm.__version__} or of this zoo")
    if odd := sorted(cfg.keys() - {field.name for field in dataclasses.fields(PretrainedCfg)}):
        raise WeightsError(f"{where}: pretrained_cfg: timm {timm.__version__} knows no {shown(odd[0])}")
    source: dict[str, Any] = {"pretrained": True, "pretrained_cfg": {**cfg, "file": str(saved.weights)}}
    if timm.models.is_model_in_modules(name, [MODULE]):
        saved_as: dict[str, Any] = {"pretrained_cfg": cfg, **config.model_args}
        check_fit(saved.where, saved.weights, lambda: timm.create_model(name, **saved_as))
        return timm.create_model(name, **source, **{**config.model_args, **kwargs})
    shapes_in(saved.weights)
    try:
        return timm.create_model(name, **source, **{**config.model_args, **kwargs})
    except Exception as error:  # each of timm's networks has kinds of its own
        raise WeightsError(f"{saved.where}: cannot load it into timm's {name}: {in_line(error)}") from error


def code_of(folder_or_repository: str) -> tuple[Code, Setting | None]:
    """The code of a saved network, and of a classifier its images and classes, without reading its weights.

    Raises:
        WeightsError: If it is not there or broken, or if it is one of timm's networks, which have no code.
    """
    config, _ = open_config(folder_or_repository)
    if isinstance(config, ComposedConfiguration):
        return Code.parse(config.code), None
    text, cfg = config.code or config.model_args.get("code"), config.timms
    try:
        code = Code.parse(text) if text else registry.get(config.architecture).code
    except UnknownNameError:
        raise WeightsError(f"{folder_or_repository}: is timm's {config.architecture}, which has no code") from None
    channels, _, side = cfg.get("input_size", config.pretrained_cfg.input_size)
    return code, Setting(side, channels, cfg.get("num_classes", config.pretrained_cfg.num_classes))
