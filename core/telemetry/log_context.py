"""What every log line of a piece of work carries: its correlation id and trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_fields: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed


def log_fields() -> Mapping[str, str]:
    """The fields of the work that this code runs for."""
    return _fields.get()


@contextmanager
def logging_with(**fields: str) -> Iterator[None]:
    """Add fields to the lines that are logged inside, here and in tasks started here."""
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)
