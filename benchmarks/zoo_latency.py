"""The latency of every classifier of the zoo, measured in turns, as results/*.csv with the columns of timm's files.

On a CPU one image at a time, in ONNX Runtime and in PyTorch, which is what the zoo shows. A GPU's are a file more:

    python benchmarks/zoo_latency.py --write
    python benchmarks/zoo_latency.py --on cuda --batch 64 --dtype float16 --write
"""

import sys
from functools import partial

from machine import parser
from rich.progress import Progress, TaskID

from autobss_zoo import entries, list_models
from autobss_zoo.latencies import RUNTIMES, write_results
from autobss_zoo.latency import measure


def _advance(bar: Progress, task: TaskID, share: float) -> None:
    bar.update(task, completed=share)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--on", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--batch", type=int, default=1)
    arguments.add_argument("--dtype", default="float32")
    arguments.add_argument("--seconds", type=float, default=4.0, help="of timing for each network")
    options = arguments.parse_args()
    names = list_models(task="classification")
    for runtime in RUNTIMES if options.on == "cpu" else ("pytorch",):
        how = {"device": options.on, "batch": options.batch, "dtype": options.dtype, "seconds": options.seconds}
        with Progress(transient=True) as bar:
            advance = partial(_advance, bar, bar.add_task(runtime, total=1.0))
            found = measure(names, runtime=runtime, on_progress=advance, **how)
        rows = []
        for name, timing in zip(names, found.timings, strict=True):
            entry = entries()[name]
            cost, setting = entry.measured, entry.setting
            rows.append(
                {
                    "model": name,
                    "infer_img_size": setting.input_size,
                    "infer_samples_per_sec": round(options.batch / timing.median, 2),
                    "infer_step_time": round(1e3 * timing.median, 3),
                    "infer_batch_size": options.batch,
                    "param_count": round(cost.params / 1e6, 2),
                    "infer_gmacs": round(cost.macs / 1e9, 3),
                    "infer_macts": round(cost.activations / 1e6, 2),
                }
            )
            print(f"{runtime:12} {name:32} {1e3 * timing.median:9.3f} ms  spread {timing.spread:.1%}  n {timing.n}")
        print(found.conditions)
        if options.write:
            threads = "-1thread" if options.on == "cpu" else f"-batch{options.batch}-{options.dtype}"
            write_results(f"{runtime}-{options.on}{threads}", rows, found.conditions.model_dump())
    return 0


if __name__ == "__main__":
    sys.exit(main())
