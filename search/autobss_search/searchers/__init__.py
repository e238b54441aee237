"""What proposes codes: AutoBSS and what it is compared with. No torch is needed."""

from .autobss import AutoBSS
from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
from .nsga2 import NSGA2
from .searcher import BATCH, Observation, Searcher
from .session import Session

__all__ = [
    "BATCH",
    "NSGA2",
    "AutoBSS",
    "LocalSearch",
    "Observation",
    "RandomSearch",
    "RegularizedEvolution",
    "Searcher",
    "Session",
]
