"""The command `autobss`."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from . import zoo_verbs

VERBS = (zoo_verbs,)


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
        return arguments.run(arguments)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except ModuleNotFoundError as error:
        extra = {"matplotlib": "plot"}.get(str(error.name).partition(".")[0], "onnx")
        return _fail(f"this needs {error.name}: pip install 'autobss-zoo[{extra}]'", 1)
    except (ValueError, LookupError) as error:
        return _fail(error, 2)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except (RuntimeError, OSError) as error:
        return _fail(error, 1)


def _fail(error: object, code: int) -> int:
    lines = str(error).strip().splitlines() or [repr(error)]
    print(f"autobss: error: {lines[0]}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
