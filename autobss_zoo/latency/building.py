"""Making a device's table: measure blocks, then fit on whole networks how they add up, and test that on others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..codes import Code
from ..cost import Setting
from ..errors import LatencyError
from ..families import Family, get_family
from ..models import create_model
from .blocks import Signature, distinct, figure_of, signatures
from .conditions import Runtime
from .runners import Runner, conditions, open_runner, steady
from .table import Errors, Fit, MeasuredBlock, Table, Validation, load_table
from .timing import Timing, time_in_turns

_TOGETHER, _SECONDS = 48, 0.05  # blocks that are measured in turns, and about how long each is run
_NETWORKS_TOGETHER = 12
_REFERENCES = 3  # runs of the hand-made network a round, which tell the pace
_REFERENCE_SECONDS = 3.0  # of it alone, at first
NETWORK_SECONDS = 0.5  # or at least seven runs


def protocol(seconds: float) -> str:
    """How a table is measured, in words; networks are run for so many seconds each."""
    return (
        f"first deciles of runs in turns with the hand-made network, {_REFERENCES} times a round, at its pace: "
        f"{_TOGETHER} blocks, about {_SECONDS:g} s each, or {_NETWORKS_TOGETHER} networks, {seconds:g} s each; in "
        "evaluation mode, on random images"
    )


Progress = Callable[[str, float], None]
"""Told what is being done, and the share of it that is."""


def build_table(
    path: str | Path,
    family: str,
    codes: np.ndarray,
    networks: tuple[np.ndarray, np.ndarray],
    runtime: Runtime,
    setting: Setting | None = None,
    largest_macs: int | None = None,
    sampled: bool = False,
    seconds: float = NETWORK_SECONDS,
    on_progress: Progress = lambda what, share: None,
) -> Table:
    """Measure the blocks of codes and write a device's table; what an interrupted call has measured is kept.

    Args:
        path: The file. One that was begun under the same conditions is gone on with.
        family: The family's name.
        codes: Codes, integers of shape (n, m), all of whose blocks are measured, as are the hand-made network's.
        sampled: As of `Table`.
        networks: Codes of whole networks that are measured to fit, with the hand-made one, how blocks add up, at least
            as many as its five coefficients, and others to test it.
        runtime: How they are run.
        setting: The images and classes; the family's own when None.
        largest_macs: Blocks of more MACs are left out; those of the family's hand-made network when None.
        seconds: How long each network is run; the noisier the machine, the longer.
        on_progress: As `Progress`.

    Returns:
        The table, as it was written.

    Raises:
        LatencyError: If the file holds another table.
        ValueError: If the runtime is not here.
    """
    kind = get_family(family)
    setting = kind.setting(setting)
    if largest_macs is None:
        largest_macs = int(kind.figure("macs", Code(family, kind.original), setting))
    with steady(runtime):
        reference = _network(kind, Code(family, kind.original), setting, runtime)
        fresh = Table(
            conditions=conditions(runtime),
            protocol=protocol(seconds),
            family=family,
            largest_macs=largest_macs,
            sampled=sampled,
            reference=time_in_turns([reference], _REFERENCE_SECONDS)[0].quick,
            **setting.describe(),
        )
        table = _begun(Path(path), fresh)
        for blocks, share in _blocks(kind, table, np.vstack([codes, kind.original]), reference):
            table = table.changed(blocks=(*table.blocks, *blocks), fit=None, validation=None)
            table.save(path)
            on_progress("blocks", share)
    if table.fit is None:
        table = _fitted(table, kind, networks, seconds, lambda share: on_progress("networks", share))
        table.save(path)
    return table


def _begun(path: Path, fresh: Table) -> Table:
    """The table that a file holds already, or the empty one."""
    if not path.exists():
        return fresh
    kept = load_table(path)
    facts = ("conditions", "protocol", "family", "largest_macs", "sampled", "input_size", "in_chans", "num_classes")
    for name in facts:
        if (theirs := getattr(kept, name)) != (ours := getattr(fresh, name)):
            raise LatencyError(f"{path}: holds a table of {name} {theirs}, not {ours}; give another file")
    return kept


def _blocks(family: Family, table: Table, codes: np.ndarray, reference: Runner) -> Iterable[tuple[list[Any], float]]:
    """Measure the blocks that the table has not, some together; gives them with the share that is done."""
    known = {Signature(block.kind, block.shape) for block in table.blocks}
    wanted = {
        s: place for s, place in distinct(family.plan(codes, table.setting), len(codes)).items() if s not in known
    }
    wanted = {s: place for s, place in wanted.items() if figure_of("macs", s) <= table.largest_macs}
    total, ready = len(wanted) + len(known), {}
    left = dict(wanted)
    for place in dict.fromkeys(wanted.values()):
        for signature, runner in _runners(family, codes[place], table.setting, table.conditions.runtime, left):
            del left[signature]
            ready[signature] = runner
            if len(ready) == _TOGETHER:
                yield _timed(ready, reference, table.reference), 1 - len(left) / total
                ready = {}
    if ready:
        yield _timed(ready, reference, table.reference), 1.0


def _runners(
    family: Family, values: np.ndarray, setting: Setting, runtime: Runtime, wanted: dict[Signature, Any]
) -> Iterable[tuple[Signature, Runner]]:
    """Runners of the wanted blocks of a code's network."""
    code = Code(family.name, tuple(values.tolist()))
    found = list(signatures(family.plan(code, setting)))
    if not any(signature in wanted for signature in found):
        return
    for signature, part in zip(found, family.parts(_unfilled(code, setting)), strict=True):
        if signature in wanted:
            inputs, _, side, *_ = signature.shape
            yield signature, open_runner(_filled(part), (inputs, side, side), runtime)


