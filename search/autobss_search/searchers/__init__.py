"""What proposes codes: AutoBSS and what it is compared with. No torch is needed."""

from .autobss import AutoBSS
from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
from .greedy import Greedy
from .nsga2 import NSGA2
from .pareto import Pareto
from .searcher import BATCH, Observation, Searcher
from .session import Session

__all__ = [
    "BATCH",
    "NSGA2",
    "AutoBSS",
    "Greedy",
    "LocalSearch",
    "Observation",
    "Pareto",
    "RandomSearch",
    "RegularizedEvolution",
    "Searcher",
    "Session",
]
