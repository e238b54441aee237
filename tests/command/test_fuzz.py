"""Command lines that nobody would type: every verb, its options and odd values, in this process."""

import argparse
import contextlib
import io
import os
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from autobss_search.command.cli import _parser, main
from conftest import tiny

CODE = str(tiny("resnet18_small"))
LIGHT = ("list", "info", "compare", "recipes")  # of which a good command takes no time and leaves nothing

(VERBS,) = (a.choices for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))

ODD = st.one_of(
    st.text(st.characters(exclude_characters="\0/"), max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["", " ", ".", "-", "--", "-1", "1e400", "nan", "9" * 5000, "x" * 5000, "a\nb", "\x1b[31m", "{}"]),
    st.sampled_from(["resnet18_small{1}", "a=b", "a=[", "hf-hub:a", "mnv2_original.tag", "*", "o.csv", "no.yaml"]),
)
GOOD = st.sampled_from([CODE, "mnv2_autobss", "autobss_resnet50", "3", "64", "a.png", "b.svg"])


@st.composite
def command_lines(draw):
    """A verb with some of its options, and with values that are mostly wrong."""
    name = draw(st.sampled_from(sorted(VERBS)))
    values = st.one_of(ODD, GOOD) if name in LIGHT else ODD
    required = [action for action in VERBS[name]._actions if action.required or not action.option_strings]
    others = [action for action in VERBS[name]._actions if action not in required]
    arguments = [name]
    for action in (*required, *draw(st.lists(st.sampled_from(others), max_size=3))):
        option = draw(st.sampled_from(action.option_strings)) if action.option_strings else ""
        if action.nargs == 0:
            arguments.append(option)
        elif option.startswith("--") and draw(st.booleans()):
            arguments.append(f"{option}={draw(values)}")
        else:
            arguments += [*([option] if option else []), draw(values)]
    return arguments + draw(st.lists(ODD, max_size=1))


@settings(max_examples=150)
@given(command_lines())
@example(["compare", CODE, CODE, "--plot", "a.png"])
@example(["list", "x\ny", "--task", "\udc80"])
@example(["list", "0", "--json"])
def test_any_command_line_ends_in_order(tmp_path_factory, arguments):
    """A known exit code, one line of error, and no file that was not asked for."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    finally:
        os.chdir(before)
    errors = [line for line in err.getvalue().splitlines() if not line.startswith("autobss: warning: ")]
    assert code in (0, 1, 2)
    assert "unexpected" not in err.getvalue()
    if code == 0:
        assert not errors
    else:
        (error,) = errors
        assert error.startswith("autobss: error: ")
        assert error.isprintable()
        assert len(error) < 600
    made = {path.name for path in folder.rglob("*")}
    assert made <= ({"a.png", "b.svg"} if code == 0 and arguments[0] == "compare" else set())
