"""From an event's files to verified bytes: which source is asked first, which may stand in, what is proof."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from core.breaker import Breakers, BreakerState, CircuitBreaker
from core.errors import (
    ArchonError,
    BackendUnavailable,
    ChecksumMismatch,
    ContentMissing,
    DeadlineExceeded,
)
from core.events.intelligence import Delivery
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fallbacks import KEY, LINK, NOT_CONFIGURED, fallback, sources_of
from core.fetchers.base import Fetched, Fetcher, LetGo, StoredFile
from core.progress import FallbackUsed, FileResolved, Listener, ignore
from core.safety.git_url import authority_of
from core.safety.path import check_relative_path

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
# Another batch's probe may close the breaker before its pause ends.
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """A file's bytes and their proof. `checksum` is computed from the bytes, `verified` against the event.

    `content` is only the beginning of a file that is too large to hold; `whole` has it then. It is empty
    where it was `let_go`. `fallback` says what stood in for what, if anything did (see
    `core.fallbacks.fallback`).
    """

    file: RequestedFile
    content: bytes
    source: Carrier
    checksum: str
    verified: bool
    whole: StoredFile | None = None
    delivery: Delivery | None = None
    fallback: str | None = None
    let_go: LetGo | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        elsewhere = self.whole or self.let_go
        return elsewhere.size if elsewhere else len(self.content)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A file whose bytes no source yields; `error` is the first choice's."""

    file: RequestedFile
    error: ArchonError


@dataclass(slots=True)
class _Search:
    """One call of `resolve` under way: by a file's index, the sources still to ask, and what came of it.

    A source that was passed over while its breaker was open is asked again at the end, with patience.
    """

    request: IndexRequest
    files: Sequence[RequestedFile]
    waiting: dict[int, list[Carrier]] = field(default_factory=dict)
    passed_over: set[tuple[int, Carrier]] = field(default_factory=set)
    answers: dict[int, Resolved] = field(default_factory=dict)
    errors: dict[int, ArchonError] = field(default_factory=dict)


