"""One exception tree. What a caller does with an error depends on its branch, never on its text.

* `ConfigurationError`: the user must change a setting; the commands exit 3.
* `RetryableError`: the same call may succeed later; delivery retries it, the commands exit 4 for
  `BackendUnavailable`.
* `PermanentError`: retrying cannot help; delivery dead-letters the file or the event.

`reason` is the stable word that counters, dead letters and `--json` carry. `hint` says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class ArchonError(Exception):
    """Anything archon raises on purpose; its message is one line fit for a person.

    `attempts` says how often was tried what failed.
    """

    reason: ClassVar[str] = "error"
    attempts: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(ArchonError):
    """The command line asked for something that makes no sense; exit code 2."""

    reason = "usage"


class ConfigurationError(ArchonError):
    """A setting is missing or wrong; exit code 3."""

    reason = "configuration"


class RetryableError(ArchonError):
    """May succeed later. `retry_after` is the delay in seconds the backend asked for, if it did."""

    reason = "retryable"

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class BackendUnavailable(RetryableError):
    """A log, storage, Git host or disk cannot be reached or written; exit code 4."""

    reason = "backend_unavailable"


class AgentUnwell(BackendUnavailable):
    """The fault is this agent's: its credentials, its clock or its disk. The event is not to blame.

    Nothing is dead-lettered for it. The agent holds the event back, says why, and goes on when it is well.
    """

    reason = "agent_unwell"


class CircuitOpen(BackendUnavailable):
    """A backend is left alone for a while, because it failed several times in a row."""

    reason = "circuit_open"


class DeadlineExceeded(RetryableError):
    """The total time allowed for an operation ran out."""

    reason = "deadline_exceeded"


class PermanentError(ArchonError):
    """Will fail the same way every time."""

    reason = "permanent"


class InvalidEvent(PermanentError):
    """Bytes from a log are not an event of a known type (poison)."""

    reason = "invalid_event"


class UnknownSchemaVersion(InvalidEvent):
    """An event of a schema version this build does not know."""

    reason = "unknown_schema_version"


class MessageTooLarge(PermanentError):
    """A message exceeds what the log's topic accepts; the publisher splits it."""

    reason = "message_too_large"


class ContentMissing(PermanentError):
    """No source of the event can yield the file's bytes (absent object, blob, path or content)."""

    reason = "content_missing"


class ChecksumMismatch(PermanentError):
    """Bytes arrived, and they are not the file's bytes."""

    reason = "checksum_mismatch"


class ContentChanged(PermanentError):
    """A file is no longer what was read of it before."""

    reason = "changed_while_read"


class ContentTooLarge(PermanentError):
    """More bytes than the event or a limit allows."""

    reason = "content_too_large"


class AccessDenied(PermanentError):
    """A backend refused our credentials or our right to the object."""

    reason = "access_denied"


class CredentialsRefused(AccessDenied):
    """A backend refuses our own credentials, or our clock, whatever is asked for."""


class UnsafeInput(PermanentError):
    """A path, URL or reference from outside that must not be used."""

    reason = "unsafe_input"


class Unexpected(PermanentError):
    """A fault of archon's own that a file brought out; the log has its traceback."""

    reason = "unexpected"


class AnalysisFailed(PermanentError):
    """The parser crashed, hung past its deadline or ran out of memory on a file."""

    reason = "analysis_failed"
