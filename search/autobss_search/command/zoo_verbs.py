"""The command's verbs for the zoo: list, info, compare, export. What is heavy is imported when a verb runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

from autobss_zoo.errors import shown

from ..console import add_verb, complain, make_console, print_rich
from .numbers import amount, integer, milliseconds, sides

if TYPE_CHECKING:
    from autobss_zoo import Code, Entry, Setting
    from autobss_zoo.cost import Cost
    from autobss_zoo.families import StageRow

NETWORK = "a name that `autobss list` shows, a quoted code, a folder of a trained network, or OWNER/NAME on the Hub"
_MOST = 65536  # far beyond it, MACs do not fit 64 bits


def add_commands(commands: Any) -> None:
    """Add the verbs to argparse's subparsers."""
    network: dict[str, Any] = {"metavar": "NAME_OR_CODE", "help": NETWORK}

    verb = add_verb(commands, "list", _list, "list the networks of the registry")
    verb.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="wildcards, e.g. 'resnet*'")
    verb.add_argument("--family", help="only a family and its variants, e.g. resnet50")
    verb.add_argument("--task", help="only classification, detection or segmentation")
    verb.add_argument("--pretrained", action="store_true", help="only networks with published weights")
    verb.add_argument("--max-macs", type=amount, metavar="N", help="only of at most these MACs, e.g. 300M")
    verb.add_argument("--max-params", type=amount, metavar="N", help="only of at most these parameters, e.g. 5M")
    verb.add_argument(
        "--max-latency",
        type=milliseconds,
        metavar="MS",
        help="at most this latency on one CPU thread, e.g. 20ms",
    )
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = add_verb(commands, "info", _info, "show a network's code, stages and costs")
    verb.add_argument("network", **network)
    add_input(verb)
    verb.add_argument("--json", action="store_true", help="print JSON")

    verb = add_verb(commands, "compare", _compare, "show how two networks spend their budget on the stages")
    verb.add_argument("a", **network)
    verb.add_argument("b", **network)
    add_input(verb)
    verb.add_argument("--plot", metavar="OUT.png", help="also draw it (png, svg or pdf)")

    verb = add_verb(commands, "export", _export, "write a network as ONNX, checked against PyTorch")
    verb.add_argument("network", **network)
    verb.add_argument("path", metavar="OUT.onnx", help="the file to write")
    add_input(verb, "N|HxW", sides(_MOST), "side of the image in pixels, or its height and width")
    verb.add_argument(
        "--batch", type=integer(most=_MOST), metavar="N", help="images that it always takes (default: any number)"
    )
    verb.add_argument("--half", action="store_true", help="compute in float16; inputs and outputs stay float32")
    verb.add_argument("--opset", type=integer(), metavar="N", help="the ONNX operator set (default: torch's choice)")
    verb.add_argument("--features-only", action="store_true", help="export the backbone's feature maps")
    weights = verb.add_mutually_exclusive_group()
    weights.add_argument("--pretrained", action="store_true", help="with the published weights")
    weights.add_argument("--weights", metavar="FILE", help="with a state dict of your own (safetensors or pth)")


def add_input(
    parser: argparse.ArgumentParser, metavar: str = "N", size: Any = None, what: str = "side of the image in pixels"
) -> None:
    """Add the options of a setting: --input-size, --in-chans and --num-classes."""
    parser.add_argument("--input-size", type=size or integer(most=_MOST), metavar=metavar, help=what)
    parser.add_argument("--in-chans", type=integer(most=_MOST), metavar="N", help="channels of the image (mostly 3)")
    parser.add_argument("--num-classes", type=integer(most=_MOST), metavar="N", help="classes (mostly 1000)")


