"""The latency of whole networks, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..codes import Code
from ..cost import Setting
from ..families import family_of
from ..hub import from_pretrained
from ..models import create_model, setting_of
from ..names import is_saved
from ..registry import find
from .conditions import Conditions, Runtime
from .runners import conditions, open_runner, steady
from .timing import Timing, time_in_turns, warn_of_spread


@dataclass(frozen=True)
class Measured:
    """Latencies of networks that were measured in turns.

    Attributes:
        conditions: Where and how.
        names: Of the networks.
        timings: Of the networks, in the same order.
    """

    conditions: Conditions
    names: tuple[str, ...]
    timings: tuple[Timing, ...]

    @property
    def ms(self) -> list[float]:
        """The medians in milliseconds."""
        return [1e3 * timing.median for timing in self.timings]


def measure(
    networks: str | Code | nn.Module | Sequence[str | Code | nn.Module],
    setting: Setting | None = None,
    *,
    runtime: str = "onnxruntime",
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    dtype: str = "float32",
    channels_last: bool = False,
    compiled: bool = False,
    seconds: float = 2.0,
    on_progress: Callable[[float], None] | None = None,
) -> Measured:
    """Measure the latency of networks, several in turns so that their ratios hold on a noisy machine.

    Networks are timed in evaluation mode on random images, after a warm-up, on as many CPU cores as threads. A GPU is
    timed by CUDA events. A warning says where the runs of a network differ by more than 10% (interquartile range).

    Args:
        networks: A name of the registry, a code, a saved one (a folder or Hub repository) or a network, or several.
        setting: The images and classes; each network's own where it says nothing.
        runtime: "onnxruntime", or "pytorch" (eager).
        device: "cpu", or with PyTorch "cuda".
        threads: CPU threads of an operator.
        batch: Images at a time.
        dtype: "float32", or with PyTorch "float16" or "bfloat16".
        channels_last: Whether PyTorch's tensors have the channels last in memory.
        compiled: Whether PyTorch compiles the networks.
        seconds: Of timing for each network, about; at least seven runs.
        on_progress: Called with the share that is done, 0 to 1.

    Raises:
        CodeError, UnknownNameError: If there is no such network.
        WeightsError: If a saved network is not there or broken.
        ValueError: If the options do not go together or ask for what is not here, or if a network is a detector.
    """
    several: Any = networks if isinstance(networks, (list, tuple)) else [networks]
    how = Runtime.of(
        name=runtime,
        device=device,
        threads=threads,
        batch=batch,
        dtype=dtype,
        channels_last=channels_last,
        compiled=compiled,
    )
    with steady(how):
        runners = [open_runner(*_network(one, setting or Setting()), how) for one in several]
        timings = time_in_turns(runners, seconds * len(runners), on_progress)
    warn_of_spread(timings)
    names = [type(one).__name__ if isinstance(one, nn.Module) else str(one) for one in several]
    return Measured(conditions(how), tuple(names), tuple(timings))


def _network(network: str | Code | nn.Module, setting: Setting) -> tuple[nn.Module, tuple[int, int, int]]:
    """A network in evaluation mode, and the shape of its images."""
    if isinstance(network, str) and is_saved(network):
        network = from_pretrained(network)
    if isinstance(network, nn.Module):
        own = setting_of(network) if hasattr(network, "pretrained_cfg") else setting
        if (side := setting.input_size or own.input_size) is None:
            raise ValueError(f"setting: expected one with an input_size: a {type(network).__name__} states none")
        return network.eval(), (own.in_chans, side, side)
    code, entry = find(network)
    if entry and entry.architecture:
        raise ValueError(f"{entry.name}: is a {entry.architecture}; give its backbone {code}, which can be measured")
    full = family_of(code).setting(setting, code)
    model = create_model(network, in_chans=full.in_chans, num_classes=full.num_classes)
    return model.eval(), (full.in_chans, full.input_size, full.input_size)
