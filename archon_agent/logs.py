"""Logging of the commands: structlog over the standard library, JSON where no person watches."""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING

from core.safety.redact import redact
from core.telemetry.log_context import log_fields
from core.telemetry.log_repeats import Repeats

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

LIBRARIES = ("aiokafka", "aiohttp", "asyncio", "botocore", "aiobotocore", "paramiko", "urllib3")
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def configure(verbose: int = 0, *, as_json: bool | None = None) -> None:
    """Send the log to stderr: readable on a terminal, else JSON; secrets are scrubbed from every line.

    `verbose` 0 shows warnings, 1 information, 2 everything of archon's own; libraries stay at warnings.
    """
    json_lines = not sys.stderr.isatty() if as_json is None else as_json
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FirstLine(json_lines))
    handler.addFilter(Repeats(LIBRARIES))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("core", "archon_agent"):
        logging.getLogger(name).setLevel(LEVELS[min(verbose, 2)])


class _FirstLine(logging.Formatter):
    """Imports structlog for the first line: most commands have none, and it takes a tenth of their start."""

    def __init__(self, json_lines: bool) -> None:
        super().__init__()
        self._json_lines = json_lines

    @cached_property
    def _formatter(self) -> logging.Formatter:
        import structlog

        shared: list[Processor] = [
            _say_for_what,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _scrub,
        ]
        render: Processor = (
            structlog.processors.JSONRenderer() if self._json_lines else structlog.dev.ConsoleRenderer()
        )
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )

    def format(self, record: logging.LogRecord) -> str:
        return self._formatter.format(record)


def _say_for_what(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the correlation id and trace of the work that the line is about."""
    return {**log_fields(), **event}


def _scrub(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}
