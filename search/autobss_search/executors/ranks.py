"""A trial of several processes, by torchrun's engine (torch.distributed.launcher)."""

from __future__ import annotations

import pickle

from ..evaluators.evaluator import Evaluator
from . import Job, Scorer
from .processes import end_with_parent


def run_ranks(evaluator: Evaluator, job: Job, endpoint: str, nodes: int, node: int, processes: int) -> float:
    """Score a job in several processes, whose environment is torchrun's; called once on each node.

    Args:
        evaluator: Opened, and asked for the score, in each process.
        job: The job.
        endpoint: host:port of the first node.
        nodes: How many nodes.
        node: Which one this is, from 0.
        processes: On each node. With GPUs each process has one.

    Returns:
        The score of this node's first process.

    Raises:
        RuntimeError: If a process failed; the text is the first failure's.
    """
    from ray import cloudpickle
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=str(job.id),
        rdzv_backend="static",
        rdzv_endpoint=endpoint,
        rdzv_configs={"rank": node, "timeout": 600},
        max_restarts=0,
    )
    try:
        # By value: these processes do not have the driver's main module.
        scores = elastic_launch(config, _rank)(cloudpickle.dumps(evaluator), job)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        raise RuntimeError(f"rank {rank}: {message.strip().splitlines()[-1]}") from None
    return scores[node * processes]


def _rank(evaluator: bytes, job: Job) -> float:
    end_with_parent()
    return Scorer(pickle.loads(evaluator)).score(job)
