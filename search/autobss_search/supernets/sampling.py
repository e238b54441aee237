"""Which networks of a supernet a step trains (BCNetV2, sections 4 and 5; AutoSlim's and its successors' rules).

Layers of c channels use the first c of the supernet's or, on the other side, the last c. Trained on both sides, a
channel of a layer of l channels takes part in l + 1 of its widths, whichever it is (Equation 9). Where no width is
below a base l_s, that no longer holds (Equation 19); then the supernet is wider than its widest network, such that
again all channels take part equally often (Equation 21).

A super-supernet has bases and what they are scaled to (ScaleNet, section 3.2): a step draws one of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autobss_zoo.codes import Code
from autobss_zoo.supernets.slicing import Path

from ..spaces.scaling import Scaling, scaled
from ..spaces.space import Space

PRINCIPLES = ("unilateral", "bilateral", "bilateral_v2", "sandwich")
_RANDOM = 2  # networks of a step of the sandwich rule, beside the widest and the narrowest


@dataclass(frozen=True)
class Sampling:
    """How the networks of a step are drawn.

    Args:
        space: The codes; constraints play no part in training.
        principle: "unilateral" uses the first channels (as AutoSlim and TAS do), "bilateral" both sides (BCNet,
            Equation 8), "bilateral_v2" both sides of a supernet that is wider by the least width of each layer
            (BCNetV2, section 5.1). "sandwich" trains the widest network, the narrowest and two random ones, which
            learn from the widest (Yu and Huang, 2019).
        complement: Whether with each code the one of the other channels is trained (Equation 11).
        iterative: Whether sides take turns from batch to batch (Equation 22), which halves the memory.
        scaling: How bases are scaled; the space's codes are drawn themselves when None.
        hierarchical: Whether scaling stages are drawn first, as of `Scaling.drawn`.

    Raises:
        ValueError: If there is no such principle, or it does not go with the others.
    """

    space: Space
    principle: str = "bilateral_v2"
    complement: bool = True
    iterative: bool = False
    scaling: Scaling | None = None
    hierarchical: bool = True

    def __post_init__(self) -> None:
        if self.principle not in PRINCIPLES:
            raise ValueError(f"principle: expected one of {', '.join(PRINCIPLES)}, got {self.principle!r}")
        for name in ("complement", "iterative"):
            if getattr(self, name) and not self.bilateral:
                raise ValueError(f"{name}: is for bilateral principles, not {self.principle}")
        if self.scaling is not None:
            if self.complement or self.principle not in ("unilateral", "bilateral"):
                which = "complement" if self.complement else f"principle: {self.principle}"
                raise ValueError(f"scaling: goes with unilateral and bilateral without a complement, got {which}")
            self._bases  # noqa: B018 - which checks that there are some

    @property
    def bilateral(self) -> bool:
        """Whether networks use both sides."""
        return self.principle.startswith("bilateral")

    @property
    def sides(self) -> tuple[bool, ...]:
        """The sides that networks are scored on (Equation 12): whether it is the right one."""
        return (False, True) if self.bilateral else (False,)

    @cached_property
    def narrowest(self) -> Code:
        """The code of the least elements."""
        return self.space.code(self.space.extremes()[0].tolist())

    @cached_property
    def largest(self) -> Code:
        """The code of the largest elements."""
        return self.space.code(self.space.extremes()[1].tolist())

    @cached_property
    def supernet(self) -> Code:
        """The code of the supernet itself, whose widths are the largest, and with "bilateral_v2" the least beside them.

        The paper has l + l_s - d channels, d one group, where the outermost groups are trained less often than the
        others; with l + l_s all are trained equally often.
        """
        least, most = (np.array(code.values) for code in (self.narrowest, self.largest))
        return self.space.code((most + self._widths * least if self.principle == "bilateral_v2" else most).tolist())

    def paths(self, step: int, rng: np.random.Generator) -> list[Path]:
        """The networks of a step.

        Args:
            step: Which, from 0.
            rng: Source of the codes.

        Returns:
            The paths; with "sandwich" the widest first.
        """
        if self.principle == "sandwich":
            return [Path(code) for code in (self.largest, self.narrowest, *self.drawn(_RANDOM, rng))]
        codes = self.drawn(1, rng)
        if self.complement:
            codes += [self.complementary(codes[0])]
        sides = (bool(step % 2),) if self.iterative else self.sides
        return [Path(code, right) for code in codes for right in sides]

    def complementary(self, code: Code) -> Code:
        """The code of the channels that a code leaves out, and of what else it has not.

        A width c gives way to those of the supernet less c, but not to fewer than the least; the number of an
        element's choice counts from the other end.
        """
        values, supernet = np.array(code.values), np.array(self.supernet.values)
        least, most = (np.array(end.values) for end in (self.narrowest, self.largest))
        mirrored = self.space.values(self.space.lengths - 1 - self.space.encode([code]))[0]
        widths = np.clip(supernet - values, least, most)
        return self.space.code(np.where(self._widths, widths, mirrored).tolist())

    @cached_property
    def _widths(self) -> np.ndarray:
        """Which elements are numbers of channels, booleans of shape (m,)."""
        fields = self.space.layout.fields
        return np.array([bool(field.scales or field.part_of) for field in fields for _ in field.names])

    @cached_property
    def operations(self) -> list[Code]:
        """Codes that together have each operation of each block, where codes choose operations."""
        chosen = np.array([f.title == "operation" for f in self.space.layout.fields for _ in f.names])
        each = [d.choices if own else () for d, own in zip(self.space.dimensions, chosen.tolist(), strict=True)]
        return [
            self.space.code(
                number if number in choices else value
                for choices, value in zip(each, self.supernet.values, strict=True)
            )
            for number in sorted({int(number) for choices in each for number in choices})
        ]

    @cached_property
    def _bases(self) -> Space:
        """The codes that are scaled."""
        assert self.scaling
        return self.scaling.bases(self.space.under())

    def drawn(self, n: int, rng: np.random.Generator) -> list[Code]:
        """Codes whose elements are each uniform over its choices, or so drawn bases under strategies."""
        if self.scaling is None:
            return self.space.decode(rng.integers(0, self.space.lengths, (n, self.space.ndim)))
        bases = self._bases.decode(rng.integers(0, self._bases.lengths, (n, self._bases.ndim)))
        return scaled(self.space, bases, self.scaling.drawn(n, rng, self.hierarchical))
