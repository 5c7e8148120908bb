"""What happens in a run, as events: the one stream that CLI, TUI, journal and metrics read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.events.common import ContentStrategy


@dataclass(frozen=True, slots=True)
class FilesExpected:
    """How many files the repository says it has, told before the first is read."""

    files: int


@dataclass(frozen=True, slots=True)
class FilesScanned:
    """More files were listed and read."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FileSkipped:
    """A file is not published; `is_fault` where the user would expect it to be."""

    path: str
    reason: str
    detail: str
    is_fault: bool


@dataclass(frozen=True, slots=True)
class FilesUnchanged:
    """Files that the manifest proves published already."""

    files: int


@dataclass(frozen=True, slots=True)
class FilesPacked:
    """Files packed under one strategy; `seconds` is the time it took, 0 for those packed by the plan."""

    strategy: ContentStrategy
    files: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FilesPublished:
    """The log acknowledged a batch's files of one strategy; `seconds` from its first send to that."""

    project: str
    job: str
    strategy: ContentStrategy
    files: int
    bytes: int
    encoded_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ObjectUploaded:
    """A content is in object storage; `existed` where it was there already and nothing was sent."""

    project: str
    bytes: int
    seconds: float
    existed: bool


@dataclass(frozen=True, slots=True)
class ObjectDownloaded:
    """A content came from object storage, after `attempts` tries; `bytes` crossed the network for it."""

    project: str
    job: str
    bytes: int
    seconds: float
    attempts: int


@dataclass(frozen=True, slots=True)
class RepositoryFetched:
    """Objects came from a Git host; `bytes` crossed the network for them."""

    project: str
    job: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchPublished:
    """The log acknowledged a batch. Sizes are bytes, `seconds` from send to acknowledgement."""

    batch_id: int
    files: int
    bytes: int
    encoded_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchRefused:
    """The log did not acknowledge a batch; its files are unpublished."""

    batch_id: int
    files: int
    message: str


@dataclass(frozen=True, slots=True)
class FilesDeleted:
    """Deletions published."""

    files: int


@dataclass(frozen=True, slots=True)
class BatchReceived:
    """The consumer took a batch from the log."""

    topic: str
    partition: int
    offset: int
    project: str
    files: int


@dataclass(frozen=True, slots=True)
class FileResolved:
    """A file's bytes arrived and were verified, from `source`, after `attempts` tries.

    `job` is the correlation id of the ingestion that asked for it. `wire_bytes` crossed the network for
    it; none of a cached file, more than `bytes` of base64.
    """

    path: str
    source: str
    bytes: int
    seconds: float
    attempts: int = 1
    fallback_from: str | None = None
    cache_hit: bool | None = None
    project: str = ""
    job: str = ""
    wire_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FileAnalyzed:
    """A file's record is durable, `seconds` after its event was received."""

    project: str
    path: str
    bytes: int
    seconds: float
    source: str
    job: str = ""


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file yields no record; it goes to the dead-letter topic."""

    project: str
    path: str
    reason: str
    message: str
    job: str = ""


@dataclass(frozen=True, slots=True)
class FallbackUsed:
    """Another strategy or source stood in; `cause` is the stable reason of the first one's failure."""

    side: str
    wanted: str
    used: str
    cause: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A circuit breaker is now `closed`, `half_open` or `open`, after so many failures in a row.

    `kind` is the strategy or source, `name` the host or bucket where there are several.
    """

    side: str
    kind: str
    name: str
    state: str
    failures: int


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """An event or the failed files of one went to the dead-letter topic."""

    topic: str
    partition: int
    offset: int
    files: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class BatchFinished:
    """A batch is done: results durable, its offset may be committed."""

    topic: str
    partition: int
    offset: int
    indexed: int
    failed: int
    skipped: int
    deleted: int
    seconds: float
    superseded: int = 0
    superseded_deletions: int = 0


@dataclass(frozen=True, slots=True)
class EventsLost:
    """The log removed events of a partition, from `offset` on, before the group had read them."""

    topic: str
    partition: int
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class BatchAbandoned:
    """Work on a batch ended before its results were durable; it will be delivered again."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class AgentsReported:
    """What the agents of the group have said of this ingestion by now: totals, not additions.

    `files` are those of the batches they are through with. `events_waiting` is the group's lag. `hits` and
    `misses` count the lookups in the caches of all live agents since the run began, whatever they were for.
    """

    batches: int
    files: int
    indexed: int
    failed: int
    skipped: int
    events_waiting: int
    by_source: dict[str, int]
    hits: dict[str, int]
    misses: dict[str, int]


@dataclass(frozen=True, slots=True)
class SpanEnded:
    """A piece of work ended `seconds` after it began; ids as in W3C trace context.

    `kind` is `producer`, `consumer` or `internal`; `error` says why it did not do what it was to do.
    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    sampled: bool
    seconds: float
    project: str
    job: str
    files: int
    error: str | None = None


RunEvent = (
    EventsLost
    | BatchAbandoned
    | FilesExpected
    | FilesScanned
    | FileSkipped
    | FilesUnchanged
    | FilesPacked
    | FilesPublished
    | ObjectUploaded
    | ObjectDownloaded
    | RepositoryFetched
    | BatchPublished
    | BatchRefused
    | FilesDeleted
    | BatchReceived
    | FileResolved
    | FileAnalyzed
    | FileFailed
    | FallbackUsed
    | BreakerChanged
    | DeadLettered
    | BatchFinished
    | AgentsReported
    | SpanEnded
)

Listener = Callable[[RunEvent], None]


def ignore(_event: RunEvent) -> None:
    """A listener for callers that want none."""


def tell_all(*listeners: Listener) -> Listener:
    """One listener that hands every event to each of `listeners` in order."""

    def tell(event: RunEvent) -> None:
        for listener in listeners:
            listener(event)

    return tell
