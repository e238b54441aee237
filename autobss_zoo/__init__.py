"""CNN backbones with better block stacking styles at the same cost (AutoBSS, NeurIPS 2020).

Importing the package puts its networks into timm's registry, `timm.create_model("autobss_resnet50")`: at once where
timm is imported already, else as soon as it is. What needs no network, codes and costs, needs no torch.
"""

import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from .codes import Code
from .cost import Cost, Setting
from .families import Family, get_family
from .families import register as register_family
from .registry import PLACES, Entry, entries, get, list_models
from .timm_hook import when_timm_is_imported

if TYPE_CHECKING:
    from .export import to_onnx
    from .hub import from_pretrained, push_to_hub, save_pretrained
    from .models import create_model
    from .training import TrainingRecipe, train, validate

try:
    __version__ = version("autobss-zoo")
except PackageNotFoundError:  # used from a checkout, as torch.hub does
    __version__ = "0+checkout"

__all__ = [
    "Code",
    "Cost",
    "Entry",
    "Family",
    "Setting",
    "TrainingRecipe",
    "create_model",
    "from_pretrained",
    "get",
    "get_family",
    "list_models",
    "push_to_hub",
    "register_family",
    "save_pretrained",
    "to_onnx",
    "train",
    "validate",
]

_LAZY = {
    "TrainingRecipe": ".training",
    "create_model": ".models",
    "from_pretrained": ".hub",
    "push_to_hub": ".hub",
    "save_pretrained": ".hub",
    "to_onnx": ".export",
    "train": ".training",
    "validate": ".training",
}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    if name in ("cards", "export", "hub", "models"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if os.environ.get(PLACES):
    entries()  # a broken folder is named here and not when timm is imported
if "timm" in sys.modules:
    import_module(".models", __name__)
else:
    when_timm_is_imported(f"{__name__}.models")
