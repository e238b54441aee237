"""A study in a process of its own, which may kill itself: study_script.py FOLDER [KILL_AFTER_ADDS] [SECONDS]."""

import os
import signal
import sys
import time
import warnings

from autobss_search import AutoBSS, Constraint, Dimension, Space
from autobss_search.executors import InProcess
from autobss_search.executors.processes import LocalProcesses
from autobss_search.studies.ledger import Ledger
from autobss_search.studies.study import Study

DIMENSIONS = [Dimension(f"W{i}", (1, 2, 4, 6, 8)) for i in range(1, 6)]


def area(codes):
    return codes.prod(axis=1)


def killable():
    """Five widths under a budget on their product."""
    return Space("killable", DIMENSIONS, [Constraint("area", 4000, area)])


class Score:
    """A rugged function of the code and the seed; takes some time, and fails for some seeds."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def describe(self):
        return "rugged"

    def __call__(self, code, seed):
        time.sleep(self.seconds)
        if seed % 6 == 2:
            raise RuntimeError("out of memory")
        return float(sum((i + 1) * v**0.5 for i, v in enumerate(code.values)) + (seed * 7 % 5) / 10)


def easy(code, seed):
    """A score that another process can import."""
    return float(sum((i + 1) * v**0.5 for i, v in enumerate(code.values)))


def study(folder, seconds=0.0, workers=0, executor=None, **kwargs):
    warnings.simplefilter("ignore")
    executor = executor or (LocalProcesses(workers) if workers else InProcess())
    return Study(folder, AutoBSS(killable(), n_candidates=300), Score(seconds), executor, rounds=3, batch=8, **kwargs)


if __name__ == "__main__":
    folder, kill_after, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    add, added = Ledger.add, 0

    def add_and_die(self, *args):
        global added
        add(self, *args)
        added += 1
        if added == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.add = add_and_die
    with study(folder, seconds, workers=int(sys.argv[4]) if len(sys.argv) > 4 else 0) as running:
        running.run()
