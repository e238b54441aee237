"""Save a network with its card, share it on the Hugging Face Hub, and load it again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import CommitInfo, HfApi
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from .cards import hub_card
from .codes import Code
from .errors import WeightsError
from .families import family_of
from .weights import CONFIG_NAME, WEIGHTS_NAME, download, sha256


def save_pretrained(model: Any, directory: str | os.PathLike[str]) -> None:
    """Write `config.json`, `model.safetensors` and a model card (`README.md`) into a folder.

    timm loads the folder again with `create_model("local-dir:<directory>", pretrained=True)`. The configuration states
    the code, its costs and the SHA-256 of the weights. It is replaced last: a save that is interrupted between two
    files leaves weights that do not match, which are refused when they are loaded.

    Args:
        model: A classifier of this zoo.
        directory: The folder, made if it does not exist; files of the same names are replaced.

    Raises:
        WeightsError: If `model` is no classifier of this zoo.
    """
    code: Code | None = getattr(model, "code", None)
    if code is None or not hasattr(model, "num_classes"):
        raise WeightsError(f"expected a classifier made by autobss_zoo, got {type(model).__name__}")
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as folder:
        temporary = Path(folder)
        # Contiguous, since safetensors keeps no memory format (channels_last).
        save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary / WEIGHTS_NAME)
        size = model.pretrained_cfg["input_size"][-1]
        cost = family_of(code).cost(code, size, model.in_chans, model.num_classes)
        facts = {
            "code": str(code),
            "macs": cost.macs,
            "params": cost.params,
            "sha256": sha256(temporary / WEIGHTS_NAME),
        }
        save_config_for_hf(model, str(temporary / CONFIG_NAME), model_config=facts)
        (temporary / "README.md").write_text(hub_card(model), encoding="utf-8")
        for name in (WEIGHTS_NAME, "README.md", CONFIG_NAME):
            os.replace(temporary / name, target / name)


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
        model: A classifier of this zoo.
        repo_id: The repository, "owner/name".
        commit_message: What the commit says.
        token: A token that may write; the logged-in user's when None.
        private: Whether a new repository is private.
        revision: The branch; the main one when None.

    Raises:
        WeightsError: If `model` is no classifier of this zoo.
        huggingface_hub.errors.HfHubHTTPError: If the Hub refuses.
    """
    api = HfApi(token=token, library_name="autobss-zoo")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
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
        revision: A branch, tag or commit of the repository.
        cache_dir: Where the Hub's files are kept; the Hub's own default when None.
        **kwargs: As in timm.create_model: num_classes, in_chans, features_only...

    Raises:
        WeightsError: If it is not there, or if the weights do not match their checksum.
    """
    name = os.fspath(repo_or_directory)
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, CONFIG_NAME)):
            raise WeightsError(f"{name}: no {CONFIG_NAME}; expected a folder that save_pretrained has written")
        return timm.create_model(f"local-dir:{name}", pretrained=True, **kwargs)
    if revision:
        name = f"{name}@{revision}"
    download(name, CONFIG_NAME, cache_dir)  # whose error is clear where timm's is not
    return timm.create_model(f"hf-hub:{name}", pretrained=True, cache_dir=cache_dir, **kwargs)
