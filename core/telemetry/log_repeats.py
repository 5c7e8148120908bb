"""Keeps libraries that log the same thing again and again from filling the log."""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 30.0
KEPT: Final = 256

_NUMBERS = re.compile(r"\d+")


class Repeats(logging.Filter):
    """Lets a message of a library through once in `every_s` seconds, then with how many were left out.

    Messages that differ in numbers only are the same: attempts, ports and times change while nothing happens.
    """

    def __init__(
        self,
        libraries: tuple[str, ...],
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._libraries = libraries
        self._every_s = every_s
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in self._libraries:
            return True
        if record.exc_info and record.exc_info[1] is not None:  # one line says it; --debug has the rest
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[1]!r}", ()
            record.exc_info = record.exc_text = None
        key = (record.name, _NUMBERS.sub("#", record.getMessage()))
        now = self._clock()
        last, left_out = self._seen.get(key, (float("-inf"), 0))
        if now - last < self._every_s:
            self._seen[key] = (last, left_out + 1)
            return False
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        while len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out:,} more like it)"
            record.args = ()
        return True
