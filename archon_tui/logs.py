"""Where warnings go while the screen belongs to the dashboard: a small file beside its other state."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from core.safety.redact import redact

MAX_BYTES = 1 << 20


class _Scrubbed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure(file: Path) -> None:
    """Send warnings to `file`, made when the first one comes, secrets scrubbed; none to stderr."""
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    handler: logging.Handler
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(file, maxBytes=MAX_BYTES, backupCount=1, delay=True, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_Scrubbed("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
