"""Which source is asked, what may stand in, and that nothing unverified papers over a mismatch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.breaker import Breakers
from core.errors import (
    ArchonError,
    BackendUnavailable,
    ChecksumMismatch,
    ContentMissing,
    InvalidEvent,
    UnsafeInput,
)
from core.events.request import Carrier, IndexRequest, RequestedFile
from core.fetchers.base import Fetched
from core.fetchers.inline import InlineFetcher
from core.fetchers.local_path import LocalPathFetcher
from core.fetchers.resolver import Resolved, Resolver, Unresolved, git_blob_id
from core.progress import FallbackUsed, FileResolved, RunEvent

CONTENT = b"print('hi')\n"
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
INLINE = RequestedFile(
    "a.py", Carrier.INLINE, checksum=SHA, content=CONTENT.decode(), content_encoding="utf-8"
)


def request(*files: RequestedFile, project_path: str | None = None) -> IndexRequest:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return IndexRequest("e", "t", "c", now, "2.0.0", "1", "p", project_path, files)


class Source:
    """A source that answers as told and remembers what it was asked."""

    def __init__(self, carrier: Carrier, answer: Fetched | ArchonError, refusal: str | None = None) -> None:
        self.carrier = carrier
        self.answer = answer
        self.refusal = refusal
        self.asked: list[str] = []

    def refuses(self, request: IndexRequest, file: RequestedFile) -> str | None:
        return self.refusal

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        self.asked += [file.relative_path for file in files]
        return [self.answer for _ in files]

    async def close(self) -> None: ...


async def resolve(file: RequestedFile, *sources: Source) -> Resolved | Unresolved:
    (answer,) = await Resolver(sources).resolve(request(file), [file])
    return answer


async def test_inline_content_is_verified() -> None:
    (answer,) = await Resolver([InlineFetcher()]).resolve(request(INLINE), [INLINE])
    assert isinstance(answer, Resolved)
    assert (answer.content, answer.source, answer.checksum, answer.verified) == (CONTENT, "inline", SHA, True)


async def test_empty_content_is_content() -> None:
    empty = replace(INLINE, content="", checksum=f"sha256:{hashlib.sha256(b'').hexdigest()}")
    (answer,) = await Resolver([InlineFetcher()]).resolve(request(empty), [empty])
    assert isinstance(answer, Resolved)
    assert answer.content == b""


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"content": "other"}, ChecksumMismatch),
        ({"content": None}, ContentMissing),
        ({"content": "%%%", "content_encoding": "base64"}, InvalidEvent),
        ({"content": "\u20ac", "content_encoding": "latin-1"}, InvalidEvent),
        ({"relative_path": "../a.py"}, UnsafeInput),
        ({"relative_path": "/etc/passwd"}, UnsafeInput),
        ({"relative_path": ".git/config"}, UnsafeInput),
        ({"relative_path": "a\0b"}, UnsafeInput),
    ],
)
async def test_bad_files_fail_alone(changes: dict[str, str], error: type[ArchonError]) -> None:
    bad = replace(INLINE, **changes)  # type: ignore[arg-type]
    answers = await Resolver([InlineFetcher()]).resolve(request(bad, INLINE), [bad, INLINE])
    assert isinstance(answers[0], Unresolved)
    assert isinstance(answers[0].error, error)
    assert isinstance(answers[1], Resolved)


async def test_a_failing_source_is_replaced_and_said_so() -> None:
    events: list[RunEvent] = []
    file = RequestedFile("a.py", Carrier.OBJECT_STORAGE, checksum=SHA, object_key="k", git_blob="1" * 40)
    storage = Source(Carrier.OBJECT_STORAGE, BackendUnavailable("503"))
    git = Source(Carrier.GIT_REFERENCE, Fetched(CONTENT))
    (answer,) = await Resolver([storage, git], events.append).resolve(request(file), [file])
    assert isinstance(answer, Resolved)
    assert answer.source is Carrier.GIT_REFERENCE
    fallback, resolved = events
    assert fallback == FallbackUsed("consumer", "object_storage", "git_reference", "backend_unavailable")
    assert isinstance(resolved, FileResolved)
    assert resolved.fallback_from == "object_storage"


async def test_a_mismatch_is_not_papered_over() -> None:
    file = RequestedFile("a.py", Carrier.OBJECT_STORAGE, checksum=SHA, object_key="k", git_blob="1" * 40)
    wrong = Fetched(b"wrong")
    answer = await resolve(file, Source(Carrier.OBJECT_STORAGE, wrong), Source(Carrier.GIT_REFERENCE, wrong))
    assert isinstance(answer, Unresolved)
    assert isinstance(answer.error, ChecksumMismatch)


async def test_the_first_choice_names_the_error_when_all_fail() -> None:
    file = RequestedFile("a.py", Carrier.GIT_REFERENCE, checksum=SHA, git_blob="1" * 40, object_key="k")
    git = Source(Carrier.GIT_REFERENCE, ContentMissing("unknown commit"))
    storage = Source(Carrier.OBJECT_STORAGE, BackendUnavailable("refused"))
    answer = await resolve(file, git, storage)
    assert isinstance(answer, Unresolved)
    assert str(answer.error) == "unknown commit"
    assert storage.asked == ["a.py"]


async def test_a_source_that_refuses_is_not_asked() -> None:
    file = RequestedFile("a.py", Carrier.OBJECT_STORAGE, checksum=SHA, object_key="k")
    storage = Source(Carrier.OBJECT_STORAGE, Fetched(CONTENT), refusal="no bucket")
    answer = await resolve(file, storage)
    assert isinstance(answer, Unresolved)
    assert "no bucket" in str(answer.error)
    assert storage.asked == []


async def test_no_source_is_a_named_error() -> None:
    answer = await resolve(replace(INLINE, carrier=Carrier.OBJECT_STORAGE))
    assert isinstance(answer, Unresolved)
    assert "not configured on this agent" in str(answer.error)


@pytest.mark.parametrize(
    ("blob", "verified"), [(git_blob_id(CONTENT, 40), True), (git_blob_id(CONTENT, 64), True)]
)
async def test_a_git_blob_is_proof(blob: str, verified: bool) -> None:
    file = RequestedFile("a.py", Carrier.GIT_REFERENCE, git_blob=blob)
    answer = await resolve(file, Source(Carrier.GIT_REFERENCE, Fetched(CONTENT)))
    assert isinstance(answer, Resolved)
    assert answer.verified is verified
    other = await resolve(file, Source(Carrier.GIT_REFERENCE, Fetched(b"other")))
    assert isinstance(other, Unresolved)


def test_git_blob_ids_are_gits() -> None:
    assert git_blob_id(b"", 40) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_id(b"", 64) == "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"


class TestLocalPaths:
    """v1 paths: read on this machine only, and only below project_path."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        root = tmp_path / "project"
        (root / "pkg").mkdir(parents=True)
        (root / "pkg" / "a.py").write_bytes(CONTENT)
        (tmp_path / "secret").write_text("secret")
        (root / "link").symlink_to(tmp_path / "secret")
        (root / "up").symlink_to(tmp_path, target_is_directory=True)
        return root

    async def read(self, root: Path, project: Path, **fields: str) -> Resolved | Unresolved:
        file = RequestedFile(**{"relative_path": "pkg/a.py", "carrier": Carrier.LOCAL_PATH, **fields})  # type: ignore[arg-type]
        resolver = Resolver([LocalPathFetcher(lambda: [root], max_bytes=100)])
        (answer,) = await resolver.resolve(request(file, project_path=str(project)), [file])
        return answer

    async def test_a_path_is_read_unverified(self, project: Path) -> None:
        answer = await self.read(project, project, file_path=str(project / "pkg/a.py"))
        assert isinstance(answer, Resolved)
        assert (answer.content, answer.verified) == (CONTENT, False)

    @pytest.mark.parametrize(
        "escape", ["{tmp}/secret", "{project}/../secret", "{project}/link", "{project}/up/secret"]
    )
    async def test_nothing_outside_is_read(self, project: Path, tmp_path: Path, escape: str) -> None:
        answer = await self.read(tmp_path, project, file_path=escape.format(tmp=tmp_path, project=project))
        assert isinstance(answer, Unresolved)

    async def test_a_project_outside_the_roots_is_refused(self, project: Path, tmp_path: Path) -> None:
        answer = await self.read(project, tmp_path, relative_path="secret")
        assert isinstance(answer, Unresolved)
        assert "local_roots" in str(answer.error)

    async def test_a_missing_path_says_so(self, project: Path) -> None:
        answer = await self.read(project, project, relative_path="none.py")
        assert isinstance(answer, Unresolved)
        assert isinstance(answer.error, ContentMissing)

    async def test_a_file_over_the_limit_is_not_held(self, project: Path) -> None:
        (project / "big").write_bytes(b"x" * 101)
        answer = await self.read(project, project, relative_path="big")
        assert isinstance(answer, Unresolved)
        assert answer.error.reason == "content_too_large"


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.woken = 0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.woken += 1


