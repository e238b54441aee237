"""The terminal's side of the command, in processes of its own: streams, signals, warnings, errors nobody expected."""

import os
import signal
import subprocess
import sys

import pytest

from conftest import tiny

CODE = str(tiny("resnet18_small"))
SCRIPT = """
import sys
from autobss_search.command import cli

class Verbs:
    @staticmethod
    def add_commands(commands):
        commands.add_parser("verb").set_defaults(run=run)

def run(arguments):
{body}
    return 0

cli.VERBS = (Verbs,)
sys.exit(cli.main(["verb"]))
"""


def run_verb(body: str, **environment: str) -> subprocess.CompletedProcess:
    """A process of the command with a verb whose body is `body`."""
    script = SCRIPT.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_warnings_are_a_line_of_ours_and_none_of_libraries():
    """Also by logging, and in processes that are started."""
    done = run_verb(
        "import logging, subprocess, warnings\n"
        "from autobss_zoo.errors import AutoBSSWarning\n"
        "warnings.warn('theirs')\n"
        "logging.getLogger('timm.models').warning('theirs')\n"
        "subprocess.run([sys.executable, '-c', 'import warnings; warnings.warn(\"theirs\")'])\n"
        "warnings.warn('of\\nus', AutoBSSWarning)\n"
        "logging.getLogger('autobss_zoo.training').warning('of %s', 'us, too')"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "autobss: warning: of us\nautobss: warning: of us, too\n"


def test_whoever_asks_for_warnings_sees_them():
    done = run_verb("import warnings; warnings.warn('theirs')", PYTHONWARNINGS="default")
    assert "UserWarning: theirs" in done.stderr


def test_an_error_that_nobody_expected_is_a_line_and_a_traceback_if_asked_for():
    done = run_verb("None.missing")
    assert done.returncode == 1
    assert done.stderr.startswith("autobss: error: unexpected AttributeError: 'NoneType' object has no")
    assert done.stderr.endswith("(AUTOBSS_TRACEBACK=1 shows where)\n")
    assert done.stderr.count("\n") == 1
    assert "Traceback (most recent" in run_verb("None.missing", AUTOBSS_TRACEBACK="1").stderr


def test_whoever_is_asked_to_end_leaves_no_temporary_file(tmp_path):
    done = run_verb(
        "import os, signal\n"
        "from autobss_zoo.files import replacing\n"
        f"with replacing({str(tmp_path / 'file')!r}) as path:\n"
        "    path.write_text('half')\n"
        f"    os.kill(os.getpid(), {int(signal.SIGTERM)})"
    )
    assert (done.returncode, done.stderr) == (130, "autobss: error: interrupted\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed, tmp_path):
    """Nothing is printed where nobody listens, and no file gets the number of a stream that is closed."""
    picture = tmp_path / "a.svg"
    for arguments, code in (("info 'resnet18{1}'", 2), (f"compare '{CODE}' '{CODE}' --plot {picture}", 0)):
        command = f'"{sys.executable}" -m autobss_search {arguments} {closed}'
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert done.stderr.count("\n") == (code == 2 and "2>" not in closed)
    assert picture.read_text().startswith("<?xml")


def test_letters_that_the_terminal_has_not():
    done = subprocess.run(
        [sys.executable, "-m", "autobss_search", "compare", CODE, CODE],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    done.stdout.decode("ascii")
    odd = os.fsdecode(b"\xff\x1b[31m\n.yaml")
    for arguments in (["info", odd], ["train", odd], ["compare", CODE, CODE, "--plot", odd]):
        done = subprocess.run([sys.executable, "-m", "autobss_search", *arguments], capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(b"autobss: error: ")
        assert done.stderr.count(b"\n") == 1
        assert b"\x1b" not in done.stderr