def _timed(ready: dict[Signature, Runner], reference: Runner, then: float) -> list[MeasuredBlock]:
    timings, now = _in_turns([*ready.values()], reference, 2 * _SECONDS * len(ready))
    pace = now / then
    return [
        MeasuredBlock(
            kind=s.kind,
            shape=s.shape,
            quick=t.quick / pace,
            median=t.median / pace,
            spread=round(t.spread, 4),
            n=t.n,
        )
        for s, t in zip(ready, timings, strict=True)
    ]


def _in_turns(runners: list[Runner], reference: Runner, seconds: float) -> tuple[list[Timing], float]:
    """The timings of runners, and the seconds of a reference that is run in turns with them, evenly among them."""
    turns, step = [], -(-len(runners) // _REFERENCES)
    for start in range(0, len(runners), step):
        turns += [reference, *runners[start : start + step]]
    timings = list(zip(turns, time_in_turns(turns, seconds), strict=True))
    now = fmean(timing.quick for runner, timing in timings if runner is reference)
    return [timing for runner, timing in timings if runner is not reference], now


class Paced(NamedTuple):
    """Latencies, and the pace at which the machine ran.

    Attributes:
        seconds: First deciles, shape (n,).
        paces: How long the table's reference took in turns with each, beside when the table was begun; shape (n,).
    """

    seconds: np.ndarray
    paces: np.ndarray

    @property
    def at_pace(self) -> np.ndarray:
        """The seconds at the table's pace, which are what it predicts."""
        return self.seconds / self.paces

    @property
    def pace(self) -> float:
        """The median of the paces."""
        return float(np.median(self.paces))


def measure_codes(
    table: Table,
    codes: np.ndarray,
    family: str | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    setting: Setting | None = None,
    seconds: float = NETWORK_SECONDS,
) -> Paced:
    """The seconds of whole networks as a table's runtime runs them here, some in turns with the table's reference.

    Args:
        table: The table.
        codes: Codes, integers of shape (n, m).
        family: Of the codes; the table's own when None.
        on_progress: Called with the share that is done.
        setting: The images and classes; the table's own when None.
        seconds: How long each network is run.
    """
    runtime, kind, own = table.conditions.runtime, get_family(family or table.family), get_family(table.family)
    every = [Code(kind.name, tuple(values)) for values in codes.tolist()]
    found: list[float] = []
    paces: list[float] = []
    with steady(runtime):
        reference = _network(own, Code(own.name, own.original), table.setting, runtime)
        for start in range(0, len(every), _NETWORKS_TOGETHER):
            group = every[start : start + _NETWORKS_TOGETHER]
            runners = [_network(kind, code, setting or table.setting, runtime) for code in group]
            timings, now = _in_turns(runners, reference, seconds * (len(group) + _REFERENCES))
            found += [timing.quick for timing in timings]
            paces += [now / table.reference] * len(group)
            on_progress(len(found) / len(every))
    return Paced(np.array(found), np.array(paces))


def _network(family: Family, code: Code, setting: Setting, runtime: Runtime) -> Runner:
    side = family.stated_side(code) or setting.input_size
    return open_runner(_filled(_unfilled(code, setting)), (setting.in_chans, side, side), runtime)


def _unfilled(code: Code, setting: Setting) -> nn.Module:
    """A network without memory for its weights, which take seconds to draw where only some of its blocks are run."""
    build = partial(create_model, code, in_chans=setting.in_chans, num_classes=setting.num_classes)
    try:
        with torch.device("meta"):
            return build().eval()
    except RuntimeError:  # a user's own family may compute with tensors as it builds
        return build().eval()


def _filled(part: nn.Module) -> nn.Module:
    """A part of such a network with random weights; zeros where a module does not say how it begins."""
    part.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*part.parameters(), *part.buffers()):
            tensor.zero_()
    modules: Any = part.modules()
    for module in modules:
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return part


