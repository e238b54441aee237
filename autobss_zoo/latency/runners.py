"""How a module is run once and timed: PyTorch on a CPU or a GPU, and ONNX Runtime on a CPU."""

from __future__ import annotations

import gc
import io
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from .conditions import Conditions, Runtime

Runner = Callable[[], float]
"""Runs a module once and returns the seconds that it took."""

_WARM_UP = 3
_OPSET = 17


def open_runner(module: nn.Module, shape: Sequence[int], runtime: Runtime) -> Runner:
    """Make a module ready to be timed on random inputs, and run it a few times.

    Args:
        module: A network or a part of one, in evaluation mode; it may be changed.
        shape: Of its input without the batch, (channels, height, width).
        runtime: How it is run.

    Called within `steady`.
    """
    inputs = torch.randn(runtime.batch, *shape, generator=torch.Generator().manual_seed(0))
    runner = _onnxruntime(module, inputs) if runtime.name == "onnxruntime" else _pytorch(module, inputs, runtime)
    for _ in range(_WARM_UP):
        runner()
    return runner


def _pytorch(module: Any, inputs: torch.Tensor, runtime: Runtime) -> Runner:
    layout = torch.channels_last if runtime.channels_last else torch.contiguous_format
    place: dict[str, Any] = {"device": runtime.device, "dtype": getattr(torch, runtime.dtype)}
    module, inputs = module.to(**place, memory_format=layout), inputs.to(**place, memory_format=layout)
    if runtime.compiled:
        module = torch.compile(module)

    def on_cpu() -> float:
        with torch.inference_mode():
            start = time.perf_counter()
            module(inputs)
            return time.perf_counter() - start

    def on_gpu() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.inference_mode():
            start.record()
            module(inputs)
            end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return on_gpu if runtime.device == "cuda" else on_cpu


def _onnxruntime(module: nn.Module, inputs: torch.Tensor) -> Runner:
    import onnxruntime

    graph: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # By tracing takes a tenth of the time, and after ONNX Runtime's own passes the graphs are alike.
        torch.onnx.export(module, (inputs,), graph, dynamo=False, opset_version=_OPSET, input_names=["image"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("image", inputs.numpy())
    for output in session.get_outputs():
        binding.bind_output(output.name)

    def run() -> float:
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        return time.perf_counter() - start

    return run


def _check_here(runtime: Runtime) -> None:
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda: there is no GPU here")
    if runtime.name == "onnxruntime":
        try:
            import onnx  # noqa: F401  # what torch exports with
            import onnxruntime  # noqa: F401
        except ImportError as error:
            raise ValueError(f"runtime: onnxruntime: {error}; pip install 'autobss-zoo[onnx]'") from None


@contextmanager
def steady(runtime: Runtime) -> Iterator[None]:
    """Time undisturbed: on as many cores as threads, where the system lets a process choose, without collecting.

    Raises:
        ValueError: If the runtime is not here: no GPU, or no ONNX Runtime.
    """
    _check_here(runtime)
    threads, cores, collecting = torch.get_num_threads(), _cores(), gc.isenabled()
    torch.set_num_threads(runtime.threads)
    if cores and runtime.device == "cpu" and len(cores) >= runtime.threads:
        os.sched_setaffinity(0, sorted(cores)[-runtime.threads :])  # the first ones serve the system's interrupts
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        torch.set_num_threads(threads)
        if cores:
            os.sched_setaffinity(0, cores)


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def conditions(runtime: Runtime) -> Conditions:
    """This machine, its versions, and how networks are run on it.

    Raises:
        ValueError: As `steady`.
    """
    _check_here(runtime)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__}
    if runtime.name == "onnxruntime":
        import onnxruntime

        versions["onnxruntime"] = onnxruntime.__version__
    if runtime.device == "cuda":
        versions["cuda"] = str(torch.version.cuda)
    name = torch.cuda.get_device_name() if runtime.device == "cuda" else processor()
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Conditions(processor=name, system=system, versions=versions, runtime=runtime)


def is_here(stated: Conditions) -> bool:
    """Whether this is the machine, with the versions, of some conditions."""
    try:
        return conditions(stated.runtime) == stated
    except ValueError:  # it lacks the runtime
        return False


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
