"""What a run uses, read off its events, by project, strategy and job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from core.progress import (
    BatchAbandoned,
    BatchFinished,
    BatchReceived,
    FileAnalyzed,
    FileResolved,
    FilesPublished,
    ObjectDownloaded,
    ObjectUploaded,
    RepositoryFetched,
    RunEvent,
)
from core.telemetry.cost import Usage
from core.telemetry.cpu import cpu_seconds

OBJECT_STORAGE, GIT_REFERENCE = "object_storage", "git_reference"
# What one fetch brings may serve many files: it is counted where it crosses the network.
FETCHED = frozenset({OBJECT_STORAGE, GIT_REFERENCE})


class Account(NamedTuple):
    """Whom usage is charged to. `job` is the correlation id of the ingestion."""

    project: str
    strategy: str
    job: str


@dataclass(frozen=True, slots=True)
class Spent:
    """Files and raw bytes that were published or processed, and what that used."""

    files: int = 0
    bytes: int = 0
    usage: Usage = field(default_factory=Usage)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.files + other.files, self.bytes + other.bytes, self.usage + other.usage)


@dataclass(slots=True)
class _Sums:
    """What gathered for an account: the figures of a `Spent`, to be added to in place."""

    files: int = 0
    bytes: int = 0
    stored: int = 0
    transferred: int = 0
    puts: int = 0
    gets: int = 0

    def spent(self) -> Spent:
        """What they come to, CPU time not yet known."""
        return Spent(self.files, self.bytes, Usage(self.stored, self.transferred, self.puts, self.gets))


class CostMeter:
    """A `Listener` for one side, `publish` or `consume`; `take` yields what gathered since the last one.

    Storage and uploads are the publisher's, transfer and downloads the consumer's, so that nothing is
    counted twice. CPU time of the whole process tree is shared out by bytes among the files that were
    finished meanwhile; the CPU time of an idle agent is charged to nobody.
    """

    def __init__(
        self, side: str, *, project: str = "", job: str = "", cpu: Callable[[], float] = cpu_seconds
    ) -> None:
        """`project` and `job` are charged for uploads, which carry no names of their own."""
        self.side = side
        self._uploads = Account(project, OBJECT_STORAGE, job)
        self._cpu = cpu
        self._cpu_taken = cpu()
        self._cpu_pending = 0.0
        self._sums: defaultdict[Account, _Sums] = defaultdict(_Sums)
        self._unkept: dict[Account, Spent] = {}
        self._open: set[tuple[str, int, int]] = set()

    def __call__(self, event: RunEvent) -> None:
        match event:
            case FileResolved(source=source, wire_bytes=size):
                if source not in FETCHED:
                    self._sums[Account(event.project, source, event.job)].transferred += size
            case FileAnalyzed():
                sums = self._sums[Account(event.project, event.source, event.job)]
                sums.files += 1
                sums.bytes += event.bytes
            case FilesPublished():
                sums = self._sums[Account(event.project, event.strategy, event.job)]
                sums.files += event.files
                sums.bytes += event.bytes
            case ObjectUploaded(existed=True):  # one HEAD, billed as a GET
                self._sums[self._uploads].gets += 1
            case ObjectUploaded(bytes=size):
                sums = self._sums[self._uploads]
                sums.stored += size
                sums.puts += 1
            case ObjectDownloaded(bytes=size, attempts=attempts):
                sums = self._sums[Account(event.project, OBJECT_STORAGE, event.job)]
                sums.transferred += size
                sums.gets += attempts
            case RepositoryFetched(bytes=size):
                self._sums[Account(event.project, GIT_REFERENCE, event.job)].transferred += size
            case BatchReceived():
                self._open.add((event.topic, event.partition, event.offset))
            case BatchFinished() | BatchAbandoned():
                self._open.discard((event.topic, event.partition, event.offset))

    def take(self) -> dict[Account, Spent]:
        """What gathered, CPU time included."""
        now = self._cpu()
        self._cpu_pending += now - self._cpu_taken
        self._cpu_taken = now
        taken, self._unkept = self._unkept, {}
        for account, sums in self._sums.items():
            taken[account] = taken.get(account, Spent()) + sums.spent()
        self._sums.clear()
        weights = {account: spent.bytes for account, spent in taken.items() if spent.files}
        if whole := sum(weights.values()):
            for account, weight in weights.items():
                taken[account] += Spent(usage=Usage(cpu_seconds=self._cpu_pending * weight / whole))
            self._cpu_pending = 0.0
        elif not self._open:
            self._cpu_pending = 0.0
        return taken

    def put_back(self, taken: Mapping[Account, Spent]) -> None:
        """Undo a `take` whose result could not be kept."""
        self._unkept = {
            account: self._unkept.get(account, Spent()) + taken.get(account, Spent())
            for account in self._unkept.keys() | taken.keys()
        }
