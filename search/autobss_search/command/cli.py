"""The command `autobss`."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from importlib.metadata import version

from . import search_verbs, train_verbs, zoo_verbs

VERBS = (zoo_verbs, train_verbs, search_verbs)

_EXTRAS = {
    "ray": "ray",
    "matplotlib": "plot",
    "plotly": "plot",
    "pycocotools": "train",
    "tensorboard": "train",
    **dict.fromkeys(("fvcore", "onnx", "onnxruntime", "onnxscript"), "onnx"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0, 1 if something failed or nothing was found, 2 for bad input, 130 if interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="autobss",
        description="CNN backbones with better block stacking styles at the same cost.",
        epilog="Quote codes, since the shell expands braces: autobss info 'resnet18{64,64,256,512,2,3,4,1}'",
    )
    parser.add_argument("--version", action="version", version=f"autobss {version('autobss-zoo')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for verbs in VERBS:
        verbs.add_commands(commands)
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed its help, the version or one line of error
        return int(stop.code or 0)
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()  # here and not at exit, where an error is nobody's
        return code
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except ImportError as error:
        extra = _EXTRAS.get(str(error.name).partition(".")[0])
        return _fail(f"this needs {error.name}: pip install 'autobss-zoo[{extra}]'" if extra else error, 1)
    except (ValueError, LookupError) as error:
        return _fail(error, 2)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()  # such as of a full disk: what is left in the buffer would fail again at exit
        return _fail(error, 1)
    except RuntimeError as error:
        return _fail(error, 1)


def _fail(error: object, code: int) -> int:
    print(f"autobss: error: {textwrap.shorten(str(error), 500) or repr(error)}", file=sys.stderr)
    return code


def _discard_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
