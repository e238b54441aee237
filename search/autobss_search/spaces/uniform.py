"""Uniform rescaling: what a user does without a search, and what a search is worth is measured from."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from autobss_zoo.codes import Code, find_layout

from .space import Dimension, Space


def uniform_code(space: Space) -> Code | None:
    """The hand-made network with all widths multiplied by one factor, the largest that meets a space's constraints.

    Depths and all else stay as near to the hand-made as the choices come, and parts of widths keep their share. At the
    hand-made network's own cost it is that network. Where nobody made one by hand, as in tables of digits, the largest
    choices of all elements are rescaled.

    Args:
        space: The codes that may be searched.

    Returns:
        The code; None where the constraints admit none of these.
    """
    layout = find_layout(space.family)
    base = dict(zip(space.layout.names, layout.example if layout else space.extremes()[1].tolist(), strict=True))
    scaled = {name for field in space.layout.fields if field.scales or not layout for name in field.names}
    middles = {d.name: (np.array(d.choices[1:]) + np.array(d.choices[:-1])) / 2 for d in space.dimensions if d.ordered}
    factors = {0.0}
    for d in space.dimensions:
        if d.name in scaled and d.name in middles:
            factors.update((middles[d.name] / base[d.name]).astype(float).tolist())
    just_over = np.array(sorted(factors)) * (1 + 1e-9)  # at a factor itself rounding would decide

    def positions(d: Dimension) -> np.ndarray:
        value = Fraction(base[d.name], base[d.of] if d.of else 1)
        if not d.ordered:
            return np.full(len(just_over), d.choices.index(value) if value in d.choices else 0)
        wanted = float(value) * (just_over if d.name in scaled else np.ones_like(just_over))
        return np.searchsorted(middles[d.name].astype(float), wanted, side="right")

    rows = np.stack([positions(d) for d in space.dimensions], axis=1)
    met = np.flatnonzero(space.feasible(rows))
    return space.decode(rows[met[-1:]])[0] if len(met) else None
