"""A device's file: the measured blocks of a family's networks, how they add up, and how well. No torch is needed."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..codes import Code
from ..cost import Setting
from ..errors import LatencyError, shown
from ..families import Family, get_family
from ..families.plan import Block
from ..files import write_atomically
from ..limits import Flag, Number, Text, Whole
from .blocks import BlockTimes, Signature, figure_of, inputs_of, kinds, named
from .conditions import Conditions
from .interpolation import KindTimes

_MOST = 64 << 20  # bytes of a file
Seconds = Annotated[Number, Field(gt=0)]
Figure = Annotated[Whole, Field(ge=0, le=1 << 40)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeasuredBlock(_Part):
    """A block that was measured.

    Attributes:
        kind: The kind of block.
        shape: The figures that the kind names, its input channels first.
        quick: Seconds, the first decile of the runs, which other work on the machine moves less than the median.
        median: Seconds.
        spread: The interquartile range relative to the median.
        n: How many runs.
    """

    kind: Text
    shape: tuple[Figure, ...]
    quick: Seconds
    median: Seconds
    spread: Annotated[Number, Field(ge=0)]
    n: Annotated[Whole, Field(gt=0)]

    @model_validator(mode="after")
    def _is_a_block(self) -> MeasuredBlock:
        if self.kind not in kinds() or len(self.shape) != len(kinds()[self.kind].shape):
            raise ValueError(f"kind: expected one of {', '.join(kinds())} and its figures, got {shown(self.kind)}")
        return self


class Fit(_Part):
    """How blocks add up, in seconds, fitted on whole networks.

    A network takes `constant`, and for each block `factor` times what it takes by itself, `block`, `input` for each
    number of its input, and `param` for each of its parameters: by itself a block also takes a call of the runtime, has
    its input rearranged, and finds its weights in the cache.
    """

    constant: Number
    factor: Annotated[Number, Field(gt=0)]
    block: Number
    input: Number
    param: Number


class Errors(_Part):
    """How far predictions were from what was measured.

    Attributes:
        networks: How many.
        rmspe: The root of the mean squared relative error.
        within_5, within_10: The share of networks that were missed by at most 5 and 10%.
        rank_correlation: Kendall's tau.
        bias: The mean relative error.
    """

    networks: Whole
    rmspe: Number
    within_5: Number
    within_10: Number
    rank_correlation: Number
    bias: Number

    @classmethod
    def of(cls, predicted: np.ndarray, measured: np.ndarray) -> Errors:
        """Of two arrays of shape (n,)."""
        from scipy.stats import kendalltau

        off = predicted / measured - 1
        figures = {
            "rmspe": np.sqrt((off**2).mean()),
            "within_5": (abs(off) <= 0.05).mean(),
            "within_10": (abs(off) <= 0.10).mean(),
            "rank_correlation": np.nan_to_num(kendalltau(predicted, measured).statistic),
            "bias": off.mean(),
        }
        return cls(networks=len(off), **{name: round(float(figure), 5) for name, figure in figures.items()})

    def __str__(self) -> str:
        return (
            f"RMSPE {self.rmspe:.1%}, within 5% {self.within_5:.0%}, within 10% {self.within_10:.0%}, "
            f"Kendall's tau {self.rank_correlation:.2f}, bias {self.bias:+.1%} ({self.networks} networks)"
        )


class Validation(_Part):
    """Errors on whole networks that nothing was fitted to.

    Attributes:
        predicted: Of the table.
        macs: Of a line through MACs, fitted on the networks that the table was fitted on.
        macs_and_activations: Of a plane through both.
        repeated: Of measuring the same networks again.
    """

    predicted: Errors
    macs: Errors
    macs_and_activations: Errors
    repeated: Errors


class Table(_Part):
    """The latency of a family's networks on one device, in one runtime.

    Attributes:
        conditions: Where and how it was measured.
        protocol: How, in words.
        family: The family's name.
        input_size, in_chans, num_classes: Of the networks that it was made for.
        largest_macs: Blocks of more MACs were not measured: no network within such a budget has them.
        reference: Seconds of the family's hand-made network when the table was begun. It is run in turns with all that
            is measured, whose times are stated as they are where it takes that long: machines change their pace.
        blocks: What was measured.
        sampled: Whether that is a sample, from which others of the same kinds and within their sizes are predicted.
        fit: How they add up; None until all is measured.
        validation: How well.
    """

    format: Literal["autobss latency table 3"] = "autobss latency table 3"
    conditions: Conditions
    protocol: Text
    family: Text
    input_size: Whole
    in_chans: Whole
    num_classes: Whole
    largest_macs: Whole
    reference: Seconds
    blocks: tuple[MeasuredBlock, ...] = ()
    sampled: Flag = False
    fit: Fit | None = None
    validation: Validation | None = None

    @property
    def setting(self) -> Setting:
        """The images and classes that it was made for."""
        return Setting(self.input_size, self.in_chans, self.num_classes)

    @cached_property
    def identity(self) -> str:
        """The SHA-256 of all that predictions depend on."""
        text = self.model_dump_json(include={"conditions", "family", "blocks", "sampled", "fit", "largest_macs"})
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _times(self) -> BlockTimes:
        times = {Signature(block.kind, block.shape): block.quick for block in self.blocks}
        return BlockTimes(times, KindTimes if self.sampled else None)

    def sums(self, family: Family, codes: np.ndarray, setting: Setting | None = None) -> list[np.ndarray]:
        """What a `Fit` weighs, of codes of shape (n, m), each of shape (n,), in its order after the constant.

        The sum is infinite for a network with a block that is larger than any measured one.

        Raises:
            LatencyError: If a block was not measured; the message names it.
        """
        sums = self._sums(self._times, family, codes, setting or self.setting)
        return [*sums, family.figure("params", codes, setting or self.setting)]

    def _sums(self, known: BlockTimes, family: Family, codes: np.ndarray, setting: Setting) -> list[np.ndarray]:
        """The sums of the blocks' times, the numbers of blocks, and those of their inputs' numbers."""
        n, seconds = len(codes), np.zeros(len(codes))
        count, inputs = np.zeros((2, n), np.int64)
        unknown: dict[Signature, None] = {}
        for block in family.plan(codes, setting).blocks:
            times = np.broadcast_to(block.times, n)
            found = known.of(block, n)
            if missing := np.flatnonzero(np.isnan(found) & (times > 0)).tolist():
                large = _macs(block, n)[missing] > self.largest_macs
                found[np.array(missing)[large]] = np.inf
                for place in np.array(missing)[~large].tolist():
                    unknown[_signature(block, place, n)] = None
            seconds += np.where(times > 0, found * times, 0)
            count += times
            inputs += times * block.inputs * block.side**2
        if unknown:
            raise LatencyError(f"{family.name}: the table has no {named(unknown)}; measure them: autobss latency build")
        return [seconds, count, inputs]

    def predict(self, codes: Code | np.ndarray, setting: Setting | None = None, family: str | None = None) -> Any:
        """The latency of codes in seconds.

        Args:
            codes: A code, or an integer array of shape (n, m).
            setting: The images and classes; the table's own when None.
            family: Of an array of codes: the table's own, or with _r the same with the side of the images in its codes.

        Returns:
            A float, or an array of shape (n,); infinite where a block is larger than any that was measured.

        Raises:
            LatencyError: If the table is not finished, or a block was not measured.
        """
        if self.fit is None:
            raise LatencyError("the table is not finished: run the command that began it again")
        if isinstance(codes, Code):
            return float(self._total(get_family(codes.family), np.array([codes.values]), setting)[0])
        return self._total(get_family(family or self.family), np.asarray(codes), setting)

    def _total(self, family: Family, codes: np.ndarray, setting: Setting | None) -> np.ndarray:
        assert self.fit is not None
        self.check_family(family.name)
        constant, *weights = vars(self.fit).values()
        return constant + sum(
            weight * of for weight, of in zip(weights, self.sums(family, codes, setting), strict=True)
        )

    def least(self, codes: np.ndarray, setting: Setting | None = None, family: str | None = None) -> np.ndarray:
        """What codes that are no smaller in any element take at least: their blocks are no smaller, either.

        Args:
            codes: An integer array of shape (n, m).
            setting: As of `predict`.
            family: As of `predict`.

        Returns:
            Seconds, shape (n,); zeros where the table has not all blocks, or one that makes networks quicker.

        Raises:
            LatencyError: As `predict`.
        """
        assert self.fit is not None
        if (known := self._least_times) is None:
            return np.zeros(len(codes))
        kind = get_family(family or self.family)
        seconds, *_ = self._sums(known, kind, np.asarray(codes), setting or self.setting)
        return (self.fit.constant + seconds) * (1 - 1e-9)  # sums in another order are rounded otherwise

    @cached_property
    def _least_times(self) -> BlockTimes | None:
        """Of each block the least that it or a larger one adds to a network; None where that is no bound."""
        assert self.fit is not None
        found: dict[Signature, float] = {}
        for kind in {block.kind for block in self.blocks}:
            own = [Signature(kind, block.shape) for block in self.blocks if block.kind == kind]
            seconds = np.array([block.quick for block in self.blocks if block.kind == kind])
            inputs, params = (np.array([*map(figure, own)]) for figure in (inputs_of, partial(figure_of, "params")))
            added = self.fit.factor * seconds + self.fit.block + self.fit.input * inputs + self.fit.param * params
            shapes = np.array([signature.shape for signature in own])
            fixed = [kinds()[kind].shape.index(name) for name in ("kernel", "stride")]  # no growth changes these
            for signature in own:
                shape = np.array(signature.shape)
                larger = (shapes >= shape).all(axis=1) & (shapes[:, fixed] == shape[fixed]).all(axis=1)
                found[signature] = float(added[larger].min())
        # A further block must not make a network quicker, as it may in a fit to noise.
        return None if self.sampled or min(found.values(), default=0) < 0 else BlockTimes(found)

    def check_family(self, name: str) -> None:
        """Do nothing if the table is of this family, or of the same with the side of the images in its codes or not.

        Raises:
            LatencyError: If it is of another.
        """
        if get_family(name).inner != get_family(self.family).inner:
            raise LatencyError(f"the table is of {self.family}, and has nothing of {name}")

    def rescaled(self, ratio: float) -> Table:
        """The table with all its predictions multiplied, as for a machine that has become slower."""
        assert self.fit is not None
        fit = Fit(**{name: ratio * value for name, value in self.fit})
        return self.changed(fit=fit, reference=ratio * self.reference)

    def changed(self, **fields: Any) -> Table:
        """The table with other values of some fields."""
        return Table(**{**{name: getattr(self, name) for name in Table.model_fields}, **fields})

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all."""
        text = self.model_dump_json(indent=1)
        write_atomically(path, (text + "\n").encode())


def load_table(path: str | Path) -> Table:
    """Read a device's file.

    Raises:
        LatencyError: If there is none, or it is broken.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST:
            raise LatencyError(f"{path}: expected a file of up to {_MOST:,} bytes")
        return Table.model_validate_json(path.read_bytes())
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        raise LatencyError(
            f"{path}: is no latency table: {place}: {wrong['msg']}, got {shown(wrong['input'])}"
        ) from None
    except OSError as error:
        raise LatencyError(f"{path}: {error.strerror or error}") from None


def _macs(block: Block, n: int) -> np.ndarray:
    """The MACs of one of the blocks, shape (n,)."""
    (macs,) = type(block)(**{**vars(block), "times": 1}).figures(("macs",))
    return np.broadcast_to(macs, n)


def _signature(block: Block, place: int, n: int) -> Signature:
    return Signature(block.kind, tuple(int(np.broadcast_to(getattr(block, name), n)[place]) for name in block.shape))
