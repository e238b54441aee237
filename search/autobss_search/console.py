"""What the command's verbs share: a parser for each, and a terminal that any output fits."""

from __future__ import annotations

import argparse
import io
import sys
from contextlib import suppress
from typing import Any

_LONGEST = 500


def add_verb(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    """The parser of a verb of the command, which calls `run` with the arguments; `summary` is its line of help."""
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(run=run)
    return parser


def make_console() -> Any:
    """The terminal; where nobody watches, one wide enough for a table's row to be one line.

    It writes into a string: on a pipe whose reader has gone, rich would end the process by itself. In a notebook, too,
    it gives text.
    """
    from rich.console import Console

    watched = sys.stdout.isatty()
    return Console(file=io.StringIO(), force_terminal=watched, force_jupyter=False, width=None if watched else 1000)


def print_rich(renderable: Any) -> None:
    """Print a text as it is, or what rich renders, such as a table."""
    if not isinstance(renderable, str):
        console = make_console()
        console.print(renderable)
        renderable = console.file.getvalue().rstrip("\n")
    print(renderable)


def complain(kind: str, what: object) -> None:
    """Say an error or a warning in one line on stderr, whatever text it comes with."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(str(what).split()))
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 100]} [...] {text[-90:]}"
    with suppress(OSError):  # nobody can be told
        print(f"autobss: {kind}: {text}", file=sys.stderr, flush=True)
