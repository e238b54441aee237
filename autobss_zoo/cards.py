"""Model cards and the table of costs, made from the registry: `python -m autobss_zoo.cards` writes them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from .codes import Code
from .cost import Setting
from .families import family_of
from .families.family import shown, titles
from .files import write_atomically
from .models import setting_of
from .recipes import resolve
from .registry import Entry, entries, timm_name, weights_text

ROOT = Path(__file__).parents[1]


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    lines = [list(map(str, row)) for row in (header, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rounded(figure: int) -> str:
    """A figure as papers print it, with one digit more: 1.8141B, 385.8M."""
    return f"{figure / 1e9:.4f}B" if figure >= 1e9 else f"{figure / 1e6:.2f}M"


_PIPELINES = {
    "classification": "image-classification",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
}


def _front_matter(task: str, license: str | None, **facts: Any) -> str:
    data = ModelCardData(
        license=license,
        library_name="timm" if task == "classification" else "autobss-zoo",
        pipeline_tag=_PIPELINES[task],
        tags=["timm", "autobss", task],
        **facts,
    )
    return f"---\n{data.to_yaml()}\n---"


def _stages(code: Code, setting: Setting) -> str:
    stages = family_of(code).stage_rows(code, setting)
    first, *others = titles(stages)
    rows = []
    for stage in stages:
        fixed = "" if stage.values else "fixed"
        values = [shown(stage, first) or fixed, *(shown(stage, title) for title in others)]
        rows.append([stage.name.removeprefix("stage"), *values, f"{stage.cost.macs:,}", f"{stage.cost.params:,}"])
    return table(["stage", first, *others, "MACs", "parameters"], rows)


def _load(name: str) -> str:
    return f"""```python
import autobss_zoo, timm, torch

{name}
```"""


def card(entry: Entry) -> str:
    """The model card of a registry entry, in Markdown."""
    composed = bool(entry.architecture)
    settings = resolve(entry.recipe).values
    measured = table(
        ["", "printed in the paper", "measured"],
        [
            ["MACs", entry.printed.get("macs", "not printed"), f"{entry.measured.macs:,}"],
            ["parameters", entry.printed.get("params", "not printed"), f"{entry.measured.params:,}"],
        ],
    )
    counts = entry.counts or "the whole network"
    setting = entry.setting
    pixels = f"{setting.input_size}x{setting.input_size}"
    of_backbone, of_network = (
        (", of the backbone", " for MACs, the whole network for parameters") if composed else ("", "")
    )
    accuracy = table(["", "reported by the paper, %"], entry.accuracy.items()) if entry.accuracy else "None is printed."
    published = " ".join(f"`{entry.name}.{tag}`: {weights_text(w)}." for tag, w in entry.weights.items())
    of_timm = "  # the backbone, with a classifier" if composed else ""
    load = f'''model = timm.create_model("{entry.timm_name}"){of_timm}
model = autobss_zoo.create_model("{entry.name}")
model = torch.hub.load(<this repository>, "{entry.name}")'''
    return f"""{_front_matter(entry.task, "apache-2.0")}

<!-- Written by `make cards`; do not edit. -->

# {entry.name}

`{entry.code}`

Found by: {entry.found_by}. Source: {entry.paper}, {entry.source}.

## Stages

At {pixels} pixels{of_backbone}; the first stage is the stem, the last the classifier.

{_stages(entry.code, Setting(setting.input_size))}

## Cost

Of one {pixels} image, {counts}{of_network}.
MACs are those of convolutions and linear layers.

{measured}

{entry.notes}

## Accuracy

The paper's, not reproduced here:

{accuracy}

## Weights

{published or "None are published yet."} `autobss train {entry.recipe}` trains it, with:

{table(["setting", "value"], settings.items())}

## Use

{_load(load)}

## Licence and limits

The code is Apache-2.0. Untrained, the network answers at random. The accuracies above belong to the paper's own
weights, which were never published.
""".replace("\n\n\n", "\n\n")


_MARK = "<!-- Written by autobss_zoo, which keeps this card once you edit it: {} -->\n"
_TO_STATE = (
    "The weights are their uploader's. State here the data, the recipe and the accuracy with which they were measured."
)


def write_card(folder: Path, text: str, before: Path) -> None:
    """Write a card as README.md, which ends with its digest: a card is kept that somebody wrote, or wrote in.

    Args:
        folder: Where to write it.
        text: The card.
        before: The folder whose place `folder` takes, with the card that may be kept.
    """
    try:
        old = (before / "README.md").read_bytes()
    except FileNotFoundError:
        old = b""
    last = old.rfind(b"<!-- Written by")
    edited = old and (last < 0 or old != _marked(old[:last]))
    write_atomically(folder / "README.md", old if edited else _marked(text.encode()))


def _marked(text: bytes) -> bytes:
    return text + _MARK.format(hashlib.sha256(text).hexdigest()[:16]).encode()


def hub_card(model: Any, license: str | None = None, text: str = "") -> str:
    """The model card of a network that its user saves or uploads, in Markdown.

    Args:
        model: A classifier of this zoo (timm.models.ResNet or EfficientNet), made by `create_model`, timm or torch.hub.
        license: Of the weights, as the Hub calls it; not stated when None.
        text: The user's own, Markdown.
    """
    return f"""{_of_model(model, license)}

## Training

