"""Scripts in processes of their own, forked from one that has torch and timm already, whose import takes seconds."""

import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["timm", "autobss_search.executors.processes", "autobss_zoo.training"])
COMMAND = Path(__file__).with_name("command_script.py")


def start(script, *arguments, errors=os.devnull, **environment):
    """Start `python script arguments...`; its `exitcode` is minus the signal that ended it.

    Args:
        script: A Python file.
        *arguments: What follows on its command line.
        errors: The file that its standard error goes to.
        **environment: Variables beside those of now.
    """
    variables = {**os.environ, **environment}
    process = FORKS.Process(target=_run, args=(str(script), [*map(str, arguments)], str(errors), variables))
    process.start()
    return process


def kill_when(reached, script, *arguments):
    """Start a script, and kill it as soon as `reached()`, which must be before its end."""
    process = start(script, *arguments)
    while not reached() and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def run(script, *arguments, processes=1, errors=os.devnull):
    """Run a script to its end, or where one has died to there, and return the last one's exit code.

    Several processes find each other as those do that torchrun has started.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
    places = [{**shared, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(processes)] if processes > 1 else [{}]
    started = [start(script, *arguments, errors=errors, **place) for place in places]
    *others, last = started
    last.join(500)
    for process in others:
        process.join(0 if last.exitcode else 500)  # they would wait for one that has died
        process.kill()
        process.join()
    return last.exitcode


def _run(script, arguments, errors, environment):
    # The system's, as in a process of its own: by the fork server's, data workers would outlive a killed script.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    os.environ.clear()  # a fork server's is that of its start
    os.environ.update(environment)
    for path, number in ((os.devnull, 1), (errors, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
