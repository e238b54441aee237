"""A search under latency on Fashion-MNIST: AutoBSS at the hand-made network's latency, and at its MACs.

For a small ResNet and a small MobileNetV2: a table of this machine's latencies in ONNX Runtime on one CPU thread, a
search of 64 trainings under each budget, then five trainings each of the hand-made network and of both answers, each
tested once; and the latencies of the three, measured in turns. It can be interrupted and goes on.

    python benchmarks/fashion_mnist_latency.py --scale quick
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from fashion_mnist import BACKBONES, ROOT, describe, recipes, run
from machine import machine
from trainings import interval

from autobss_search.command.cli import main as autobss
from autobss_search.evaluators.training import Training
from autobss_search.studies.recipe import SearchRecipe
from autobss_zoo import Setting, get_family
from autobss_zoo.latency import measure

RESULTS = ROOT / "benchmarks" / "results" / "fashion_mnist_latency"


def table_of(space: str, setting: Setting, path: Path) -> Path:
    """This machine's table of a space; what was measured before is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [f"--{name.replace('_', '-')}={value}" for name, value in setting.describe().items()]
    if code := autobss(["latency", "build", "--space", space, "-o", str(path), *images]):
        raise SystemExit(code)
    return path


def main() -> None:
    """Run the study, or go on with it, and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("quick", "cpu", "full"), default="full")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side (2)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "outputs" / "fashion_mnist_latency", help="where it is kept"
    )
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=BACKBONES)
    arguments = parser.parse_args()
    for backbone in arguments.backbones:
        search, final = recipes(backbone, arguments.scale)
        folder, setting = arguments.folder / arguments.scale / backbone, Training(final).setting
        hand_made = Training(final).load().code
        device = table_of(str(SearchRecipe.load(search).space), setting, folder / "device.json")
        under: dict[str, dict[str, Any]] = {
            "latency": {"budget": {"macs": None, "latency": f"1x of {hand_made}", "device": str(device)}},
            "macs": {},
        }
        found = list(run(backbone, arguments.scale, folder, arguments.workers, under, RESULTS))
        timed = measure([result.code for result in found], setting, seconds=10)
        lines = [f"# Fashion-MNIST under latency: {backbone}, {arguments.scale}", "", describe(search, final), ""]
        lines += ["| found under | code | MACs | ms | to hand-made | test, % (mean, 95% interval) | each |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for result, ms in zip(found, timed.ms, strict=True):
            macs = get_family(result.code.family).cost(result.code, setting).macs
            each = ", ".join(f"{value:.2f}" for value in result.accuracies)
            mean = f"{statistics.fmean(result.accuracies):.2f} ± {interval(result.accuracies):.2f}"
            to_first = f"{ms / timed.ms[0]:.3f}x"
            row = (result.found_by, f"`{result.code}`", f"{macs:,}", f"{ms:.3f}", to_first, mean, each)
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
        lines += ["", f"Latency: {timed.conditions}.", "", machine(), ""]
        (RESULTS / f"{backbone}_{arguments.scale}.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
