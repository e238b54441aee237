"""Bad inputs of the command, made up from the structure of good ones: what `bad_inputs.py` tries.

A class is a function that prepares a folder and returns the command. It draws everything from the random generator that
it is given, so that a case is known by its class, its number and the seed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml
from odd import file_name, json_text, mutated, number, put, spoilt, text, value, yaml_text

CODE = "resnet18_small{8,8,16,16,1,1,1,1}"
TRAINING = {"base": "small/digits", "model": CODE, "input_size": 8, "epochs": 1, "batch_size": 256, "holdout": 0.25,
            "learning_rate": 0.1, "seed": 0, "warmup_epochs": 0, "weight_decay": 0.0005}  # fmt: skip
SPACE = {"family": "resnet18_small", "C": {"step": 8, "high": [16, 16, 32, 32]}, "L": {"step": 1, "high": 2},
         "budget": {"macs": "1M"}}  # fmt: skip
SEARCH = {"rounds": 1, "batch": 2, "seed": 0, "searcher": "random", "budget": {"macs": 1000}}


@dataclass(frozen=True)
class Case:
    """A command in a folder.

    Attributes:
        arguments: Of `autobss`.
        refused: Whether it has to be; a damaged input may also be a legal one.
        environment: Variables that are set.
        output: Where standard output goes: a file, "full" (a disk without room) or "closed".
        ended_after: Seconds after which the process is asked to end; never when None.
    """

    arguments: list[str]
    refused: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    output: str = "file"
    ended_after: float | None = None


@dataclass(frozen=True)
class Made:
    """Good inputs in a folder: network/, run/ (a training), study/, table.json and device.json."""

    folder: Path

    def copy(self, name: str) -> str:
        """Put one of them into the working folder."""
        source = self.folder / name
        if source.is_dir():
            shutil.copytree(source, name)
        else:
            shutil.copy(source, name)
        return name


Maker = Callable[[Random, Made], Case]
CLASSES: dict[str, Maker] = {}


def bad(maker: Maker) -> Maker:
    """Register a class of bad inputs by its function's name."""
    CLASSES[maker.__name__.replace("_", " ")] = maker
    return maker


def place_for_no_file(r: Random, suffix: str) -> str:
    """A path where no file can be written."""
    path = file_name(r)[:20] + suffix
    kind = r.choice(("folder", "missing", "below a file", "loop", "dangling", "socket", "disk", "full", "long"))
    if kind == "missing":
        return f"{file_name(r)}/no/{path}"
    if kind == "below a file":
        return f"{put('file', b'')}/{path}"
    if kind == "long":
        return "x" * r.randint(256, 5000) + suffix
    if kind == "folder":
        os.mkdir(path)
    elif kind == "loop":
        os.symlink("other", path)
        os.symlink(path, "other")
    elif kind == "dangling":
        os.symlink("missing/file", path)
    elif kind == "socket" or os.geteuid() != 0:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("s")
        os.rename("s", path)
    else:  # a node of our own: a disk that is not there, or a second /dev/full
        disk = kind == "disk"
        device = os.makedev(259, 1048575) if disk else os.makedev(1, 7)
        os.mknod(path, (stat.S_IFBLK if disk else stat.S_IFCHR) | 0o600, device)
    return path


@bad
def writing(r: Random, made: Made) -> Case:
    verb = r.randrange(7)
    if verb == 0:
        return Case(["compare", CODE, CODE, "--plot", place_for_no_file(r, r.choice((".png", ".svg", ".pdf")))])
    if verb == 1:
        return Case(["export", CODE, place_for_no_file(r, ".onnx"), "--input-size", "32"])
    if verb == 2:
        return Case(["train", put("r.yaml", yaml.safe_dump(TRAINING)), "--folder", place_for_no_folder(r)])
    if verb == 3:
        return Case(["search", "--table", made.copy("table.json"), "--rounds", "1", "--folder", place_for_no_folder(r)])
    if verb == 4:
        return Case(["report", made.copy("study"), "--plots", place_for_no_folder(r)])
    option = r.choice(("--csv", "--json", "--html"))
    return Case(["report", made.copy("study"), option, place_for_no_file(r, ".x")])


