"""The record of a run: its events as they came, in a file that is only appended to, to be played again.

JSON lines: a header object, then `[milliseconds, event, fields]`, then, where the run ended in order, an
object with its outcome. A file that ends midway (kill -9, full disk) is good up to there.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, get_args

from pydantic import TypeAdapter, ValidationError

from core.errors import ArchonError, ConfigurationError, UnsafeInput, UsageError
from core.progress import RunEvent
from core.safety.display import display
from core.safety.private import make_private
from core.safety.redact import redact
from core.summary import IngestSummary

if TYPE_CHECKING:
    from core.consumer import RunSummary  # with it comes all that an agent takes

logger = logging.getLogger(__name__)

VERSION: Final = 1
SUFFIX: Final = ".jsonl"
KEPT: Final = 50
FLUSH_S: Final = 0.5
# A line of a journal is a few hundred bytes; a path has at most 4,096 characters, escaped sixfold.
_LINE_LIMIT = 1 << 16
_TAIL_BYTES = 1 << 20

_KINDS = {kind.__name__: kind for kind in get_args(RunEvent)}
_FIELDS = {name: tuple(item.name for item in fields(kind)) for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Header:
    """What was run: the project, where it was read from, the log it went to, and when it began.

    `planned` are files by strategy, and all of them as `discovered`, as far as a plan knew; `consumes`
    says whether the run also analyses what it publishes.
    """

    project: str
    path: str
    log: str
    started_at: datetime
    planned: Mapping[str, int] = field(default_factory=dict)
    consumes: bool = True


class Recorded(NamedTuple):
    """An event, and the seconds since the run began."""

    at_s: float
    event: RunEvent


@dataclass(frozen=True, slots=True)
class Journal:
    """A journal on disk. `outcome` is what `Recorder.end` wrote; None for a run that did not end."""

    file: Path
    header: Header
    outcome: dict[str, Any] | None


class Recorder:
    """Writes a run's journal. A `core.progress.Listener`; never fails the run it records."""

    def __init__(self, file: Path, header: Header, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `UsageError` where `file` exists or cannot be made."""
        self.file = file
        self.trouble: str | None = None
        self._clock = clock
        self._started = self._flushed_at = clock()
        try:
            make_private(file.parent)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise UsageError(f"cannot record to {display(str(file))}: {error.strerror}") from None
        self._out = os.fdopen(descriptor, "w", encoding="ascii", newline="\n")
        self._write(
            {
                "journal": VERSION,
                "project": header.project,
                "path": header.path,
                "log": header.log,
                "started_at": header.started_at.isoformat(),
                "planned": dict(header.planned),
                "consumes": header.consumes,
            }
        )
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def __call__(self, event: RunEvent) -> None:
        name = type(event).__name__
        now = self._clock()
        values = {each: getattr(event, each) for each in _FIELDS[name]}
        self._write([round((now - self._started) * 1000), name, values])
        if now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            self._flush()

    def end(self, outcome: dict[str, Any]) -> None:
        """Write what became of the run, as the last line."""
        self._write({"outcome": outcome})
        self._flush()

    def close(self) -> None:
        """Idempotent."""
        try:
            self._out.close()
        except OSError as error:
            self._give_up(error)

    def _write(self, value: Any) -> None:
        if self.trouble is None:
            try:
                self._out.write(json.dumps(value, separators=(",", ":")) + "\n")
            except OSError as error:
                self._give_up(error)

    def _flush(self) -> None:
        if self.trouble is None:
            try:
                self._out.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"the journal is not written any more: {error.strerror}"
        logger.warning("%s", self.trouble)


def outcome(
    state: str,
    project: str,
    duration_s: float,
    *,
    error: str | None = None,
    published: IngestSummary | None = None,
    consumed: RunSummary | None = None,
    files_failed: int = 0,
    dead_lettered: int = 0,
) -> dict[str, Any]:
    """What became of a run: a journal's last line, and what a run exports.

    `state` is `done`, `cancelled` or `failed`.
    """
    figures = published.to_json() if published else {}
    figures.pop("skipped", None)
    return {
        "state": state,
        "error": error,
        "project_name": project,
        "duration_ms": round(duration_s * 1000),
        "published": figures or None,
        "consumed": consumed.to_json() if consumed else None,
        "files_failed": files_failed,
        "dead_lettered": dead_lettered,
    }


@contextmanager
def recording(directory: Path, header: Header) -> Iterator[Recorder | None]:
    """A recorder of a run into a new file of `directory`, of which the newest are kept; None if none can be.

    What breaks the run off is its outcome; a run that could not begin leaves no file.
    """
    try:
        recorder = Recorder(new_file(directory, header), header)
    except UsageError as error:
        logger.warning("the run is not recorded: %s", error)
        yield None
        return
    with recorder:
        try:
            yield recorder
        except (UsageError, UnsafeInput, ConfigurationError):
            recorder.file.unlink(missing_ok=True)
            raise
        except ArchonError as error:
            recorder.end(outcome("failed", header.project, recorder.elapsed_s, error=redact(str(error))))
            raise
    prune(directory)


def new_file(directory: Path, header: Header) -> Path:
    """A name in `directory` that sorts by time."""
    stamp = header.started_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return directory / f"{stamp}-{os.getpid()}{SUFFIX}"


def open_journal(file: Path) -> Journal:
    """What a journal says of itself. Raises `UsageError` where it is none or cannot be read."""
    try:
        with file.open("rb") as source:
            header = _header(source.readline(_LINE_LIMIT))
            source.seek(max(0, source.seek(0, os.SEEK_END) - _TAIL_BYTES))
            last = source.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError as error:
        raise UsageError(f"cannot read the journal {display(str(file))}: {error.strerror}") from None
    if header is None:
        raise UsageError(f"{display(str(file))} is not a journal of archon")
    return Journal(file, header, _outcome(last))


def events(journal: Journal) -> Iterator[Recorded]:
    """The events in order; lines that are cut off or of a newer archon are passed over.

    Raises `UsageError` where the file cannot be read.
    """
    try:
        with journal.file.open("rb") as source:
            source.readline(_LINE_LIMIT)
            while line := source.readline(_LINE_LIMIT):
                if (recorded := _event(line)) is not None:
                    yield recorded
    except OSError as error:
        raise UsageError(f"cannot read the journal: {error.strerror}") from None


def journals(directory: Path) -> list[Journal]:
    """The journals of a directory, newest first; files that are none are passed over."""
    found = []
    for file in sorted(directory.glob(f"*{SUFFIX}"), reverse=True):
        try:
            found.append(open_journal(file))
        except UsageError:
            continue
    return found


def prune(directory: Path, keep: int = KEPT) -> int:
    """Remove all but the newest `keep` journals; how many went."""
    old = sorted(directory.glob(f"*{SUFFIX}"), reverse=True)[keep:]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _header(line: bytes) -> Header | None:
    try:
        data = json.loads(line)
        if not isinstance(data, dict) or data.get("journal") != VERSION:
            return None
        started_at = datetime.fromisoformat(str(data["started_at"]))
        planned = {str(name): int(files) for name, files in data.get("planned", {}).items()}
        consumes = bool(data.get("consumes", data["log"] == "embedded"))
        return Header(
            str(data["project"]), str(data["path"]), str(data["log"]), started_at, planned, consumes
        )
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _outcome(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line)
    except ValueError:
        return None
    outcome = data.get("outcome") if isinstance(data, dict) else None
    return outcome if isinstance(outcome, dict) else None


def _event(line: bytes) -> Recorded | None:
    try:
        data = json.loads(line)
        if not isinstance(data, list):
            return None
        at_ms, name, values = data
        return Recorded(at_ms / 1000, _adapter(name).validate_python(values))
    except (ValueError, TypeError, KeyError, ValidationError):
        return None


@cache
def _adapter(name: str) -> TypeAdapter[RunEvent]:
    return TypeAdapter(_KINDS[name])
