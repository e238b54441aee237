"""Where the command meets the terminal: whatever happens inside, a user sees one line of it and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from autobss_zoo.errors import AutoBSSWarning

from ..console import complain

TRACEBACK = "AUTOBSS_TRACEBACK"

_EXTRAS = {
    "ray": "ray",
    "matplotlib": "plot",
    "plotly": "plot",
    "pycocotools": "train",
    "tensorboard": "train",
    **dict.fromkeys(("fvcore", "onnx", "onnxruntime", "onnxscript"), "onnx"),
}


@contextmanager
def terminal() -> Iterator[None]:
    """The process as the command wants it: open streams that take any text, and no library's chatter."""
    _open_streams()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default", AutoBSSWarning)
        if not sys.warnoptions:  # with them, the user has asked to see warnings
            warnings.showwarning = _show_warning
            if "PYTHONWARNINGS" not in os.environ:  # of processes that are started
                os.environ["PYTHONWARNINGS"] = "ignore"
                stack.callback(os.environ.pop, "PYTHONWARNINGS", None)
        handler = _Logs(logging.WARNING)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        if threading.current_thread() is threading.main_thread():
            stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _interrupt))
        yield


def exit_code(error: BaseException) -> int:
    """Say what an error means in a line, and return the exit code: 1, 2 for bad input, 130 if interrupted."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        complain("error", "interrupted")
        return 130
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has seen enough
        _discard_output()
        return 0
    if isinstance(error, OSError):
        _discard_output()  # such as of a full disk: what is left in the buffer would fail again at exit
    extra = _EXTRAS.get(str(error.name).partition(".")[0]) if isinstance(error, ImportError) else None
    if extra and isinstance(error, ImportError):
        complain("error", f"this needs {error.name}: pip install 'autobss-zoo[{extra}]'")
    elif isinstance(error, (ImportError, OSError, RuntimeError, ValueError)) and not isinstance(error, RecursionError):
        complain("error", str(error) or repr(error))
    else:
        complain("error", f"unexpected {type(error).__name__}: {error} ({TRACEBACK}=1 shows where)")
    return 2 if isinstance(error, ValueError) else 1


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, AutoBSSWarning):
        complain("warning", message)


class _Logs(logging.Handler):
    """Our own warnings; without a handler, Python would print those of every library."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in ("autobss_zoo", "autobss_search"):
            complain("warning", record.getMessage())


def _interrupt(*_: Any) -> None:
    """A process that is asked to end removes its temporary files, as after Ctrl-C."""
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Open what the caller has closed, whose number a file would get; escape letters that an encoding has not."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
