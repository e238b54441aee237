"""The named codes: the papers' networks, with their figures and sources, and those that were trained here.

A published network is a folder <name>.<tag> as `autobss publish` writes it. The package's own are in its folder
published/; folders that the environment variable AUTOBSS_ZOO names (separated as in PATH) add a user's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import yaml

from .codes import Code
from .cost import Cost, Setting
from .errors import UnknownNameError, WeightsError, did_you_mean, shown
from .families import Family, family_of
from .latencies import latencies
from .names import check_name


@dataclass(frozen=True)
class Entry:
    """A named code.

    Attributes:
        name: The registry's name, e.g. "resnet50_autobss".
        code: The block-stacking code.
        found_by: "original", "random", "uniform" or "autobss"; of published networks also other words.
        source: The paper's tables, or the study that found the code.
        paper: Title, authors and place of the paper; empty for networks that were published after it.
        printed: The paper's macs and params as it prints them, e.g. {"macs": "4.03B", "params": "23.73M"}; empty where
            it prints none.
        measured: Exact macs, params and activations; macs and activations are of what `counts` says.
        recipe: The name of the recipe that trains the network.
        accuracy: The paper's results in percent, by what they are.
        task: "classification", "detection" or "segmentation".
        architecture: Of a detector or segmenter over the code's backbone, e.g. "maskrcnn".
        setting: What the network is counted with: the image's side in pixels and its channels, and the classes.
        counts: What the macs count; empty for the whole network.
        notes: What deviates from the paper, and why.
        weights: Published weights by tag; see `autobss_zoo.weights`.
    """

    name: str
    code: Code
    found_by: str
    source: str
    printed: Mapping[str, str]
    measured: Cost
    recipe: str
    setting: Setting
    paper: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    task: str = "classification"
    architecture: str = ""
    counts: str = ""
    notes: str = ""
    weights: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def timm_name(self) -> str:
        """The name in timm's name space."""
        return timm_name(self.name)

    @property
    def latency(self) -> Mapping[str, float]:
        """Milliseconds for one image on one CPU thread by runtime, "onnxruntime" and "pytorch"; empty if not measured.

        `latencies.measured_on` says where.
        """
        return latencies().get(self.name, {})

    @property
    def family(self) -> Family:
        """The code's family."""
        return family_of(self.code)


PAPERS = ("autobss", "joint", "bcnet", "scalenet")
"""The files of the papers' networks, in the registry's order."""

PLACES = "AUTOBSS_ZOO"
"""The environment variable that names folders of published networks."""

PUBLISHED = Path(__file__).parent / "published"
CONFIGURATION = ("input_size", "num_classes", "mean", "std", "crop_pct", "interpolation", "license", "label_names")


@cache
def entries() -> dict[str, Entry]:
    """Every entry by its name: the papers' in their order, then those that were published after them.

    Raises:
        WeightsError: If a published folder is broken.
    """
    found: dict[str, Entry] = {}
    for paper in PAPERS:
        data = yaml.safe_load((Path(__file__).parent / "zoo" / f"{paper}.yaml").read_text(encoding="utf-8"))
        found |= {name: _entry(name, paper=data["paper"], **fields) for name, fields in data["models"].items()}
    for folder in _published():
        entry = read_published(folder)
        known = check_free(entry.name, entry.code, found.values(), folder)
        found[entry.name] = replace(known, weights={**known.weights, **entry.weights}) if known else entry
    return found


def check_free(name: str, code: Code, known: Iterable[Entry], where: Any) -> Entry | None:
    """The entry that has a name already, None if there is none.

    Args:
        name: A name, which must be of no other code in either spelling.
        code: Its code.
        known: The entries.
        where: What begins an error.

    Raises:
        WeightsError: If the name is of another code.
    """
    spellings = {name, timm_name(name)}
    for entry in known:
        if spellings & {entry.name, entry.timm_name}:
            if (entry.name, entry.code) == (name, code):
                return entry
            also = "" if entry.name == name else f", which is {timm_name(name)} in timm too"
            raise WeightsError(f"{where}: {entry.name} is {entry.code} already{also}; {name} cannot be {code}")
    return None


def timm_name(name: str) -> str:
    """The name in timm's name space of a name in the zoo's spelling: resnet50_autobss is autobss_resnet50 there."""
    return "autobss_" + name.replace("_autobss", "")


def _entry(name: str, family: str, code: list, measured: Mapping, **fields) -> Entry:
    value = Code(family, tuple(code))
    stated = {key: fields.pop(key) for key in Setting().describe() if key in fields}
    setting = family_of(value).setting(Setting(**stated), value)
    return Entry(name, value, measured=Cost(**measured), setting=setting, **fields)


def _published() -> Iterator[Path]:
    """The folders of published networks."""
    named = [Path(place) for place in os.environ.get(PLACES, "").split(os.pathsep) if place]
    if missing := [place for place in named if not place.is_dir()]:
        raise WeightsError(f"{PLACES}: {missing[0]} is no folder; expected folders of published networks")
    places = [PUBLISHED, *named]
    return (path.parent for place in places for path in sorted(place.glob("*.*/config.json")))


