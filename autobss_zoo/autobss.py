"""The module of this zoo's networks in timm's registry: `timm.list_models(module="autobss")`.

`models` makes their entry points; nothing is defined here that a network's name could replace.
"""

from typing import Any

__all__: list[str] = []  # timm writes the names here

default_cfgs: dict[str, Any] = {}
"""Where timm looks for the configurations of the names that are registered."""
