"""YAML that others wrote, read within limits: plain values under keys of text, one document, nothing that explodes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import AutoBSSError, RecipeError, shown

_LARGEST = 1 << 18  # bytes of a text
_DEEPEST = 32  # mappings and lists inside each other
_MOST = 20_000  # values, those that aliases repeat counted each time
_LONGEST_NUMBER = 64  # characters

_TAG = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")  # 1e-3, for which YAML 1.1 wants 1.0e-3


def read_yaml(path: str | Path, error: type[AutoBSSError] = RecipeError) -> Any:
    """A file's value; see `parse_yaml`.

    Args:
        path: The file.
        error: What to raise.

    Raises:
        RecipeError: Or `error`, if there is no such file, or it is no such YAML; the message names the file.
    """
    if not os.path.isfile(path):  # where Path.is_file raises, as for a name that is too long, it is false
        raise error(f"{path}: there is no such file")
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from None
    try:
        return parse_yaml(content.decode("utf-8"), str(path), error)
    except UnicodeDecodeError as problem:
        raise error(f"{path}: no YAML: expected UTF-8, got {content[problem.start]:#04x} in it") from None


def parse_yaml(text: str, where: str, error: type[AutoBSSError] = RecipeError) -> Any:
    """The value of a text: None, booleans, numbers, texts, and lists and mappings of them.

    It is YAML 1.1 as `yaml.safe_load` reads it, but for these: 1e-3 is a number, a date is a text, and there are no
    tags. Keys are texts and differ within a mapping.

    Args:
        text: The text.
        where: What to call it in errors.
        error: What to raise.

    Raises:
        RecipeError: Or `error`, if it is no such YAML, too large or too deep; the message names the line.
    """
    if len(text) > _LARGEST:
        raise error(f"{where}: no YAML of ours: larger than {_LARGEST:,} bytes")
    try:
        return _Loader(text).get_single_data()
    except yaml.reader.ReaderError as problem:
        line = text.count("\n", 0, problem.position) + 1
        raise error(f"{where}: no YAML: line {line}: {problem.reason}, got {chr(problem.character)!r}") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        facts = [f"line {mark.line + 1}"] if mark else []
        facts += filter(None, (problem.context, problem.problem))
        raise error(f"{where}: no YAML: {': '.join(facts)}") from None


def write_yaml(value: Any) -> str:
    """The text that `parse_yaml` reads as the value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def check_mapping(value: Any, where: str, error: type[AutoBSSError] = RecipeError) -> None:
    """Do nothing if a value is a mapping as `parse_yaml` makes them, as far as its keys and depth go.

    Args:
        value: What a caller in Python has given.
        where: What to call it in errors.
        error: What to raise.

    Raises:
        RecipeError: Or `error`, if it is no mapping, has a key that is no text, or is too deep.
    """
    if not isinstance(value, Mapping):
        raise error(f"{where}: expected a mapping of keys to values, got {shown(value)}")
    _check_parts(value, where, error, 1)


def _check_parts(value: Any, where: str, error: type[AutoBSSError], depth: int) -> None:
    if depth > _DEEPEST:
        raise error(f"{where}: more than {_DEEPEST} mappings and lists inside each other")
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise error(f"{where}: expected a text as a key, got {shown(odd[0])}")
        value = list(value.values())
    for part in value if isinstance(value, (list, tuple)) else ():
        _check_parts(part, where, error, depth + 1)


class _Loader(yaml.SafeLoader):
    """yaml.SafeLoader with limits; errors have the line of what breaks them."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_TAG}timestamp", f"{_TAG}value")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0
        self._sizes: dict[int, int] = {}  # of each finished node, with those below it

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise _broken(event, f"tags such as {event.tag.removeprefix(_TAG)} are not read")
        before = self._values
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _broken(event, f"more than {_DEEPEST} mappings and lists inside each other")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise _broken(event, f"{event.anchor} is inside itself")
            self._values += self._sizes[id(node)]
        else:
            self._values += 1
            self._sizes[id(node)] = self._values - before
        if self._values > _MOST:
            raise _broken(event, f"more than {_MOST:,} values, those that aliases repeat counted each time")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
                raise _broken(key, f"expected a text as a key, got {_written(key)}")
            if key.value in seen:
                raise _broken(key, f"the key {_written(key)} is there twice")
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        # PyYAML 6.0.4 takes keys of one letter from a merged mapping's own merged one, although that states them anew.
        node.value = list({key.value: (key, value) for key, value in node.value}.values())

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        number = node.tag in (f"{_TAG}int", f"{_TAG}float")
        if number and len(node.value) > _LONGEST_NUMBER:
            raise _broken(node, f"a number of {len(node.value):,} characters")
        try:
            return super().construct_object(node, deep)
        except ValueError:  # such as 0x_
            raise _broken(node, f"expected a number, got {_written(node)}") from None


class _Dumper(yaml.SafeDumper):
    """yaml.SafeDumper that quotes what `_Loader` would read as a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(f"{_TAG}float", _EXPONENT, list("-+0123456789"))


def _broken(part: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=part.start_mark)


def _written(node: Any) -> str:
    """A node as an error shows it."""
    return repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else f"a {node.id}"
