"""CNN backbones with better block stacking styles at the same cost (AutoBSS, NeurIPS 2020).

Importing the package puts its networks into timm's registry: `timm.create_model("autobss_resnet50")`.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from .codes import Code
from .models import create_model
from .registry import Entry, get, list_models

try:
    __version__ = version("autobss-zoo")
except PackageNotFoundError:  # used from a checkout, as torch.hub does
    __version__ = "0+checkout"

__all__ = ["Code", "Entry", "create_model", "from_pretrained", "get", "list_models", "push_to_hub", "save_pretrained"]

_LAZY = {"from_pretrained": ".hub", "push_to_hub": ".hub", "save_pretrained": ".hub"}


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    if name in ("cards", "export", "hub"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
