"""A training that may kill itself, in a process of its own: training_script.py FOLDER KILL_AT_STEP KEY=VALUE..."""

import os
import signal
import sys

from autobss_zoo.recipes import parse_settings
from autobss_zoo.training import TrainingRecipe, joined, train

if __name__ == "__main__":
    folder, kill_at, *settings = sys.argv[1:]
    changes = parse_settings(settings)
    recipe, _ = TrainingRecipe.load(changes.pop("base", {}), changes)

    with joined("cpu") as world:

        def on_step(progress):
            if progress.step == int(kill_at) and world.rank == world.size - 1:
                os.kill(os.getpid(), signal.SIGKILL)

        train(recipe, folder, world=world, on_step=on_step)
