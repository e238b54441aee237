"""The processes that train together: one, or those that torchrun has started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.utils.distributed import init_distributed_device_so, is_distributed_env
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        device: This process's device.
        rank, size: This process's number, and how many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor."""
        if self.size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, items: list) -> list:
        """Every process's items, in the order of the processes."""
        if self.size == 1:
            return items
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, items)
        return [item for part in parts for item in part]

    def share(self, value: Any) -> Any:
        """The first process's value."""
        box = [value]
        if self.size > 1:
            distributed.broadcast_object_list(box, 0)
        return box[0]

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers, such as the batch norms' statistics."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            distributed.barrier()


def find_device(name: str | None = None) -> torch.device:
    """A device by its name, "cpu", "cuda" or "cuda:1"; a GPU where there is one when None.

    Raises:
        ValueError: If there is no such device here.
    """
    known = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    default = "cuda" if len(known) > 1 else "cpu"
    if name not in (None, default, *known):
        raise ValueError(f"device: expected one of {', '.join(known)}, got {name!r}")
    return torch.device(name or default)


@contextmanager
def joined(device: str | None = None) -> Iterator[World]:
    """This process's place among those that torchrun (or Slurm) has started; alone without them.

    Args:
        device: "cpu", "cuda" or "cuda:1"; CUDA where there is a GPU when None.

    Raises:
        ValueError: If there is no such device here.
    """
    found = find_device(device)
    if not is_distributed_env() or distributed.is_initialized():
        yield World(found)
        return
    started = init_distributed_device_so(str(found))
    try:
        yield World(torch.device(started["device"]), started["global_rank"], started["world_size"])
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