def of_timm(weights: Mapping[str, Any]) -> str:
    """timm's name of published weights that are its own, in its repository on the Hub; empty for others."""
    repository = weights.get("hf_hub_id", "")
    return repository.removeprefix("timm/") if repository.startswith("timm/") else ""


def weights_text(weights: Mapping[str, Any]) -> str:
    """What there is to say of published weights, in a line."""
    if of_timm(weights):
        return f"timm's own ({of_timm(weights)}, from the Hugging Face Hub), whose licence and accuracy timm states"
    return weights["accuracy"]["text"]


def read_published(folder: Path) -> Entry:
    """The entry of a published network.

    Raises:
        WeightsError: If the folder is not one that `autobss publish` has written.
    """
    from .configuration import CONFIG_NAME, Configuration, read_config  # pydantic takes long to import

    config = read_config(folder / CONFIG_NAME)
    if not (isinstance(config, Configuration) and config.published and config.code and config.sha256):
        raise WeightsError(f"{folder}: no published network (published, code or sha256 is missing in {CONFIG_NAME})")
    facts, prepared = config.published, config.pretrained_cfg
    try:
        check_name(facts.name, facts.tag)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    code, setting = (
        Code.parse(config.code),
        Setting(prepared.input_size[-1], prepared.input_size[0], prepared.num_classes),
    )
    weights = {
        **{key: value for key, value in config.timms.items() if key in CONFIGURATION},
        "file": str(folder / "model.safetensors"),
        "sha256": config.sha256,
        "accuracy": facts.accuracy.model_dump(),
    }
    cost = family_of(code).cost(code, setting)
    return Entry(
        facts.name,
        code,
        facts.found_by,
        facts.source,
        {},
        cost,
        facts.recipe,
        setting,
        weights={facts.tag: weights},
    )


def list_models(
    pattern: str = "",
    *,
    family: str | None = None,
    task: str | None = None,
    pretrained: bool = False,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_latency: float | None = None,
) -> list[str]:
    """Names in the registry, in the papers' order.

    Args:
        pattern: Wildcards as in a shell, matched with either spelling of a name; everything when empty.
        family: A family's name, e.g. "resnet50": its networks and those of the families that vary it.
        task: "classification", "detection" or "segmentation".
        pretrained: Only networks with published weights.
        max_macs: Only networks of at most these MACs, e.g. 300e6.
        max_params: Only networks of at most these parameters.
        max_latency: Only networks that take at most these milliseconds in ONNX Runtime (`Entry.latency`); those that
            were not measured are left out.

    Raises:
        UnknownNameError: If no entry has the family or the task.
        TypeError: If a bound is no number.
    """
    every = entries().values()
    for key, most in (("max_macs", max_macs), ("max_params", max_params), ("max_latency", max_latency)):
        if most is not None and (isinstance(most, bool) or not isinstance(most, Real)):
            raise TypeError(f"{key}: expected a number such as 300e6, got {most!r}")
    for key, wanted, known in (
        ("family", family, {n for e in every for n in (e.code.family, e.family.base)}),
        ("task", task, {e.task for e in every}),
    ):
        if wanted is not None and wanted not in known:
            raise UnknownNameError(f"unknown {key} {wanted!r}: {did_you_mean(str(wanted), known)}")

    def matches(e: Entry) -> bool:
        return (
            (not pattern or fnmatchcase(e.name, pattern) or fnmatchcase(e.timm_name, pattern))
            and family in (None, e.code.family, e.family.base)
            and task in (None, e.task)
            and (not pretrained or bool(e.weights))
            and (max_macs is None or e.measured.macs <= max_macs)
            and (max_params is None or e.measured.params <= max_params)
            and (max_latency is None or e.latency.get("onnxruntime", math.inf) <= max_latency)
        )

    return [e.name for e in every if matches(e)]


@cache
def _by_name() -> dict[str, Entry]:
    return {name: entry for entry in entries().values() for name in (entry.name, entry.timm_name)}


def get(name: str) -> Entry:
    """The entry called `name`, in either spelling.

    Raises:
        UnknownNameError: If there is none; the message names the nearest ones.
    """
    try:
        return _by_name()[name]
    except (KeyError, TypeError):
        near = did_you_mean(str(name), _by_name(), "`autobss list` shows all")
        raise UnknownNameError(f"unknown network {name!r}: {near}") from None


def find(name_or_code: str | Code) -> tuple[Code, Entry | None]:
    """The code that a name (with or without a tag of weights) or a text means, and its entry if a name was given.

    Raises:
        CodeError: If it is a broken code.
        UnknownNameError: If it is an unknown name or tag.
    """
    if isinstance(name_or_code, Code):
        return name_or_code, None
    if "{" in name_or_code:
        return Code.parse(name_or_code), None
    name, dot, tag = name_or_code.partition(".")
    entry = get(name)
    if dot and tag not in entry.weights:
        tags = f"its tags are {', '.join(entry.weights)}" if entry.weights else "none are published"
        raise UnknownNameError(f"{name} has no weights with the tag {shown(tag)}: {tags}")
    return entry.code, entry
