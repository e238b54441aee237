"""The command's options for where codes are scored."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .numbers import integer, number

if TYPE_CHECKING:
    from ..executors import Executor

_RAY = ("address", "cpus_per_trial", "gpus_per_trial", "nodes_per_trial", "retries")


def add_executor_options(verb: argparse.ArgumentParser) -> None:
    """Add the options to a verb."""
    options = verb.add_argument_group("where codes are scored")
    options.add_argument(
        "--executor",
        choices=("here", "processes", "ray"),
        help="this process, processes of this machine, or a Ray cluster (here; processes with --workers or --timeout)",
    )
    options.add_argument("--workers", type=integer(most=1024), metavar="N", help="processes (one for each GPU, or one)")
    options.add_argument(
        "--timeout", type=number(0.001, 1e8), metavar="SECONDS", help="stop an attempt that takes longer (never)"
    )
    options.add_argument(
        "--address", help="Ray: the cluster, e.g. auto or ray://host:10001 (RAY_ADDRESS, or a new one)"
    )
    options.add_argument("--cpus-per-trial", type=number(0, 1e6), metavar="N", help="Ray: CPUs of each trial (1)")
    options.add_argument(
        "--gpus-per-trial", type=number(0, 1e6), metavar="N", help="Ray: GPUs of each trial; torchrun if several"
    )
    options.add_argument(
        "--nodes-per-trial", type=integer(most=1000), metavar="N", help="Ray: nodes that each trial is spread over (1)"
    )
    options.add_argument(
        "--retries", type=integer(0), metavar="N", help="Ray: new starts after a worker or node was lost (3)"
    )


def make_executor(arguments: argparse.Namespace) -> Executor:
    """The executor that the options describe.

    Raises:
        ValueError: If options do not go together, or a number is out of its range.
    """
    workers, timeout = arguments.workers, arguments.timeout
    several = timeout is not None or workers not in (None, 1)
    kind = arguments.executor or ("processes" if several else "here")
    given = {name.removesuffix("_per_trial"): value for name in _RAY if (value := getattr(arguments, name)) is not None}
    if kind == "ray":
        if workers is not None:
            raise ValueError(f"workers: a Ray cluster has as many as there is room for, got {workers}; leave it out")
        from ..executors.cluster import RayCluster

        return RayCluster(timeout=timeout, **given)
    if given:
        raise ValueError(f"{next(iter(given))}: is an option of --executor ray, not of {kind}")
    if kind == "processes":
        from ..executors.processes import LocalProcesses

        return LocalProcesses(workers, timeout)
    if several:
        raise ValueError("workers, timeout: need processes of their own; give --executor processes")
    from ..executors import InProcess

    return InProcess()
