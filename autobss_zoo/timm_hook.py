"""Have a module imported when timm is, without importing timm, and with it torch, before it is needed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from typing import Any


def when_timm_is_imported(module: str) -> None:
    """Import `module` as soon as timm has been."""
    sys.meta_path.insert(0, _Finder(module))


class _Finder(MetaPathFinder):
    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """timm's own spec, which also imports the module once timm has run; of other names nothing."""
        if fullname != "timm" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        try:
            spec: Any = find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)  # who asks for the spec may only want to know whether timm is there
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(timm: Any) -> None:
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                run(timm)
                import_module(self._module)

            spec.loader.exec_module = exec_module
        return spec
