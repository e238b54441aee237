"""Pictures. Needs the extra `autobss-zoo[plot]`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .codes import Code
from .cost import Cost
from .families import family_of
from .files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's, distinct to colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7")


def stages_of_both(a: Mapping[str, Cost], b: Mapping[str, Cost]) -> list[str]:
    """The stages of two networks, in order.

    Raises:
        ValueError: If the networks do not have the same stages.
    """
    if list(a) != list(b):
        raise ValueError(f"cannot compare networks with the stages {', '.join(a)} and {', '.join(b)}")
    return list(a)


def plot_allocation(
    networks: Sequence[tuple[str, Code]],
    path: str | os.PathLike[str],
    input_size: int | None = None,
    in_chans: int = 3,
    num_classes: int = 1000,
) -> None:
    """Draw how two networks spend their budget on the stages, after AutoBSS's Figure 4.

    Three panels: MACs, channels and blocks of each stage.

    Args:
        networks: A label and a code of each of the two.
        path: The file to write, .png, .svg or .pdf.
        input_size: Side of the image in pixels; each family's own when None.
        in_chans, num_classes: Of the networks.

    Raises:
        ValueError: If the suffix is another, or the networks do not have the same stages.
        FileNotFoundError: If the folder of `path` does not exist.
    """
    from matplotlib.figure import Figure

    costs = [family_of(code).stage_costs(code, input_size, in_chans, num_classes) for _, code in networks]
    stages = stages_of_both(*costs)
    numbers = [stage.removeprefix("stage") for stage in stages]
    coded = [n for n in numbers if f"C{n}" in networks[0][1].as_dict()]
    panels = [
        ("MACs (millions)", numbers, [[cost[stage].macs / 1e6 for stage in stages] for cost in costs]),
        ("channels", coded, [[code.as_dict()[f"C{n}"] for n in coded] for _, code in networks]),
        ("blocks", coded, [[code.as_dict()[f"L{n}"] for n in coded] for _, code in networks]),
    ]
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for axes, (title, labels, both) in zip(figure.subplots(1, 3), panels, strict=True):
        for offset, colour, values, (label, _) in zip((-0.2, 0.2), COLOURS[:2], both, networks, strict=True):
            positions = [i + offset for i in range(len(labels))]
            axes.bar(positions, values, 0.38, color=colour, label=label)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlabel("stage")
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=1, frameon=False, fontsize=9)
    save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure whole or not at all.

    Raises:
        ValueError: If the suffix is not .png, .svg or .pdf.
        FileNotFoundError: If the folder of `path` does not exist.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{path}: expected a file that ends in .png, .svg or .pdf")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