class Flapping(Source):
    """A source that is down until `back_at`."""

    def __init__(self, carrier: Carrier, clock: Clock, back_at: float) -> None:
        super().__init__(carrier, Fetched(CONTENT))
        self.clock = clock
        self.back_at = back_at

    async def fetch_many(
        self, request: IndexRequest, files: Sequence[RequestedFile]
    ) -> Sequence[Fetched | ArchonError]:
        answers = await super().fetch_many(request, files)
        return answers if self.clock() >= self.back_at else [BackendUnavailable("down") for _ in files]


class TestBreakers:
    """A dead backend is not hammered, and an outage does not dead-letter what waits in the log."""

    def files(self, count: int, carrier: Carrier = Carrier.OBJECT_STORAGE) -> list[RequestedFile]:
        return [
            RequestedFile(f"{number}.py", carrier, checksum=SHA, object_key="k", git_blob="1" * 40)
            for number in range(count)
        ]

    def resolver(self, clock: Clock, *sources: Source, events: list[RunEvent] | None = None) -> Resolver:
        told: list[RunEvent] = [] if events is None else events
        breakers = Breakers("consumer", failures=3, pause_s=10, clock=clock, listener=told.append)
        return Resolver(sources, told.append, clock, breakers=breakers, patience_s=60, sleep=clock.sleep)

    async def test_an_open_breaker_goes_to_the_stand_in_at_once(self) -> None:
        clock = Clock()
        storage = Flapping(Carrier.OBJECT_STORAGE, clock, back_at=1e9)
        git = Source(Carrier.GIT_REFERENCE, Fetched(CONTENT))
        events: list[RunEvent] = []
        resolver = self.resolver(clock, storage, git, events=events)
        for batch in (self.files(3), self.files(50)):
            answers = await resolver.resolve(request(*batch), batch)
            assert {answer.source for answer in answers if isinstance(answer, Resolved)} == {"git_reference"}
        assert len(storage.asked) == 3
        assert clock.woken == 0
        causes = [event.cause for event in events if isinstance(event, FallbackUsed)]
        assert causes == ["backend_unavailable"] * 3 + ["circuit_open"] * 50

    async def test_without_a_stand_in_files_wait_until_the_backend_is_back(self) -> None:
        clock = Clock()
        storage = Flapping(Carrier.OBJECT_STORAGE, clock, back_at=25)
        resolver = self.resolver(clock, storage)
        first, second = self.files(3), self.files(10)
        assert all(
            isinstance(answer, Unresolved) for answer in await resolver.resolve(request(*first), first)
        )
        answers = await resolver.resolve(request(*second), second)
        assert [isinstance(answer, Resolved) for answer in answers] == [False] * 2 + [True] * 8
        assert len(storage.asked) == 3 + 2 + 8
        assert 25 <= clock() < 60

    async def test_patience_ends_and_says_why(self) -> None:
        clock = Clock()
        resolver = self.resolver(clock, Flapping(Carrier.OBJECT_STORAGE, clock, back_at=1e9))
        for batch in (self.files(3), self.files(20)):
            answers = await resolver.resolve(request(*batch), batch)
        assert 60 <= clock() <= 71
        reasons = [answer.error.reason for answer in answers if isinstance(answer, Unresolved)]
        assert len(reasons) == 20
        assert set(reasons) == {"backend_unavailable", "circuit_open"}

    async def test_when_all_sources_are_open_each_is_passed_over_once(self) -> None:
        clock = Clock()
        storage = Flapping(Carrier.OBJECT_STORAGE, clock, back_at=15)
        git = Flapping(Carrier.GIT_REFERENCE, clock, back_at=1e9)
        resolver = self.resolver(clock, storage, git)
        first, second = self.files(3), self.files(1)
        await resolver.resolve(request(*first), first)
        (answer,) = await resolver.resolve(request(*second), second)
        assert isinstance(answer, Unresolved)  # it was the probe of a backend that was still away
        clock.now += 10
        (answer,) = await resolver.resolve(request(*second), second)
        assert isinstance(answer, Resolved)
        assert answer.source is Carrier.OBJECT_STORAGE

    async def test_one_exchange_that_brings_most_files_says_that_the_backend_works(self) -> None:
        class Partly(Source):
            async def fetch_many(
                self, request: IndexRequest, files: Sequence[RequestedFile]
            ) -> Sequence[Fetched | ArchonError]:
                answers = await super().fetch_many(request, files)
                failed = [BackendUnavailable("no answer") for _ in files[:5]]
                return [*failed, *answers[5:]]

        resolver = self.resolver(Clock(), Partly(Carrier.OBJECT_STORAGE, Fetched(CONTENT)))
        batch = self.files(100)
        await resolver.resolve(request(*batch), batch)
        assert resolver.breakers.tripped == []

    async def test_a_wrong_answer_is_an_answer(self) -> None:
        clock = Clock()
        storage = Source(Carrier.OBJECT_STORAGE, Fetched(b"wrong"))
        resolver = self.resolver(clock, storage)
        batch = self.files(20)
        await resolver.resolve(request(*batch), batch)
        assert resolver.breakers.tripped == []
