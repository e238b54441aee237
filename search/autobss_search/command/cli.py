"""The command `autobss`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from . import bench_verb, latency_verbs, report_verb, scale_verb, search_verbs, train_verbs, zoo_verbs
from .border import exit_code, terminal

VERBS = (zoo_verbs, scale_verb, latency_verbs, train_verbs, search_verbs, report_verb, bench_verb)


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0, 1 if something failed or nothing was found, 2 for bad input, 130 if interrupted.
    """
    try:
        with terminal():
            try:
                words = sys.argv[1:] if argv is None else argv
                _check_words(words)
                arguments = _parser().parse_args(words)
            except SystemExit:  # argparse has printed its help or the version
                code = 0
            else:
                code = arguments.run(arguments)
            sys.stdout.flush()  # here and not at exit, where an error is nobody's
            return code
    except (Exception, KeyboardInterrupt) as error:
        return exit_code(error)


def _check_words(words: Sequence[str]) -> None:
    """Refuse empty values, as of a shell's variable that is not set: an empty path would be the working directory."""
    for before, word in itertools.pairwise(("autobss", *words)):
        name, equals, value = word.partition("=")
        if not word.strip() or (name.startswith("--") and equals and not value.strip()):
            raise ValueError(f"{name.strip() or before}: expected a value, got an empty text")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="autobss",
        description="CNN backbones with better block stacking styles at the same cost.",
        epilog="Quote codes, since the shell expands braces: autobss info 'resnet18{64,64,256,512,2,3,4,1}'",
    )
    parser.add_argument("--version", action="version", version=f"autobss {version('autobss-zoo')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for verbs in VERBS:
        verbs.add_commands(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others of the command."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message.removeprefix('argument ')}; see {self.prog} --help")
