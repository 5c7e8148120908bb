"""From an event's files to verified bytes: which source is asked first, which may stand in, what is proof."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import ArchonError, ChecksumMismatch, ContentMissing
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched, Fetcher, StoredFile
from core.progress import FallbackUsed, FileResolved, Listener, ignore
from core.safety.path import check_relative_path

_BLOCK = 1 << 20

# Which source may stand in for which, in order. A stand-in is asked only where the event carries what
# it needs, and what it yields is verified like the first choice.
SOURCES: Mapping[Carrier, tuple[Carrier, ...]] = {
    Carrier.INLINE: (Carrier.INLINE, Carrier.GIT_REFERENCE),
    Carrier.OBJECT_STORAGE: (Carrier.OBJECT_STORAGE, Carrier.GIT_REFERENCE),
    Carrier.GIT_REFERENCE: (Carrier.GIT_REFERENCE, Carrier.OBJECT_STORAGE),
    Carrier.LOCAL_PATH: (Carrier.LOCAL_PATH,),
}


@dataclass(frozen=True, slots=True)
class Resolved:
    """A file's bytes and their proof. `checksum` is computed from the bytes, `verified` against the event.

    `content` is only the beginning of a file that is too large to hold; `whole` has it then.
    """

    file: RequestedFile
    content: bytes
    source: Carrier
    checksum: str
    verified: bool
    whole: StoredFile | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.whole.size if self.whole else len(self.content)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A file whose bytes no source yields; `error` is the first choice's."""

    file: RequestedFile
    error: ArchonError


class Resolver:
    """Asks the fetchers in the order of `SOURCES`."""

    def __init__(
        self,
        fetchers: Sequence[Fetcher],
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._fetchers = {fetcher.carrier: fetcher for fetcher in fetchers}
        self._tell = listener
        self._clock = clock

    async def resolve(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> list[Resolved | Unresolved]:
        """One answer per file, in order."""
        answers: dict[int, Resolved] = {}
        errors: dict[int, ArchonError] = {}
        waiting: dict[int, list[Carrier]] = {}
        for index, file in enumerate(files):
            try:
                check_relative_path(file.relative_path)
                waiting[index] = self._sources(request, file)
            except ArchonError as error:
                errors[index] = error
        while waiting:
            groups: dict[Carrier, list[int]] = defaultdict(list)
            for index, sources in waiting.items():
                groups[sources.pop(0)].append(index)
            await asyncio.gather(
                *(
                    self._ask(request, files, carrier, group, answers, errors)
                    for carrier, group in groups.items()
                )
            )
            waiting = {
                index: sources for index, sources in waiting.items() if index not in answers and sources
            }
        return [answers.get(index) or Unresolved(file, errors[index]) for index, file in enumerate(files)]

    def _sources(self, request: IndexRequest, file: RequestedFile) -> list[Carrier]:
        """The sources to ask. Raises `ContentMissing` where there is none."""
        usable: list[Carrier] = []
        refusals: list[str] = []
        for carrier in SOURCES[file.carrier]:
            fetcher = self._fetchers.get(carrier)
            refusal = fetcher.refuses(request, file) if fetcher else "not configured on this agent"
            if refusal is None:
                usable.append(carrier)
            elif carrier is file.carrier:
                refusals.append(f"{carrier}: {refusal}")
        if not usable:
            raise ContentMissing("; ".join(refusals) or f"{file.carrier}: no source")
        return usable

    async def _ask(
        self,
        request: IndexRequest,
        files: Sequence[RequestedFile],
        carrier: Carrier,
        group: Sequence[int],
        answers: dict[int, Resolved],
        errors: dict[int, ArchonError],
    ) -> None:
        started = self._clock()
        wanted = [files[index] for index in group]
        fetched = await self._fetchers[carrier].fetch_many(request, wanted)
        seconds = (self._clock() - started) / len(group)
        for index, file, answer in zip(group, wanted, fetched, strict=True):
            if isinstance(answer, ArchonError):
                errors.setdefault(index, answer)
                continue
            result = _verify(file, answer, carrier)
            if isinstance(result, ArchonError):
                errors.setdefault(index, result)
                continue
            answers[index] = result
            first = None if carrier is file.carrier else file.carrier
            if first:
                cause = errors[index].reason if index in errors else "not_configured"
                self._tell(FallbackUsed("consumer", first, carrier, cause))
            size = result.size
            self._tell(
                FileResolved(
                    file.relative_path,
                    carrier,
                    size,
                    seconds,
                    answer.attempts,
                    first,
                    answer.cache_hit,
                    request.project_name,
                    request.correlation_id,
                    answer.wire_bytes,
                )
            )

    async def close(self) -> None:
        """Close every fetcher."""
        for fetcher in self._fetchers.values():
            await fetcher.close()


def _verify(file: RequestedFile, fetched: Fetched, source: Carrier) -> Resolved | ArchonError:
    """Check the bytes against the event: SHA-256 first, the Git blob id where there is no checksum."""
    checksum = fetched.checksum or f"sha256:{_digest(hashlib.sha256(), fetched)}"
    if file.checksum:
        if checksum != file.checksum:
            return ChecksumMismatch(f"{source} yields {checksum[:19]}…, the event says {file.checksum[:19]}…")
    elif file.git_blob and _blob_id(fetched, len(file.git_blob)) != file.git_blob:
        return ChecksumMismatch(f"{source} does not yield the Git blob {file.git_blob[:12]}")
    verified = bool(file.checksum or file.git_blob)
    return Resolved(file, fetched.content, source, checksum, verified, fetched.whole)


def _digest(digest: hashlib._Hash, fetched: Fetched) -> str:
    """`digest` after all of the file's bytes."""
    if fetched.whole is None:
        digest.update(fetched.content)
        return digest.hexdigest()
    with fetched.whole.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _blob_id(fetched: Fetched, hex_length: int) -> str:
    """The Git object id of a file as a blob: SHA-1 (40 digits) or SHA-256 (64)."""
    header = b"blob %d\0" % fetched.size
    plain = hashlib.sha256(header) if hex_length == 64 else hashlib.sha1(header, usedforsecurity=False)
    return _digest(plain, fetched)


def git_blob_id(content: bytes, hex_length: int) -> str:
    """The Git object id of a blob: SHA-1 (40 digits) or SHA-256 (64)."""
    return _blob_id(Fetched(content), hex_length)