def place_for_no_folder(r: Random) -> str:
    """A path where no folder can be made."""
    kind = r.choice(("file", "below", "loop", "pipe", "long"))
    if kind == "long":
        return "x" * r.randint(256, 5000)
    path = file_name(r)
    if kind == "loop":
        os.symlink("other", path)
        os.symlink(path, "other")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        put(path, b"x")
    return f"{path}/below" if kind == "below" else path


@bad
def numbers(r: Random, made: Made) -> Case:
    size = {"--input-size": 1, "--in-chans": 1, "--num-classes": 1}
    several = {"--workers": 1, "--timeout": 0, "--cpus-per-trial": 0, "--nodes-per-trial": 1, "--retries": 0}
    arguments, options = r.choice((
        (["info", CODE], size),
        (["compare", CODE, CODE], size),
        (["export", CODE, "out.onnx"], size),
        (["evaluate", "network", "--data", "digits"], {"--input-size": 1, "--batch-size": 1, "--workers": 0}),
        (["search", "--table", "table.json"], {"--rounds": 1, "--batch": 1, "--seed": 0, **several}),
        (["resume", "study"], several),
        (["watch", "study", "--once"], {"--interval": 0}),
        (["report", "study"], {"--top": 1, "--trial": 0}),
        (["scale", CODE, "--budget", "1G"], size),
        (["latency", "build", "--space", "resnet18_small", "-o", "d.json"],
         {"--networks": 1, "--held-out": 1, "--blocks": 1, "--seconds": 0, "--threads": 1, "--batch": 1, **size}),
    ))  # fmt: skip
    for name in ("network", "study", "table.json"):
        if name in arguments:
            made.copy(name)
    option = r.choice(list(options))
    given = number(r, options[option])
    return Case([*arguments, *([f"{option}={given}"] if r.random() < 0.7 else [option, given])])


@bad
def arguments(r: Random, made: Made) -> Case:
    """Verbs, options and values that do not exist, are missing or too many."""
    good = r.choice((["info", CODE], ["compare", CODE, CODE], ["export", CODE, "o.onnx"], ["recipes"], ["list"],
                     ["train", "small/digits"], ["evaluate", "n", "--data", "digits"], ["publish", "run"],
                     ["search", "small/digits_search"], ["resume", "s"], ["report", "s"], ["watch", "s"]))  # fmt: skip
    unknown = "--" + (text(r).strip("-=")[:40] or "x") + "x"
    setting = text(r).replace("=", "") + r.choice(("", "=", "=1", "=[", "=*a"))
    odd = text(r) + "!"
    return Case(r.choice((
        [odd, *good[1:]],
        [*good, unknown],
        [*good, f"{unknown}={odd}"],
        [*good, *(text(r) + "x" for _ in range(3))],
        good[:1] if len(good) > 1 and good[0] != "search" else [],
        ["evaluate", text(r), "--data", odd],
        ["publish", "run", "--found-by", odd],
        ["resume", "study", "--executor", odd],
        ["list", "--task", odd],
        ["list", "--family", odd],
        ["train", "small/digits", "--device", odd],
        ["train", "small/digits", "--set", setting],
        ["search", "--train", "small/digits", "--budget", odd],
        ["search", "--train", "small/digits", "--searcher", odd],
        ["search", "--train", "small/digits", "--space", odd],
        ["latency", odd, "device.json"],
        ["latency", "build", "--space", odd, "-o", "d.json"],
        ["bench", odd],
    )))  # fmt: skip


