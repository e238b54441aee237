"""Waiting for a storage: a network that is down or a disk that is full."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import NotReadyError

T = TypeVar("T")

_LONGEST_WAIT = 60.0  # seconds between attempts


class Patience:
    """Calls a ledger; while it cannot be read or written, waits: no score that is known is lost.

    Args:
        say: Told about it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __call__(self, call: Callable[[], T]) -> T:
        """What the call returns in the end."""
        wait = 1.0
        while True:
            try:
                return call()
            except (NotReadyError, OSError) as error:
                cause = error.reason if isinstance(error, NotReadyError) else error
                self._say(f"the ledger cannot be written ({cause}): tried again in {wait:g} s")
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
