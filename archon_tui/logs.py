"""Where warnings go while the screen belongs to the dashboard: a small file beside its other state."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from core.safety.private import make_private, private_opener
from core.safety.redact import redact

MAX_BYTES = 1 << 20


class _Scrubbed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _PrivateFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        descriptor = private_opener(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return os.fdopen(descriptor, "a", encoding=self.encoding)


def configure(file: Path) -> None:
    """Send warnings to `file`, made when the first one comes, secrets scrubbed; none to stderr."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    handler: logging.Handler
    try:
        make_private(file.parent)
        handler = _PrivateFile(file, maxBytes=MAX_BYTES, backupCount=1, delay=True, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_Scrubbed("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