@bad
def names_and_codes(r: Random, made: Made) -> Case:
    letters = list(r.choice((CODE, "resnet50_autobss", "autobss_resnet50", "mnv2_original{1}", "hf-hub:a/b", "a/b@c")))
    for _ in range(r.randint(1, 4)):
        where = r.randrange(len(letters))
        letters[where] = r.choice(("", "{", "}", ",", "-1", "0", "9" * 40, "1e5", "..", "\n", " ", "٣", text(r)[:40]))
    name = "".join(letters)
    harmless = r.choice(("create_model", "default_cfgs", "register_model"))  # functions' names replace nothing
    known = r.choice(("resnet18", "class", "import", "__init__", "dependencies", text(r) + "!"))
    return r.choice((
        lambda: Case(["info", name], False),
        lambda: Case(["compare", CODE, name], False),
        lambda: Case(["export", name + "!", "out.onnx"]),
        lambda: Case(["evaluate", name + "!", "--data", "digits"]),
        lambda: Case(["publish", made.copy("run"), "--name", known]),
        lambda: Case(["publish", made.copy("run"), "--name", harmless], False),
        lambda: Case(["publish", made.copy("run"), "--name", "tiny", "--tag", text(r) + "!"]),
        lambda: Case(["info", f"resnet18_small_autobss.{text(r)[:50]}!"]),
        lambda: Case(["search", "--table", made.copy("table.json"), "--enqueue", name + "!"]),
    ))()  # fmt: skip


@bad
def foreign_folders(r: Random, made: Made) -> Case:
    """A folder of a network, with a damaged or hostile configuration or damaged weights."""
    folder = made.copy("network")
    config, weights = Path(folder, "config.json"), Path(folder, "model.safetensors")
    facts = json.loads(config.read_text())
    match r.randrange(6):
        case 0 | 1:
            config.write_text(json.dumps(mutated(r, facts)))
        case 2:
            hostile = {
                "file": "../other.safetensors",
                "url": "file:///etc/passwd",
                "custom_load": True,
                "hf_hub_id": "a/b",
            }
            for key in r.sample(list(hostile), 2):
                facts["pretrained_cfg"][key] = hostile[key]
            config.write_text(json.dumps(facts))
        case 3:
            key = r.choice(
                ("code", "architecture", "pretrained_cfg", "num_classes", "model_args", "sha256", "num_features")
            )
            config.write_text(json.dumps({**facts, key: value(r)}))
        case 4:
            config.write_bytes(spoilt(r, config.read_bytes()))
        case 5:
            weights.write_bytes(spoilt(r, weights.read_bytes()))
            if r.random() < 0.5:
                config.write_text(json.dumps({k: v for k, v in facts.items() if k != "sha256"}))
    if r.random() < 0.3:
        return Case(["export", folder, "out.onnx"], False)
    return Case(["evaluate", folder, "--data", "digits", "--workers", "0"], False)


@bad
def weights_files(r: Random, made: Made) -> Case:
    good = (made.folder / "network" / "model.safetensors").read_bytes()
    content, header = spoilt(r, good), 8 + int.from_bytes(good[:8], "little")
    name = put(r.choice(("w.safetensors", "w.pth", "w.bin", "odd\nname.pth")), content)
    refused = len(content) != len(good) or content[:header] != good[:header]  # else weights like any others
    if r.random() < 0.5:
        return Case(["export", CODE, "out.onnx", "--in-chans", "1", "--num-classes", "10", "--weights", name], refused)
    return Case(["evaluate", CODE, "--data", "digits", "--weights", name], refused)


@bad
def trainings(r: Random, made: Made) -> Case:
    recipe = put("recipe.yaml", yaml_text(r, TRAINING))
    return Case(["train", recipe, "--folder", "out", "--device", "cpu"], False)


@bad
def searches(r: Random, made: Made) -> Case:
    recipe = put("recipe.yaml", yaml_text(r, {"table": made.copy("table.json"), **SEARCH}))
    return Case(["search", recipe, "--folder", "out"], False)


@bad
def spaces(r: Random, made: Made) -> Case:
    return Case(_trained(yaml_text(r, SPACE)), False)