def _list(arguments: argparse.Namespace) -> int:
    from autobss_zoo import get, list_models
    from autobss_zoo.cards import rounded

    filters = ("family", "task", "pretrained", "max_macs", "max_params", "max_latency")
    options = {name: getattr(arguments, name) for name in filters}
    found = [get(name) for name in list_models(arguments.pattern, **options)]
    if arguments.json:
        print(json.dumps([_facts(entry) for entry in found], indent=2))
    elif found:
        headings = ["name", "MACs>", "params>", "accuracy (paper, .tag)>"]
        if (width := make_console().width) >= 100:  # `info` shows the others, too; here they would break lines
            headings += ["ms>", *["code"] * (width >= 170)]
        table = make_table(*headings)
        for e in found:
            ms = e.latency.get("onnxruntime", "")
            row = [e.name, rounded(e.measured.macs), rounded(e.measured.params), _best(e), str(ms), str(e.code)]
            table.add_row(*row[: len(headings)])
        print_rich(table)
    if not found:
        complain("error", f"no network matches {shown(arguments.pattern)} and the options; `autobss list` lists all")
    return 0 if found else 1


def _best(entry: Entry) -> str:
    """The best accuracy of the weights that are published, or else what the paper reports."""
    if entry.architecture:  # its figures are of different kinds, and the first is what networks are compared by
        what, value = next(iter(entry.accuracy.items()), ("", ""))
        return f"{value} {what}".strip()
    known = {tag: weights["accuracy"]["top1"] for tag, weights in entry.weights.items() if "accuracy" in weights}
    ours = {f"top-1 .{tag}": round(top1, 2) for tag, top1 in known.items()}
    papers = {what: value for what, value in entry.accuracy.items() if not what.startswith("top-5")}
    what, value = max((ours or papers).items(), key=lambda item: item[1], default=("", ""))
    return f"{value} {what}".strip()


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "timm_name": entry.timm_name,
        "code": str(entry.code),
        "task": entry.task,
        "source": entry.source,
        "found_by": entry.found_by,
        "printed": dict(entry.printed),
        "measured": vars(entry.measured),
        "counts": entry.counts,
        "input_size": entry.setting.input_size,
        "latency": dict(entry.latency),
        "paper_accuracy": dict(entry.accuracy),
        "recipe": entry.recipe,
        "weights": {tag: weights.get("accuracy") for tag, weights in entry.weights.items()},
        "notes": entry.notes,
    }


class Found(NamedTuple):
    """What a name or a text means.

    Attributes:
        code: The code.
        entry: The registry's entry, if a name was given.
        setting: What it is counted with.
        stages: Its stages and their costs.
    """

    code: Code
    entry: Entry | None
    setting: Setting
    stages: list[StageRow]


def look_up(text: str, arguments: argparse.Namespace) -> Found:
    """What a name, a code or a saved network means, under the options of `add_input`.

    Raises:
        ValueError: If there is none such, or the options do not go with it.
    """
    from autobss_zoo import Setting
    from autobss_zoo.families import family_of
    from autobss_zoo.names import is_saved
    from autobss_zoo.registry import find

    if is_saved(text):
        from autobss_zoo.hub import code_of

        entry, (code, known) = None, code_of(text)
    else:
        code, entry = find(text)
        known = entry.setting if entry else None
    family = family_of(code)
    known = known or family.setting(code=code)
    given = {name: value for name in known.describe() if (value := getattr(arguments, name)) is not None}
    if (side := family.stated_side(code)) and given.get("input_size", side) != side:
        raise ValueError(f"--input-size: {code} is for images of {side} pixels; leave it out")
    setting = Setting(**{**known.describe(), **given})
    return Found(code, entry, setting, family.stage_rows(code, setting))


def _info(arguments: argparse.Namespace) -> int:
    found = look_up(arguments.network, arguments)
    total = reduce(add, (stage.cost for stage in found.stages))
    if arguments.json:
        print(json.dumps(_info_facts(found, total), indent=2))
        return 0
    code, entry, setting, _ = found
    print_rich(f"{entry.name + ': ' if entry else ''}{code}\n")
    _print_stages(found, total)
    part = "The backbone, with a classifier, of" if entry and entry.counts else "Of"
    size, channels = setting.input_size, setting.in_chans
    print_rich(f"{part} one {size}x{size} image with {channels} channels, {setting.num_classes} classes.")
    print_rich(f"Activations, the outputs of convolutions and linear layers: {total.activations:,}.")
    if entry:
        _print_entry(entry)
    return 0


