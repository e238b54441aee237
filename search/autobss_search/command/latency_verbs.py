"""The command's verbs for latency: measure, and latency build and check."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..console import add_verb, print_rich
from .numbers import integer, number
from .zoo_verbs import NETWORK

if TYPE_CHECKING:
    from autobss_zoo import Setting
    from autobss_zoo.latency import Table

    from ..spaces.budgets import Constraint
    from ..spaces.space import Space


def add_commands(commands: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    verb = add_verb(commands, "measure", _measure, "measure the latency of networks on this machine, in turns")
    verb.add_argument("networks", nargs="+", metavar="NAME_OR_CODE", help=NETWORK)
    _add_runtime(verb)
    _add_images(verb)
    verb.add_argument("--seconds", type=number(0.01, 3600), default=2.0, help="of timing for each network (2)")
    verb.add_argument("--json", action="store_true", help="print JSON")

    parser = commands.add_parser("latency", help="make and check a device's table of latencies", description="Tables.")
    tables = parser.add_subparsers(dest="table_command", metavar="COMMAND", required=True)
    verb = add_verb(tables, "build", _build, "measure the blocks of a space on this machine into a device's table")
    verb.add_argument(
        "--space", required=True, metavar="NAME_OR_FILE", help="a declared space, e.g. mnv2, or a YAML file"
    )
    verb.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.json", help="the table")
    verb.add_argument(
        "--networks",
        type=integer(8, 2000),
        default=24,
        help="whole networks on which it is fitted how blocks add up (24)",
    )
    verb.add_argument("--held-out", type=integer(4, 2000), default=24, help="others on which that is tested (24)")
    verb.add_argument(
        "--blocks", type=integer(100, 100_000), default=1500, help="at most; of spaces of more a sample (1500)"
    )
    verb.add_argument(
        "--seconds",
        type=number(0.01, 3600),
        default=0.5,
        help="of timing for each network; more on noisy machines (0.5)",
    )
    _add_runtime(verb)
    _add_images(verb)

    verb = add_verb(tables, "check", _check, "measure fresh random codes and compare with a device's table")
    verb.add_argument("table", type=Path, metavar="FILE.json", help="the table")
    verb.add_argument("--space", required=True, metavar="NAME_OR_FILE", help="the space that codes are drawn from")
    verb.add_argument("--networks", type=integer(4, 2000), default=24, help="how many codes (24)")
    verb.add_argument("--seed", type=integer(0), default=2, help="of the codes (2)")
    verb.add_argument("--rescale", action="store_true", help="multiply the table by the ratio that was measured")


def _add_runtime(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--runtime", choices=("onnxruntime", "pytorch"), default="onnxruntime", help="(onnxruntime)")
    verb.add_argument("--on", choices=("cpu", "cuda"), default="cpu", help="the processor (cpu)")
    verb.add_argument("--threads", type=integer(most=1024), default=1, help="CPU threads of an operator (1)")
    verb.add_argument("--batch", type=integer(most=65536), default=1, help="images at a time (1)")
    verb.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="(float32)")
    verb.add_argument("--channels-last", action="store_true", help="channels last in memory, in PyTorch")
    verb.add_argument("--compile", action="store_true", help="compile networks, in PyTorch")


def _add_images(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--input-size", type=integer(most=8192), metavar="N", help="side of the image in pixels")
    verb.add_argument("--in-chans", type=integer(most=4096), default=3, metavar="N", help="channels of the image (3)")
    verb.add_argument("--num-classes", type=integer(most=1_000_000), default=1000, metavar="N", help="classes (1000)")


def _runtime(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "device": arguments.on,
        "threads": arguments.threads,
        "batch": arguments.batch,
        "dtype": arguments.dtype,
        "channels_last": arguments.channels_last,
        "compiled": arguments.compile,
    }


def _setting(arguments: argparse.Namespace) -> Any:
    from autobss_zoo import Setting

    return Setting(arguments.input_size, arguments.in_chans, arguments.num_classes)


def _measure(arguments: argparse.Namespace) -> int:
    from autobss_zoo.latency import measure

    with _progress() as advance:
        found = measure(
            arguments.networks,
            _setting(arguments),
            runtime=arguments.runtime,
            seconds=arguments.seconds,
            on_progress=lambda share: advance("measuring", share),
            **_runtime(arguments),
        )
    if arguments.json:
        rows = [{"network": name, **vars(timing)} for name, timing in zip(found.names, found.timings, strict=True)]
        print(json.dumps({**found.conditions.model_dump(), "seconds": rows}, indent=2))
        return 0
    from rich.table import Table as Rows
    from rich.text import Text

    table = Rows("network", title=str(found.conditions), title_justify="left", box=None)
    for column in ("median ms", "half of the runs, ms", "spread", "beside the first", "runs"):
        table.add_column(column, justify="right")
    first = found.timings[0].median
    for name, t in zip(found.names, found.timings, strict=True):
        half = f"{1e3 * t.low:.3f} to {1e3 * t.high:.3f}"
        table.add_row(
            Text(name), f"{1e3 * t.median:.3f}", half, f"{t.spread:.1%}", f"{t.median / first:.3f}x", str(t.n)
        )
    print_rich(table)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from autobss_zoo.files import check_output
    from autobss_zoo.latency import Runtime, build_table

    check_output(arguments.output)
    runtime = Runtime.of(name=arguments.runtime, **_runtime(arguments))
    space, macs = _space(arguments.space, _setting(arguments))
    counted = macs.function.counted
    codes, sampled = _blocks(space, macs, arguments.blocks)
    with _progress() as advance:
        table = build_table(
            arguments.output,
            counted.family,
            codes,
            (_random(space, macs, arguments.networks, 0.4, 0), _random(space, macs, arguments.held_out, 0.93, 1)),
            runtime,
            counted.setting,
            int(macs.upper),
            sampled,
            arguments.seconds,
            on_progress=advance,
        )
    some = ", from which others are predicted" if table.sampled else ""
    print(f"wrote {arguments.output}: {len(table.blocks):,} blocks of {space.family}{some}; {table.conditions}")
    _show(table)
    return 0


def _blocks(space: Space, macs: Any, most: int) -> tuple[np.ndarray, bool]:
    """Codes with every block of the space, or where these are too many with a sample of them; and whether it is one."""
    from ..spaces.blocks import covering_codes, sampled_codes

    codes = covering_codes(space, macs.function.counted, most)
    if codes is not None:
        return codes, False
    drawn = np.stack([_random(space, macs, most, least, 2) for least in (0.93, 0.25)], axis=1)  # in turns
    ends = np.stack(space.extremes())  # between whose blocks all others are
    return sampled_codes(np.vstack([ends, drawn.reshape(2 * most, -1)]), macs.function.counted, most), True


def _show(table: Table) -> None:
    assert table.validation is not None
    print("on networks that nothing was fitted to:")
    for title, errors in (
        ("the table", table.validation.predicted),
        ("MACs alone", table.validation.macs),
        ("MACs and activations", table.validation.macs_and_activations),
        ("measured again", table.validation.repeated),
    ):
        print(f"  {title}: {errors}")


def _check(arguments: argparse.Namespace) -> int:
    from autobss_zoo.latency import load_table
    from autobss_zoo.latency.building import measure_codes
    from autobss_zoo.latency.runners import is_here
    from autobss_zoo.latency.table import Errors

    table = load_table(arguments.table)
    if not is_here(table.conditions):
        print(f"the table was made on another machine, or with other versions: {table.conditions}")
    space, macs = _space(arguments.space, table.setting)
    codes = _random(space, macs, arguments.networks, 0.93, arguments.seed)
    predicted = table.predict(codes, family=space.family)
    with _progress() as advance:
        measured = measure_codes(table, codes, space.family, lambda share: advance("networks", share))
    print(f"{arguments.table} on {len(codes)} fresh codes: {Errors.of(predicted, measured.at_pace)}")
    print(f"that is at the table's pace; its hand-made network takes {measured.pace:.3f}x what it took then")
    ratio = float(np.median(measured.seconds / predicted))
    print(
        f"measured beside predicted: {ratio:.3f}x; multiplied by that: {Errors.of(ratio * predicted, measured.seconds)}"
    )
    if arguments.rescale:
        table.rescaled(ratio).save(arguments.table)
        print(f"wrote {arguments.table}: all its times are {ratio:.3f}x what they were")
    return 0


def _space(name: str, setting: Setting) -> tuple[Space, Any]:
    """The space that an option names, and its bound on the MACs of classifiers, within which networks are measured."""
    from ..spaces.budgets import Figure
    from ..spaces.declared import find_space

    space = find_space(name, {}, setting=setting)
    for constraint in space.constraints:
        function = constraint.function
        if constraint.name == "macs" and isinstance(function, Figure) and not function.counted.detector:
            return space, constraint
    raise ValueError(f"--space: {name}: expected classifiers of the zoo with a bound on macs, or with no budget")


def _random(space: Space, macs: Constraint, n: int, least: float, seed: int) -> np.ndarray:
    """Random codes of at least a share of the space's largest MACs, integers of shape (n, m)."""
    from ..searchers.candidates import uniform

    largest = min(macs.upper, macs.costs(space.extremes()[1][None]).item())
    band = space.under(replace(macs, lower=least * largest))
    return space.values(uniform(band, n, np.random.default_rng(seed)))


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