def _trained(space: bytes | str) -> list[str]:
    """A search of a space with one short training."""
    recipe = put("recipe.yaml", yaml.safe_dump(TRAINING))
    options = ["--rounds", "1", "--batch", "1", "--folder", "out"]
    return ["search", "--train", recipe, "--space", put("space.yaml", space), *options]


@bad
def tables(r: Random, made: Made) -> Case:
    content = json_text(r, made.folder / "table.json")
    return Case(
        ["search", "--table", put("table.json", content), "--rounds", "1", "--batch", "2", "--folder", "out"], False
    )


@bad
def latency_tables(r: Random, made: Made) -> Case:
    content = json_text(r, made.folder / "device.json")
    device, search = put("device.json", content), _trained(yaml.safe_dump(SPACE))
    bound = r.choice(("0.5x", "1x of mnv2_small_original", "1e-9ms", text(r) + "!", number(r, 1)))
    check = ["latency", "check", device, "--space", "space.yaml", "--networks", "4"]
    return Case(r.choice((check, [*search, "--device", device, "--budget", f"latency={bound}"])), False)


@bad
def benchmarks(r: Random, made: Made) -> Case:
    content = json_text(r, made.folder / "table.json")
    return Case(["bench", put(r.choice(("table.json", "table.json.xz")), content), "--plot", "o.png"], False)


@bad
def scalings(r: Random, made: Made) -> Case:
    """Strategies that are none, or of networks that nobody can have."""
    network = r.choice((CODE, "scalenet_s0", "mnv2_original", text(r) + "!"))
    pairs = [f"{r.choice('dwrx')}={number(r, 0) if r.random() < 0.5 else r.choice((1, 1.5, 1e-9, 1e6))}" for _ in "dwr"]
    return Case(["scale", network, r.choice((f"--strategy={','.join(pairs)}", f"--budget={number(r, 1)}"))], False)


@bad
def supernets(r: Random, made: Made) -> Case:
    """A search on a supernet, which it trains first, and a training of its answer."""
    tiny = {"base": "small/digits", "input_size": 8, "train_images": 100, "evaluate_every": None, "epochs": 1,
            "warmup_epochs": 0}  # fmt: skip
    score = {"kind": "supernet", **tiny, "task": "supernet", "space": "width_bench_plain", "images": 100}
    search = {"score": score, "searcher": "nsga2", "enqueue": "prior", "rounds": 1, "batch": 2, "retrain": tiny}
    return Case(["search", put("recipe.yaml", yaml_text(r, search)), "--folder", "out"], False)


@bad
def studies(r: Random, made: Made) -> Case:
    """A study's folder with a damaged, foreign or missing file, or an impossible storage."""
    folder = Path(made.copy("study"))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = r.choice(files)
    match r.randrange(5):
        case 0:
            path.unlink()
        case 1:
            path.unlink()
            path.mkdir()
        case 2:
            recipe = yaml.safe_load((folder / "search.yaml").read_text())
            place = r.choice(("nowhere://", "sqlite:///no/file.db", "mysql://a@127.0.0.1:9/x", "postgresql://127.0.0.1:9/x",
                              "postgresql://a:secret@nowhere.invalid/x", text(r) + "!", "redis://x"))  # fmt: skip
            changed = {**recipe, "storage": place} if r.random() < 0.4 else mutated(r, recipe)
            (folder / "search.yaml").write_text(yaml.safe_dump(changed))
        case _:
            path.write_bytes(spoilt(r, path.read_bytes()))
    verb = r.choice(
        (["report"], ["report", "--csv", "o.csv"], ["watch", "--once"], ["resume"], ["report", "--html", "o.html"],
         ["report", str(made.folder / "study")], ["report", "--front", "front"])
    )  # fmt: skip
    return Case([verb[0], str(folder), *verb[1:]], False)


