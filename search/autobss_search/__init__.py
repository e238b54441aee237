"""The search for better codes, and the command `autobss`.

Names are imported when they are used, so that `autobss --help` need not wait for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conformance import check_space
    from .evaluators.evaluator import Evaluator, register_evaluator
    from .evaluators.tabular import Table
    from .evaluators.training import Training
    from .executors import InProcess
    from .executors.processes import LocalProcesses
    from .optuna_params import suggest_code
    from .optuna_sampler import AutoBSSSampler
    from .searchers import (
        AutoBSS,
        LocalSearch,
        Observation,
        Pareto,
        RandomSearch,
        RegularizedEvolution,
        Searcher,
        Session,
    )
    from .spaces import Constraint, Dimension, Space, each, get_space, list_spaces, load_space, register_cost
    from .studies.recipe import SearchRecipe
    from .studies.study import Study

__all__ = [
    "AutoBSS",
    "AutoBSSSampler",
    "Constraint",
    "Dimension",
    "Evaluator",
    "InProcess",
    "LocalProcesses",
    "LocalSearch",
    "Observation",
    "Pareto",
    "RandomSearch",
    "RegularizedEvolution",
    "SearchRecipe",
    "Searcher",
    "Session",
    "Space",
    "Study",
    "Table",
    "Training",
    "check_space",
    "each",
    "get_space",
    "list_spaces",
    "load_space",
    "register_cost",
    "register_evaluator",
    "suggest_code",
]

_HOMES = {
    "check_space": ".conformance",
    "Evaluator": ".evaluators.evaluator",
    "register_evaluator": ".evaluators.evaluator",
    "Table": ".evaluators.tabular",
    "Training": ".evaluators.training",
    "InProcess": ".executors",
    "LocalProcesses": ".executors.processes",
    "AutoBSSSampler": ".optuna_sampler",
    "suggest_code": ".optuna_params",
    "SearchRecipe": ".studies.recipe",
    "Study": ".studies.study",
}
"""The modules of the names that are of neither searchers nor spaces."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in (_HOMES[name],) if name in _HOMES else (".searchers", ".spaces"):
            if hasattr(module := import_module(home, __name__), name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
