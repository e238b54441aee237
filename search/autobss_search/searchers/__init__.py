"""What proposes codes: AutoBSS and what it is compared with. No torch is needed."""

from .autobss import AutoBSS
from .baselines import LocalSearch, RandomSearch, RegularizedEvolution
from .greedy import Greedy
from .mcea import MCEA
from .nes import NES
from .nsga2 import NSGA2
from .pareto import Pareto
from .searcher import BATCH, Observation, Searcher
from .session import Session

__all__ = [
    "BATCH",
    "MCEA",
    "NES",
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
