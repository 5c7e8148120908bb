"""Every exit code of the commands."""

from __future__ import annotations

from enum import IntEnum

from core.errors import ArchonError, BackendUnavailable, ConfigurationError, UnsafeInput, UsageError


class ExitCode(IntEnum):
    """What the shell sees."""

    OK = 0
    SOME_FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


def code_of(error: ArchonError) -> ExitCode:
    """The code a command ends with when `error` ends it."""
    match error:
        case UsageError() | UnsafeInput():  # what ends a command as a whole came from its command line
            return ExitCode.USAGE
        case ConfigurationError():
            return ExitCode.CONFIGURATION
        case BackendUnavailable():
            return ExitCode.UNREACHABLE
    return ExitCode.SOME_FAILED