@bad
def runs(r: Random, made: Made) -> Case:
    """A training's folder with a damaged, foreign or missing file."""
    folder = Path(made.copy("run"))
    path = r.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    match r.randrange(4):
        case 0:
            path.unlink()
        case 1 if path.suffix == ".json":
            path.write_text(json.dumps(mutated(r, json.loads(path.read_text()))))
        case 2 if path.suffix == ".yaml":
            put(str(path), yaml_text(r, yaml.safe_load(path.read_text())))
        case _:
            path.write_bytes(spoilt(r, path.read_bytes()))
    if r.random() < 0.5:
        return Case(["publish", str(folder), "--name", "tiny", "--to", "zoo"], False)
    return Case(["train", put("r.yaml", yaml.safe_dump(TRAINING)), "--folder", str(folder), "--device", "cpu"], False)


@bad
def data_folders(r: Random, made: Made) -> Case:
    """Images that are none, or no folder of them."""
    kind = r.choice(("imagenet", "imagefolder", "coco", "voc"))
    for part in ("train", "val"):
        for label in ("a", "b"):
            folder = Path("data", part, label)
            folder.mkdir(parents=True)
            for i in range(r.randrange(3)):
                (folder / f"{i}.{r.choice(('png', 'JPEG', 'txt'))}").write_bytes(
                    spoilt(r, b"\x89PNG\r\n\x1a\n" + bytes(200))
                )
    network = made.copy("network")
    return Case(
        ["evaluate", network, "--data", kind, "--data-dir", r.choice(("data", "nowhere", network)), "--workers", "0"]
    )


@bad
def ignored_options(r: Random, made: Made) -> Case:
    """Options that mean nothing in this place."""
    n = str(r.randint(1, 64))
    return Case(r.choice((
        lambda: ["evaluate", made.copy("network"), "--data", "digits", "--weights", put("w.pth", b"x")],
        lambda: ["evaluate", made.copy("network"), "--data", "digits", "--pictures", "p"],
        lambda: ["evaluate", made.copy("network"), "--data", "digits", "--data-dir", "nowhere"],
        lambda: ["export", made.copy("network"), "o.onnx", r.choice(("--num-classes", "--in-chans")), n],
        lambda: ["export", made.copy("network"), "o.onnx", "--pretrained"],
        lambda: ["export", CODE, "o.onnx", "--features-only", "--num-classes", n],
        lambda: ["resume", made.copy("study"), r.choice(("--cpus-per-trial", "--retries", "--nodes-per-trial")), n],
        lambda: ["resume", made.copy("study"), "--address", "auto"],
        lambda: ["resume", made.copy("study"), "--executor", "here", "--workers", str(int(n) + 1)],
        lambda: ["report", made.copy("study"), "--trial", "0"],
        lambda: ["watch", made.copy("study"), "--once", "--interval", n],
        lambda: ["search", "--table", made.copy("table.json"), "--data-dir", "d"],
        lambda: ["search", "--table", made.copy("table.json"), "--space", "resnet18_small"],
        lambda: ["info", f"resnet18_autobss.tag{n}"],
        lambda: ["train", put("r.yaml", yaml.safe_dump(TRAINING)), "--data-dir", "d", "--folder", "out"],
    ))())  # fmt: skip


@bad
def terminals(r: Random, made: Made) -> Case:
    """Output that nobody takes, letters that an encoding has not, and processes that are asked to end."""
    encoding = {"PYTHONIOENCODING": r.choice(("ascii", "latin-1", "utf-8"))}
    verb = r.choice(
        (["list"], ["list", "--json"], ["info", "resnet50_autobss"], ["recipes"], ["recipes", "--show"], ["--help"])
    )
    match r.randrange(4):
        case 0:
            return Case(verb, True, encoding, "full")
        case 1:
            return Case(verb, False, encoding, "closed")
        case 2:
            return Case(
                ["compare", "resnet50_original", "resnet50_autobss"],
                False,
                {**encoding, "COLUMNS": str(r.randint(0, 9))},
            )
    ended = r.uniform(0.05, 4)
    return Case(["export", CODE, "out.onnx", "--input-size", "32"], False, ended_after=ended)
