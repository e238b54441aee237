"""Odd values and damaged files, made up at random: what hostile.py gives to commands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml


def text(r: Random) -> str:
    """A text that nobody expects; never empty of surprises, free of NUL, at most 255 bytes unless it says so."""
    alphabets = (
        "abc",
        "a\n\r\t",
        "\x1b[31m\x07",
        "\u202eж漢😀",
        "{}[],:&*!|>'\"%@`",
        "../",
        "-",
        " ",
        "0123456789",
        "\udcff\udc80",
    )
    return r.choice((
        lambda: "".join(r.choice(r.choice(alphabets)) for _ in range(r.randint(1, 30))),
        lambda: r.choice(("", ".", "..", "~", "-", "--", "/", "null", "nan", "con", "%s", "{}", "$HOME", "__class__")),
        lambda: r.choice("xé\n") * r.choice((60, 120, 5000)),
    ))()  # fmt: skip


def file_name(r: Random) -> str:
    """A text that can be a file's name."""
    name = text(r).replace("/", "")[:60]
    return name if name.strip(".") else "odd\nname"


def value(r: Random, depth: int = 0) -> Any:
    """A value of JSON or YAML that nobody expects."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: r.choice((True, False)),
        lambda: r.choice((0, -1, 2, 7, 2**31, 2**63, -(2**64), 10**23, 10**400)),
        lambda: r.choice((0.5, -0.0, 1e-300, 1e308, math.nan, math.inf, -math.inf)),
        lambda: text(r).encode("utf-8", "replace").decode(),
        lambda: [value(r, depth + 1) for _ in range(r.randint(0, 3))],
        lambda: {r.choice(("a", "kind", "base", "file", "url")): value(r, depth + 1) for _ in range(r.randint(0, 3))},
        lambda: [0] * 20_000,
    )
    return r.choice(kinds if depth < 3 else kinds[:5])()


def number(r: Random, least: int) -> str:
    """A text that is no number of at least `least`, as an option's value."""
    return r.choice((
        lambda: str(least - r.randint(1, 2 ** r.randint(1, 80))),
        lambda: r.choice(("nan", "inf", "-inf", "1e400", "-1e400", "0x10", "1,000", "--1", "three", "1e", "∞")),
        lambda: "9" * r.randint(20, 5000),
        lambda: r.choice(("", " ", text(r) + "x")),
    ))()  # fmt: skip


def nodes(tree: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all nodes of a tree of mappings and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(p for key, child in items for p in nodes(child, (*path, key)))]


def mutated(r: Random, tree: Any) -> Any:
    """A tree with one to three changes of values, keys or structure."""
    tree = json.loads(json.dumps(tree))
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        path = r.choice(nodes(tree))
        if not path:
            if r.random() < 0.1:
                return value(r)
            continue
        *above, last = path
        parent = tree
        for key in above:
            parent = parent[key]
        change = r.randrange(4)
        if change == 0 and isinstance(parent, dict):
            del parent[last]
        elif change == 1 and isinstance(parent, dict):
            parent[r.choice(("unknown", text(r), f"{last}s", ""))] = value(r)
        elif change == 2:
            parent[last] = [parent[last]] if r.random() < 0.5 else {"value": parent[last]}
        else:
            parent[last] = value(r)
    return tree


def spoilt(r: Random, content: bytes) -> bytes:
    """Bytes that were damaged: cut off, overwritten, emptied, of another format, or deeper than anybody reads."""
    size = max(1, len(content))
    place, deep = r.randrange(size), r.choice((200, 5000, 200_000))
    return r.choice((
        lambda: content[:place],
        lambda: content[:place] + r.randbytes(r.randint(1, 64)) + content[place + 64 :],
        lambda: b"",
        lambda: r.randbytes(r.randint(1, 4096)),
        lambda: b"\x80\x04\x95" + r.randbytes(40),  # a pickle
        lambda: b"PK\x03\x04" + r.randbytes(400),
        lambda: b"[" * deep,
        lambda: b'{"a":' * deep + b"1" + b"}" * deep,
        lambda: (2 ** r.choice((20, 40, 63))).to_bytes(8, "little") + content[8:],  # a header of that size
    ))()  # fmt: skip


def put(path: str, content: Any) -> str:
    """Write bytes or a text to a file."""
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return path


def yaml_text(r: Random, tree: dict[str, Any]) -> bytes | str:
    """A mapping as YAML: with changed values, hostile syntax, or damaged."""
    good = yaml.safe_dump(tree, sort_keys=False)
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    odd_keys = ("1", "null", "true", "[1, 2]", "1.5", "2001-01-01", "!!binary aGk=", "? {a: b}\n", "<<")
    tags = (
        "!!python/object/apply:os.system [echo]",
        "!!set {a}",
        "!!timestamp 2001-99-99",
        "!unknown x",
        "*nowhere",
        "0o9",
    )
    return r.choice((
        lambda: yaml.safe_dump(mutated(r, tree), sort_keys=False),
        lambda: yaml.safe_dump(mutated(r, tree), sort_keys=False),
        lambda: yaml.safe_dump(mutated(r, tree), sort_keys=False),
        lambda: f"{good}{r.choice(odd_keys)}: {r.choice(tags)}\n",
        lambda: f"{good}{r.choice(list(tree))}: {r.choice(tags)}\n",
        lambda: good + bomb + r.choice(("", f"{r.choice(list(tree))}: *a39\n")),
        lambda: good + r.choice(("---\na: b\n", "\t- x\n", "? \n", "%YAML 9.9\n")),
        lambda: spoilt(r, good.encode()),
    ))()  # fmt: skip


def json_text(r: Random, file: Path) -> bytes | str:
    """A JSON file's content: with changed values, or damaged."""
    good = file.read_bytes()
    return json.dumps(mutated(r, json.loads(good))) if r.random() < 0.7 else spoilt(r, good)
