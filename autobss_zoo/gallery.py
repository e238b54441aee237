"""docs/zoo.md: the classifiers' accuracy beside MACs, parameters and measured latency, as a table and a picture.

Also the picture of docs/model_scaling.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .cards import ROOT, rounded, table
from .latencies import RUNTIMES, measured_on
from .plots import COLOURS, plot_trends, save
from .registry import Entry, entries
from .scaling import TABLE_8

PICTURE = "zoo.png"
_MS = "onnxruntime"
_SEARCHED = ("autobss", "bcnet", "bcnetv2", "scalenet")
_COSTS: tuple[tuple[str, Callable[[Entry], float]], ...] = (
    ("MACs (millions)", lambda entry: entry.measured.macs / 1e6),
    ("parameters (millions)", lambda entry: entry.measured.params / 1e6),
    ("ms, ONNX Runtime, one CPU thread", lambda entry: entry.latency.get(_MS, float("nan"))),
)


def shown() -> list[Entry]:
    """The papers' classifiers."""
    return [entry for entry in entries().values() if entry.task == "classification" and entry.paper]


def page() -> str:
    """The text of docs/zoo.md."""
    header = [
        "network",
        "top-1, % (paper)",
        "MACs",
        "parameters",
        "ONNX Runtime, ms",
        "PyTorch, ms",
        "beside",
    ]
    rows = []
    for entry in shown():
        reference = _beside(entry)
        ratios = [f"{entry.latency[r] / reference.latency[r]:.2f}x" for r in RUNTIMES if reference and entry.latency]
        onnx, torch = (f"{entry.latency[r]:.2f}" if r in entry.latency else "-" for r in RUNTIMES)
        top = "; ".join(f"{value} ({what})" if "," in what else f"{value}" for what, value in _top1(entry).items())
        costs = rounded(entry.measured.macs), rounded(entry.measured.params)
        rows.append([f"`{entry.name}`", top.replace("top-1, ", ""), *costs, onnx, torch, " / ".join(ratios) or "-"])
    conditions = "; ".join(dict.fromkeys(_where(found) for found in measured_on().values()))
    slower = [
        f"`{entry.name}` ({entry.latency[r] / reference.latency[r]:.2f}x in {r})"
        for entry in shown()
        for r in RUNTIMES
        if entry.found_by in _SEARCHED
        and entry.latency
        and (reference := _beside(entry))
        and entry.latency[r] > 1.02 * reference.latency[r]
    ]
    return f"""<!-- Written by `make cards`; do not edit. -->

# The zoo at a glance

The papers' accuracy on ImageNet against three costs. Arrows go to a searched network from the one of the same training
that it is compared with: the hand-made one, the uniformly rescaled one of the same printed MACs, or EfficientNet-B0
scaled as ScaleNet's base is; grey points are all uniformly rescaled ones. Accuracies are the papers'; MACs,
parameters and latencies are ours.

![Accuracy against MACs, parameters and latency]({PICTURE})

MACs are not time. Searched networks that take over 2% longer than those: {", ".join(slower) or "none"}.

{table(header, rows)}

Milliseconds are for one image on one CPU thread, medians of runs in turns: {conditions}.
"Beside" is the ratio to the other network, in ONNX Runtime / PyTorch. [results/](../autobss_zoo/results) has
them with the columns of timm's benchmark files; `python benchmarks/zoo_latency.py --write` measures them on another
machine, `--on cuda` on a GPU.
"""


def _top1(entry: Entry) -> dict[str, float]:
    return {what: value for what, value in entry.accuracy.items() if what.startswith("top-1")}


def _where(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['processor']}, {versions}"


def _beside(entry: Entry) -> Entry | None:
    """The hand-made or uniform network that a searched or random one is compared with, or the one scaled alike."""
    if entry.found_by not in (*_SEARCHED, "random"):
        return None
    names = (entry.name.replace(entry.found_by, other) for other in ("original", "uniform", "efficientnet"))
    named = [entries()[name] for name in names if name in entries()]
    uniform = [other for other in shown() if (other.found_by, other.code.family) == ("uniform", entry.code.family)]
    same = [other for other in uniform if other.printed["macs"] == entry.printed["macs"]]
    return next(iter(named + same), None)


def draw(path: Path) -> None:
    """Draw the picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.6), layout="constrained")
    found = [entry for entry in shown() if not any("CIFAR" in what for what in entry.accuracy)]
    bases = list(dict.fromkeys(e.family.base for e in found if e.found_by in _SEARCHED and _beside(e)))
    for axes, (title, cost) in zip(figure.subplots(1, 3, sharey=True), _COSTS, strict=True):
        _points(axes, [e for e in found if e.found_by == "uniform"], cost)
        for entry in found:
            if entry.found_by in _SEARCHED and (reference := _beside(entry)):
                colour = COLOURS[bases.index(entry.family.base)]
                for what in _top1(entry).keys() & _top1(reference).keys():
                    start, end = ((cost(e), e.accuracy[what]) for e in (reference, entry))
                    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8})
                    axes.plot(*start, "o", color=colour, ms=5, label=entry.family.base)
        axes.set_xscale("log")
        axes.set_xlabel(title)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("top-1 on ImageNet, % (the papers')")
    handles = {label: handle for handle, label in zip(*figure.axes[0].get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6, frameon=False)
    save(figure, path)


def _points(axes: Any, found: Iterable[Entry], cost: Callable[[Entry], float]) -> None:
    for entry in found:
        axes.plot(cost(entry), entry.accuracy["top-1"], ".", color="0.6", label="uniform")


def main() -> None:
    """Write the page and the pictures."""
    (ROOT / "docs" / "zoo.md").write_text(page(), encoding="utf-8")
    draw(ROOT / "docs" / PICTURE)
    plot_trends(ROOT / "docs" / "model_scaling.png", TABLE_8[1:4], TABLE_8[4:])


if __name__ == "__main__":
    main()