def _info_facts(found: Found, total: Cost) -> dict[str, Any]:
    return {
        "code": str(found.code),
        "family": found.code.family,
        "elements": found.code.as_dict(),
        **found.setting.describe(),
        **vars(total),
        "stages": {stage.name: vars(stage.cost) for stage in found.stages},
        "entry": _facts(found.entry) if found.entry else None,
    }


def _print_stages(found: Found, total: Cost) -> None:
    """A table of the stages, and the fields that are of the whole network."""
    from autobss_zoo.families.family import shown, titles

    columns = titles(found.stages)
    table = make_table("stage", *_headings(columns, found.stages), "MACs>", "share>", "parameters>")
    for stage in found.stages:
        share = f"{stage.cost.macs / total.macs:.1%}"
        values = (shown(stage, title) for title in columns)
        table.add_row(stage.name, *values, f"{stage.cost.macs:,}", share, f"{stage.cost.params:,}")
    table.add_section()
    table.add_row("total", *[""] * len(columns), f"{total.macs:,}", "", f"{total.params:,}")
    print_rich(table)
    for field in found.code.layout.fields:
        if field.title not in columns:
            print_rich(f"{field.title}: {' '.join(map(str, found.code.titled(field.title)))}")


def _print_entry(entry: Entry) -> None:
    from autobss_zoo.registry import weights_text

    of = f" ({entry.counts})" if entry.counts else ""
    names = {"macs": f"MACs{of}", "params": "parameters"}
    if printed := [f"{value} {names[name]}" for name, value in entry.printed.items()]:
        print_rich(f"Printed in the paper ({entry.source}): {', '.join(printed)}.")
    else:
        print_rich(f"Source: {entry.source}.")
    print_rich(f"Measured: {entry.measured.macs:,} MACs{of}, {entry.measured.params:,} parameters.")
    for runtime, ms in entry.latency.items():
        print_rich(f"Measured on one CPU thread in {runtime}: {ms} ms.")
    for what, percent in entry.accuracy.items():
        print_rich(f"The paper's accuracy: {percent}% {what}.")
    if entry.notes:
        print_rich(entry.notes)
    for tag, weights in entry.weights.items():
        print_rich(f"Weights {tag}: {weights_text(weights)}.")
    if not entry.weights:
        print_rich(f"Weights: none published; the recipe {entry.recipe} makes them.")


def _headings(titles: Sequence[str], stages: Sequence[StageRow]) -> list[str]:
    """The headings of columns of elements: a number, or several in a cell."""
    several = {title for stage in stages for title, values in stage.values.items() if len(values) > 1}
    return [f"{title}>>" if title in several else f"{title}>" for title in titles]


