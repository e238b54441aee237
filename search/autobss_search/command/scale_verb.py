"""The command's verb `scale`: a network that is larger by a strategy, or as large as a budget allows."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ..console import add_verb, print_rich
from .numbers import amount
from .zoo_verbs import NETWORK, add_input, look_up, make_table

if TYPE_CHECKING:
    from autobss_zoo import Code
    from autobss_zoo.cost import Cost


def add_commands(commands: Any) -> None:
    """Add the verb to argparse's subparsers."""
    verb = add_verb(commands, "scale", _scale, "scale a network by depth, width and resolution")
    verb.add_argument("network", metavar="NAME_OR_CODE", help=NETWORK)
    how = verb.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--strategy",
        metavar="d=D,w=W,r=R",
        help="multipliers, e.g. d=1.48,w=1.4,r=1.58; an r of 8 and more is the images' side in pixels",
    )
    how.add_argument(
        "--budget", type=amount, metavar="MACS", help="by ScaleNet's strategies, to at most these MACs, e.g. 2G"
    )
    add_input(verb)
    verb.add_argument("--json", action="store_true", help="print JSON")


def _scale(arguments: argparse.Namespace) -> int:
    from autobss_zoo import Setting
    from autobss_zoo.families import family_of
    from autobss_zoo.scaling import Strategy, at_budget, scale

    base, entry, setting, _ = look_up(arguments.network, arguments)
    if entry is not None and entry.architecture:
        raise ValueError(f"{entry.name} is for {entry.task}; give {base} to scale its backbone")
    side, stage = setting.input_size, None
    if arguments.strategy:
        strategy = Strategy.parse(arguments.strategy, side)
        code = scale(base, strategy, side)
    else:
        code, strategy, stage, _ = at_budget(base, arguments.budget, setting=setting)
    sides = side, family_of(code).image_side(code)
    networks = base, code
    costs = [
        family_of(network).cost(network, Setting(own, setting.in_chans, setting.num_classes))
        for network, own in zip(networks, sides, strict=True)
    ]
    if arguments.json:
        rows = [
            {"code": str(network), "input_size": own, **vars(cost)}
            for network, own, cost in zip(networks, sides, costs, strict=True)
        ]
        print(json.dumps({**rows[1], "strategy": vars(strategy), "stage": stage, "base": rows[0]}, indent=2))
        return 0
    _print(networks, sides, costs)
    at = "" if stage is None else f", the stage {stage:.3f} of ScaleNet's"
    print_rich(
        f"By depth x{strategy.depth:.4g}, width x{strategy.width:.4g}, resolution x{strategy.resolution:.4g}{at}."
    )
    return 0


def _print(networks: tuple[Code, Code], sides: tuple[int, int], costs: list[Cost]) -> None:
    print_rich(f"{networks[1]}\n")
    table = make_table("", "pixels>", "MACs>", "parameters>", "beside the base>")
    for label, side, cost in zip(("base", "scaled"), sides, costs, strict=True):
        beside = f"{cost.macs / costs[0].macs:.3f}x, {cost.params / costs[0].params:.3f}x"
        table.add_row(label, str(side), f"{cost.macs:,}", f"{cost.params:,}", beside)
    print_rich(table)
