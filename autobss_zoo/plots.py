"""Pictures. Needs the extra `autobss-zoo[plot]`."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .codes import Code, Field
from .cost import Setting
from .families import StageRow, family_of
from .files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .scaling import Strategy

# Okabe and Ito's, distinct to colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


def stages_of_both(a: Sequence[StageRow], b: Sequence[StageRow]) -> list[str]:
    """The names of the stages of two networks, in order, without the word.

    Raises:
        ValueError: If the networks do not have the same stages.
    """
    names = [[row.name for row in rows] for rows in (a, b)]
    if names[0] != names[1]:
        raise ValueError(f"cannot compare networks with the stages {' and '.join(map(', '.join, names))}")
    return [name.removeprefix("stage") for name in names[0]]


def labels_of(field: Field) -> list[str]:
    """What a field's elements are called where its title is known: the stages' numbers, or the layers."""
    return [str(place) for place in field.places] or [field.symbol]


def plot_allocation(
    networks: Sequence[tuple[str, Code]], path: str | os.PathLike[str], setting: Setting | None = None
) -> None:
    """Draw how two networks spend their budget on the stages, after AutoBSS's Figure 4.

    Panels: the MACs of each stage, and the first two fields of the codes, such as the channels and blocks of each stage
    or the width of each layer.

    Args:
        networks: A label and a code of each of the two.
        path: The file to write, .png, .svg or .pdf.
        setting: What MACs are counted with; each family's own when None.

    Raises:
        ValueError: If the suffix is another, or the networks do not have the same stages and fields.
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    from matplotlib.figure import Figure

    rows = [family_of(code).stage_rows(code, setting) for _, code in networks]
    stages = stages_of_both(*rows)
    panels = [("MACs (millions)", "stage", stages, [[row.cost.macs / 1e6 for row in stages] for stages in rows])]
    for field in networks[0][1].layout.fields[:2]:
        where = "stage" if all(isinstance(place, int) for place in field.places) else "layer"
        panels.append((field.title, where, labels_of(field), [list(code.titled(field.title)) for _, code in networks]))
    figure = Figure(
        figsize=(3 + sum(max(2.7, 0.16 * len(labels)) for _, _, labels, _ in panels), 3.8), layout="constrained"
    )
    widths = [max(8, len(labels)) for _, _, labels, _ in panels]
    for axes, (title, where, labels, both) in zip(
        figure.subplots(1, len(panels), width_ratios=widths), panels, strict=True
    ):
        for offset, colour, values, (label, _) in zip((-0.2, 0.2), COLOURS[:2], both, networks, strict=True):
            positions = [i + offset for i in range(len(labels))]
            axes.bar(positions, values, 0.38, color=colour, label=label)
        axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
        axes.set_xlabel(where)
        axes.set_title(title, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    labels = [textwrap.fill(label, 120) for label in labels]
    figure.legend(handles, labels, loc="outside upper center", ncols=1, frameon=False, fontsize=9)
    save(figure, path)


def plot_trends(path: str | os.PathLike[str], searched: Sequence[Strategy], later: Sequence[Strategy] = ()) -> None:
    """Draw how depth, width and resolution grow with the scaling stage, after ScaleNet's Figures 7 and 8.

    A panel a dimension: the searched strategies, the laws that are fitted to them, and strategies of later stages.

    Args:
        path: The file to write, .png, .svg or .pdf.
        searched: The strategies of the stages 1, 2, ...; two at least.
        later: Those of the stages that follow, wherever they are from; the laws are not fitted to them.

    Raises:
        ValueError: If the suffix is another, or as `scaling.fit`.
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    import numpy as np
    from matplotlib.figure import Figure

    from .scaling import Exponential, Law, Linear, Squared, fit

    kinds: tuple[type[Law], ...] = Exponential, Linear, Squared
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    known, end = len(searched), len(searched) + max(len(later), 2)
    stages = np.linspace(0, end, 101)
    for axes, name in zip(figure.subplots(1, 3), ("depth", "width", "resolution"), strict=True):
        for colour, kind in zip(COLOURS, kinds, strict=False):
            law = getattr(fit(searched, kind), name)
            axes.plot(stages, [law(stage) for stage in stages], color=colour, label=f"{kind.__name__.lower()}, fitted")
        values = [getattr(strategy, name) for strategy in (*searched, *later)]
        axes.plot(range(known + 1), [1, *values[:known]], "ko", label="searched")
        if later:
            axes.plot(range(known + 1, len(values) + 1), values[known:], "k^", mfc="white", label="later stages")
        axes.set_xticks(range(end + 1))
        axes.set_xlabel("scaling stage")
        axes.set_title(name, fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
    save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure whole or not at all.

    Raises:
        ValueError: If the suffix is not .png, .svg or .pdf.
        OSError: If no file can be written at `path` (`files.check_output`).
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{path}: expected a file that ends in .png, .svg or .pdf")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