def make_table(*headings: str) -> Any:
    """A table; a heading that ends in > is of numbers, aligned right, and one that ends in >> of several in a cell."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        right, whole = heading.endswith(">"), heading.endswith(">") and not heading.endswith(">>")
        table.add_column(heading.rstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=whole)
    return table


def _compare(arguments: argparse.Namespace) -> int:
    from autobss_zoo.plots import plot_allocation, stages_of_both

    a, b = (look_up(network, arguments) for network in (arguments.a, arguments.b))
    for (name, value), other in zip(a.setting.describe().items(), b.setting.describe().values(), strict=True):
        if value != other:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{arguments.a} is counted with {name} {value}, {arguments.b} with {other}: give {option}")
    stages_of_both(a.stages, b.stages)
    if arguments.plot:  # first, so that an error prints nothing else
        plot_allocation([(arguments.a, a.code), (arguments.b, b.code)], arguments.plot, a.setting)
    print_rich(f"A: {arguments.a if '{' in arguments.a else f'{arguments.a}: {a.code}'}")
    print_rich(f"B: {arguments.b if '{' in arguments.b else f'{arguments.b}: {b.code}'}")
    print_rich(_side_by_side(a, b))
    if arguments.plot:
        print_rich(f"wrote {arguments.plot}")
    return 0


def _side_by_side(a: Found, b: Found) -> Any:
    """A table with two rows a stage, one for each network."""
    from autobss_zoo.families.family import shown, titles

    most = max(stage.cost.macs for stage in (*a.stages, *b.stages))
    columns = titles((*a.stages, *b.stages))
    longest = 20 if len(columns) == 2 else 10  # bars, so that a row fits 80 columns
    table = make_table("stage", "", *_headings(columns, (*a.stages, *b.stages)), "MACs>", "", "params>")
    for both in zip(a.stages, b.stages, strict=True):
        for label, stage in zip("AB", both, strict=True):
            table.add_row(
                stage.name if label == "A" else "",
                label,
                *(shown(stage, title) for title in columns),
                f"{stage.cost.macs / 1e6:,.1f}M",
                "█" * round(longest * stage.cost.macs / most),
                f"{stage.cost.params / 1e6:,.3f}M",
            )
    table.add_section()
    for label, found in (("A", a), ("B", b)):
        total = reduce(add, (stage.cost for stage in found.stages))
        figures = (f"{total.macs / 1e6:,.1f}M", "", f"{total.params / 1e6:,.3f}M")
        table.add_row("total" if label == "A" else "", label, *[""] * len(columns), *figures)
    return table


def _export(arguments: argparse.Namespace) -> int:
    from autobss_zoo.export.classifiers import to_onnx
    from autobss_zoo.files import check_output

    check_output(arguments.path)
    size = arguments.input_size
    if isinstance(size, tuple):  # what networks are counted with is square
        arguments.input_size = size[0]
    options = {name: getattr(arguments, name) for name in ("batch", "half", "opset")}
    report = to_onnx(_network(arguments), arguments.path, input_size=size, **options)
    macs = f"{report.macs:,} MACs, " if report.macs is not None else ""
    print_rich(
        f"wrote {report.path}: opset {report.opset}, {macs}{report.params:,} parameters; ONNX Runtime"
        f" differs from PyTorch by at most {report.max_abs_error:.2g} (relative {report.max_rel_error:.2g})"
    )
    return 0


def _network(arguments: argparse.Namespace) -> Any:
    """The network that a name, a code or a folder of a trained one means, with the weights that are asked for."""
    from autobss_zoo import from_pretrained
    from autobss_zoo.names import is_saved

    if is_saved(arguments.network):
        given = ("in_chans", "num_classes", "features_only", "pretrained", "weights")
        if odd := [name for name in given if getattr(arguments, name)]:
            raise ValueError(f"--{odd[0].replace('_', '-')}: a saved network is as it was trained; leave it out")
        return from_pretrained(arguments.network)
    _, entry, setting, _ = look_up(arguments.network, arguments)
    if entry is not None and entry.architecture:
        return _composed(arguments, entry)
    if arguments.features_only and arguments.num_classes:
        raise ValueError("--num-classes: feature maps have no classes; leave it out")
    return _backbone(arguments, setting)


def _composed(arguments: argparse.Namespace, entry: Entry) -> Any:
    """A detector or segmenter of the registry."""
    from autobss_zoo import create_model

    if arguments.features_only or arguments.in_chans:
        option = "features-only" if arguments.features_only else "in-chans"
        raise ValueError(f"--{option}: is for backbones: give {entry.code} for that of {entry.name}")
    classes = {"num_classes": arguments.num_classes} if arguments.num_classes else {}
    model: Any = create_model(arguments.network, pretrained=arguments.pretrained, **classes)
    if arguments.weights:
        from autobss_zoo.training.pretrained import fill

        fill(model, arguments.weights, arguments.network)
    return model


def _backbone(arguments: argparse.Namespace, setting: Setting) -> Any:
    """A classifier, or its feature maps."""
    from autobss_zoo import create_model
    from autobss_zoo.errors import AutoBSSError, WeightsError

    options: dict[str, Any] = {"in_chans": setting.in_chans}
    if arguments.weights:
        size = setting.input_size
        options["pretrained_cfg_overlay"] = {
            "file": arguments.weights,
            "num_classes": setting.num_classes,
            "input_size": (setting.in_chans, size, size),
        }
    if arguments.features_only:
        options["features_only"] = True
    else:
        options["num_classes"] = setting.num_classes
    try:
        return create_model(arguments.network, pretrained=bool(arguments.pretrained or arguments.weights), **options)
    except AutoBSSError:
        raise
    except Exception as error:  # safetensors and pickle have kinds of their own
        if not arguments.weights:
            raise
        raise WeightsError(f"{arguments.weights}: cannot load it into {arguments.network}: {error}") from error