class Resolver:
    """Asks the fetchers in the order of `core.fallbacks`, with a circuit breaker per host or bucket."""

    def __init__(
        self,
        fetchers: Sequence[Fetcher],
        listener: Listener = ignore,
        clock: Callable[[], float] = time.perf_counter,
        *,
        breakers: Breakers | None = None,
        patience_s: float = 60.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """A file that only an open breaker's backend can have waits for it, `patience_s` seconds at most:
        otherwise an outage of seconds would dead-letter all that waits in the log.
        """
        self._fetchers = {fetcher.carrier: fetcher for fetcher in fetchers}
        self._tell = listener
        self._clock = clock
        self.breakers = breakers or Breakers("consumer", listener=listener)
        self._patience_s = patience_s
        self._sleep = sleep

    async def resolve(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> list[Resolved | Unresolved]:
        """One answer per file, in order."""
        search = _Search(request, files)
        for index, file in enumerate(files):
            try:
                check_relative_path(file.relative_path)
                search.waiting[index] = self._sources(request, file)
            except ArchonError as error:
                search.errors[index] = error
        while search.waiting:
            groups: dict[Carrier, list[int]] = defaultdict(list)
            for index, sources in search.waiting.items():
                groups[sources.pop(0)].append(index)
            await asyncio.gather(*(self._ask(search, carrier, group) for carrier, group in groups.items()))
            search.waiting = {
                index: sources
                for index, sources in search.waiting.items()
                if index not in search.answers and sources
            }
        answers = [
            search.answers.get(index) or Unresolved(file, search.errors[index])
            for index, file in enumerate(files)
        ]
        used = Counter(answer.fallback for answer in search.answers.values() if answer.fallback)
        for name, count in used.items():
            logger.warning("fallback %s, %d of %d files", name, count, len(files))
        return answers

    def _sources(self, request: IndexRequest, file: RequestedFile) -> list[Carrier]:
        """The sources to ask. Raises `ContentMissing` where there is none."""
        usable: list[Carrier] = []
        refusals: list[str] = []
        for carrier in sources_of(file.carrier):
            fetcher = self._fetchers.get(carrier)
            refusal = fetcher.refuses(request, file) if fetcher else "not configured on this agent"
            if refusal is None:
                usable.append(carrier)
            elif carrier is file.carrier:
                refusals.append(f"{carrier}: {refusal}")
        if not usable:
            raise ContentMissing("; ".join(refusals) or f"{file.carrier}: no source")
        return usable

    async def _ask(self, search: _Search, carrier: Carrier, group: Sequence[int]) -> None:
        backend = _backend(search.request, carrier)
        if backend is None:
            await self._fetch(search, carrier, group)
            return
        breaker = self.breakers.of(carrier, backend)
        patience = self._clock() + self._patience_s
        rest = list(group)
        while rest:
            if breaker.admit():
                several = breaker.state is BreakerState.CLOSED
                taken, rest = (rest, []) if several else (rest[:1], rest[1:])
                for outcome in _of_backend(await self._fetch(search, carrier, taken)):
                    breaker.record(outcome)
                continue
            rest = [index for index in rest if not self._pass_over(search, carrier, index, breaker)]
            if rest and self._clock() >= patience:
                search.errors.update(
                    (index, breaker.refusal()) for index in rest if index not in search.errors
                )
                return
            if rest:
                await self._sleep(min(breaker.wait_s, _POLL_S))

    def _pass_over(self, search: _Search, carrier: Carrier, index: int, breaker: CircuitBreaker) -> bool:
        """Leave a source whose breaker is open for the end, where another can be asked before."""
        if not search.waiting[index] or (index, carrier) in search.passed_over:
            return False
        search.passed_over.add((index, carrier))
        search.errors.setdefault(index, breaker.refusal())
        search.waiting[index].append(carrier)
        return True

    async def _fetch(
        self, search: _Search, carrier: Carrier, group: Sequence[int]
    ) -> list[ArchonError | None]:
        """Fetch and verify; the source's error for each file of the group, None where it answered."""
        request = search.request
        started = self._clock()
        wanted = [search.files[index] for index in group]
        fetched = await self._fetchers[carrier].fetch_many(request, wanted)
        seconds = (self._clock() - started) / len(group)
        for index, file, answer in zip(group, wanted, fetched, strict=True):
            if isinstance(answer, ArchonError):
                search.errors.setdefault(index, answer)
                continue
            first = None if carrier is file.carrier else file.carrier
            result = _verify(file, answer, carrier, _delivery(answer, seconds, first))
            if isinstance(result, ArchonError):
                search.errors.setdefault(index, result)
                continue
            stood_in: tuple[str, str, str] | None = None
            if first:
                cause = search.errors[index].reason if index in search.errors else NOT_CONFIGURED
                stood_in = (first, carrier, cause)
            elif answer.link_refusal:
                stood_in = (LINK, KEY, answer.link_refusal)
            if stood_in:
                self._tell(FallbackUsed("consumer", *stood_in))
                result = replace(result, fallback=fallback(*stood_in))
            search.answers[index] = result
            self._tell(
                FileResolved(
                    file.relative_path,
                    carrier,
                    result.size,
                    seconds,
                    answer.attempts,
                    first,
                    answer.cache_hit,
                    request.project_name,
                    request.correlation_id,
                    answer.wire_bytes,
                )
            )
        return [answer if isinstance(answer, ArchonError) else None for answer in fetched]

    async def close(self) -> None:
        """Close every fetcher."""
        for fetcher in self._fetchers.values():
            await fetcher.close()


def _of_backend(outcomes: Sequence[ArchonError | None]) -> Sequence[ArchonError | None]:
    """What an exchange for several files says of its backend: one that answered for any of them works."""
    silent = all(isinstance(error, BackendUnavailable | DeadlineExceeded) for error in outcomes)
    return outcomes if silent else [None]


def _backend(request: IndexRequest, carrier: Carrier) -> str | None:
    """The host or bucket that a request's files of a carrier come from; None where nothing is asked."""
    if carrier is Carrier.GIT_REFERENCE:
        return authority_of(request.git_url or "")
    if carrier is Carrier.OBJECT_STORAGE:
        where = request.object_storage
        return f"{where.provider} {where.bucket}" if where else ""
    return None


def _delivery(fetched: Fetched, seconds: float, stood_in_for: Carrier | None) -> Delivery:
    return Delivery(
        seconds=seconds,
        attempts=fetched.attempts,
        wire_bytes=fetched.wire_bytes,
        cache_hit=fetched.cache_hit,
        fallback_from=stood_in_for,
    )


def _verify(
    file: RequestedFile, fetched: Fetched, source: Carrier, delivery: Delivery
) -> Resolved | ArchonError:
    """Check the bytes against the event: SHA-256 first, the Git blob id where there is no checksum."""
    checksum = fetched.checksum or f"sha256:{_digest(hashlib.sha256(), fetched)}"
    if file.checksum:
        if checksum != file.checksum:
            return ChecksumMismatch(f"{source} yields {checksum[:19]}…, the event says {file.checksum[:19]}…")
    elif file.git_blob and not _is_blob(fetched, file.git_blob):
        return ChecksumMismatch(f"{source} does not yield the Git blob {file.git_blob[:12]}")
    verified = bool(file.checksum or file.git_blob)
    return Resolved(
        file,
        fetched.content,
        source,
        checksum,
        verified,
        fetched.whole,
        delivery,
        let_go=fetched.let_go,
    )


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


def _is_blob(fetched: Fetched, blob: str) -> bool:
    return fetched.git_blob == blob or _blob_id(fetched, len(blob)) == blob


def git_blob_id(content: bytes, hex_length: int) -> str:
    """The Git object id of a blob: SHA-1 (40 digits) or SHA-256 (64)."""
    return _blob_id(Fetched(content), hex_length)