def _fitted(
    table: Table,
    family: Family,
    networks: tuple[np.ndarray, np.ndarray],
    seconds: float,
    on_progress: Callable[[float], None],
) -> Table:
    """The table with how its blocks add up, and how well."""
    codes = np.concatenate(networks)
    test = np.arange(len(codes)) >= len(networks[0])
    halves, groups = measure_twice(table, codes, on_progress, seconds)
    repeated = Errors.of(halves[1][test], halves[0][test])
    # The reference, whose time defines the pace, is often deeper and wider than any code at random. Where the table is
    # of smaller blocks its sum is infinite.
    codes, test = np.vstack([codes, family.original]), np.append(test, False)
    measured = np.append(agreed(halves, groups), table.reference)
    cost, sums = family.cost(codes, table.setting), table.sums(family, codes, table.setting)
    fit = ~test & np.isfinite(sums[0])

    def predicted(*columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of a constant and the columns with the least relative errors, and what they predict."""
        terms = np.stack([np.ones(len(codes)), *columns], axis=1)
        relative = terms[fit] / measured[fit, None]
        scale = abs(relative).max(axis=0)
        found = np.linalg.lstsq(relative / scale, np.ones(len(relative)), rcond=None)[0] / scale
        return found, (terms @ found)[test]

    coefficients, ours = predicted(*sums)
    _, macs = predicted(cost.macs)
    _, both = predicted(cost.macs, cost.activations)
    validation = Validation(
        predicted=Errors.of(ours, measured[test]),
        macs=Errors.of(macs, measured[test]),
        macs_and_activations=Errors.of(both, measured[test]),
        repeated=repeated,
    )
    fitted = Fit(**dict(zip(Fit.model_fields, coefficients.tolist(), strict=True)))
    return table.changed(fit=fitted, validation=validation)


def measure_twice(
    table: Table,
    codes: np.ndarray,
    on_progress: Callable[[float], None] = lambda share: None,
    seconds: float = NETWORK_SECONDS,
) -> tuple[np.ndarray, np.ndarray]:
    """The seconds of whole networks at a table's pace, twice, each time beside others.

    Args:
        table: The table.
        codes: Codes of its family, integers of shape (n, m).
        on_progress: Called with the share that is done.
        seconds: How long each network is run, each time.

    Returns:
        Seconds, and in which of its half's groups each network was, both of shape (2, n), as `agreed` takes them.
    """
    halves, groups, rng = np.empty((2, len(codes))), np.empty((2, len(codes)), np.int64), np.random.default_rng(0)
    for half, (own, group) in enumerate(zip(halves, groups, strict=True)):
        order = rng.permutation(len(codes))
        advance = partial(_part, on_progress, half / 2)
        own[order] = measure_codes(table, codes[order], None, advance, seconds=seconds).at_pace
        group[order] = np.arange(len(codes)) // _NETWORKS_TOGETHER
    return halves, groups


def agreed(halves: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The seconds of networks that were measured twice in different groups, each of which errs in its pace.

    A group's networks share the error that its reference's time has; where that is some percent of it, as on shared
    machines, it is what disagrees most. In logarithms they add up, so that the errors of a network's two groups differ
    by as much as its two times: by least squares, with a mean of zero.

    Args:
        halves: Seconds, shape (2, n).
        groups: In which of its half's groups each was, integers of shape (2, n).

    Returns:
        Seconds of shape (n,), at the mean pace of all groups.
    """
    logs, each = np.log(halves), groups + (groups.max() + 1) * np.arange(2)[:, None]
    one, other = np.eye(each.max() + 1)[each]
    errors = np.linalg.lstsq(one - other, logs[0] - logs[1], rcond=None)[0]  # the shortest, whose mean is zero
    return np.exp((logs - errors[each]).mean(axis=0))


def _part(on_progress: Callable[[float], None], done: float, share: float) -> None:
    on_progress(done + share / 2)