{text or _TO_STATE}
"""


def composed_card(model: Any, license: str | None = None, text: str = "") -> str:
    """The model card of a detector or segmenter that its user saves or uploads; arguments as of `hub_card`."""
    about = model.about
    arguments = table(["argument", "value"], about.arguments.items())
    params = sum(p.numel() for p in model.parameters())
    return f"""{_front_matter(about.task, license)}

# {about.architecture} over {about.code}

A {about.task} network of autobss-zoo (`pip install autobss-zoo`): {rounded(params)} parameters ({params:,}).

{arguments}

Classes: {", ".join(about.label_names) or "not named"}.

## Use

```python
import autobss_zoo

model = autobss_zoo.from_pretrained("<owner/name or this folder>")
```

## Training

{text or _TO_STATE}
"""


_ELSEWHERE = '''model = timm.create_model("hf-hub:<owner>/<name>", pretrained=True)  # or "local-dir:<folder>"
model = autobss_zoo.from_pretrained("<owner>/<name>")  # or "<folder>"'''


def _of_model(model: Any, license: str | None, load: str = _ELSEWHERE, **facts: Any) -> str:
    """What is known of any network: its code, costs, stages, and how to load it."""
    code: Code = model.about.code
    setting = setting_of(model)
    size, in_chans, num_classes = setting.describe().values()
    cost = family_of(code).cost(code, setting)
    return f"""{_front_matter("classification", license, **facts)}

# {code}

A network of autobss-zoo (`pip install autobss-zoo`), built on timm: {in_chans} input channels, {num_classes} classes,
{size}x{size} pixels, {rounded(cost.macs)} MACs ({cost.macs:,}), {rounded(cost.params)} parameters ({cost.params:,}).

{_stages(code, setting)}

## Use

{_load(load)}
"""


def trained_card(model: Any, facts: Mapping[str, Any], settings: Mapping[str, Any], text: str = "") -> str:
    """The model card of a published network, in Markdown.

    Args:
        model: The network.
        facts: What is published: name, tag, found_by, source, license (None if it is not stated), data, data_licence,
            accuracy (with top1, percent, and a text) and machine.
        settings: Of the training.
        text: The user's own, Markdown.
    """
    name = f"{facts['name']}.{facts['tag']}"
    result = EvalResult(
        task_type="image-classification",
        dataset_type=settings["data"],
        dataset_name=facts["data"],
        metric_type="accuracy",
        metric_name="top-1 accuracy, %",
        metric_value=round(facts["accuracy"]["top1"], 4),
    )
    load = f'''model = timm.create_model("{timm_name(name)}", pretrained=True)
model = autobss_zoo.create_model("{name}", pretrained=True)
model = autobss_zoo.from_pretrained("<this folder or repository>")'''
    about = _of_model(model, facts["license"], load, model_name=name, eval_results=[result])
    return f"""{about.replace("# " + str(model.about.code), f"# {name}", 1)}
The code is `{model.about.code}`. Found by: {facts["found_by"]}. Source: {facts["source"]}.

## Accuracy

{facts["accuracy"]["text"]}.
The interval is Wilson's, of how well this one network does on other images of the same kind; another training of the
same recipe with another seed gives another network.

![The loss and the accuracy by epoch](curve.png)

## Training

On {facts["data"]}, by {facts["machine"]}.
`recipe.yaml` beside this card is the whole recipe; to train it again:

```bash
autobss train recipe.yaml --folder run
autobss evaluate run/last --data {settings["data"]}
```

{table(["setting", "value"], settings.items())}

{text}

## Licence and limits

The weights' licence: {facts["license"] or "not stated"}. The data are licensed by their owners
({facts["data_licence"]}). The network knows only images like those it was trained on, of the size and channels
above, and has not been examined for bias or for robustness.
""".replace("\n\n\n\n", "\n\n")


def costs_table() -> str:
    """docs/costs.md: printed against measured, of every paper's entries."""
    header = ["network", "MACs, printed", "measured", "parameters, printed", "measured", "pixels, counted", "notes"]
    papers = dict.fromkeys(entry.paper for entry in entries().values() if entry.paper)
    tables = "\n\n".join(
        f"## {paper}\n\n{table(header, [_costs(e) for e in entries().values() if e.paper == paper])}"
        for paper in papers
    )
    return f"""<!-- Written by `make cards`; do not edit. -->

# Costs: printed and measured

Every network of the papers. MACs are the
multiply-accumulates of convolutions and linear layers for one image, which the papers print as FLOPs; parameters are
all learned ones, of the whole detector or segmenter where the network is one. "Measured" is exact: the closed form,
fvcore's count of the network and the count of the exported ONNX graph agree (of detectors and segmenters: fvcore's
count).

{tables}
"""


def _costs(entry: Entry) -> list[str]:
    return [
        f"`{entry.name}`",
        entry.printed.get("macs", "-"),
        f"{rounded(entry.measured.macs)} ({entry.measured.macs:,})",
        entry.printed.get("params", "-"),
        f"{rounded(entry.measured.params)} ({entry.measured.params:,})",
        f"{entry.setting.input_size}{', ' + entry.counts if entry.counts else ''}",
        entry.notes,
    ]


def files() -> Mapping[Path, str]:
    """Every generated file and its text."""
    cards = {ROOT / "model_cards" / f"{name}.md": card(entry) for name, entry in entries().items() if entry.paper}
    return {**cards, ROOT / "docs" / "costs.md": costs_table()}


def main() -> None:
    """Write the cards and the table, and remove cards of entries that are gone."""
    wanted = files()
    for path in (ROOT / "model_cards").glob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        write_atomically(path, text.encode())


if __name__ == "__main__":
    main()
