"""Publishing through the real planner, manifest and embedded log: every file ends in exactly one place."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from core.assembly.publishing import ingestion
from core.assembly.source import Target
from core.assembly.stores import open_log
from core.dry_run import dry_run
from core.errors import BackendUnavailable, MessageTooLarge, UsageError
from core.events.codec import decode_content, decode_request
from core.events.request import IndexRequest
from core.events.topics import REQUESTED_V2
from core.log.base import OutgoingMessage, Position, PublishFailure
from core.log.embedded import EmbeddedLog
from core.manifest import SqliteManifest
from core.planner import PlannedFile
from core.progress import BatchPublished, BatchRefused, FallbackUsed, FilesDeleted, FileSkipped, RunEvent
from core.repository.facts import FileFacts
from core.repository.tree_walk import TreeWalk
from core.settings import Settings, load
from core.summary import IngestSummary
from tests.repositories import FILES, commit, git, write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return commit(tmp_path / "shop")


def settings(home: Path, **publish: Any) -> Settings:
    flags = {f"publish.{name}": value for name, value in publish.items()}
    return load({"home": home, "log.partitions": 1, **flags}, environ={}).settings


async def ingest(
    configured: Settings,
    target: Target,
    *,
    events: list[RunEvent] | None = None,
    stop: asyncio.Event | None = None,
) -> IngestSummary:
    listener = events.append if events is not None else lambda _event: None
    async with ingestion(configured, target, listener=listener) as job:
        return await job.publisher.publish(job.planner.stream(), stop=stop)


async def published(configured: Settings) -> list[IndexRequest]:
    async with open_log(configured) as log:
        return [decode_request(message.value) async for message in log.browse(REQUESTED_V2)]


def contents(requests: Sequence[IndexRequest]) -> dict[str, bytes]:
    return {
        file.relative_path: decode_content(file.content or "", file.content_encoding)
        for request in requests
        for file in request.files
    }


async def test_every_file_comes_back_byte_for_byte(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(repository))
    requests = await published(configured)
    assert contents(requests) == dict(FILES)
    assert summary.to_json() | {"duration_ms": 0} == {
        "project_name": "shop",
        "files_discovered": 7,
        "files_published": 7,
        "files_unchanged": 0,
        "files_deleted": 0,
        "files_skipped": 0,
        "files_unpublished": 0,
        "files_stale": 0,
        "skipped": [],
        "by_strategy": {"inline": {"files": 7, "bytes": sum(map(len, FILES.values()))}},
        "fallbacks": {},
        "batches": 1,
        "bytes": sum(map(len, FILES.values())),
        "largest_message_bytes": summary.largest_message_bytes,
        "duration_ms": 0,
        "interrupted": False,
    }
    (request,) = requests
    assert (request.project_name, request.project_path) == ("shop", None)
    assert all(file.checksum and file.git_blob for file in request.files)


async def test_a_second_ingest_publishes_what_changed(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(repository))
    again = await ingest(configured, Target(repository))
    assert (again.files_published, again.files_unchanged, again.batches) == (0, 7, 0)
    write(repository, {"app.py": b"changed\n"})
    git(repository, "rm", "-q", "pkg/util.py")
    events: list[RunEvent] = []
    third = await ingest(configured, Target(repository), events=events)
    assert (third.files_published, third.files_unchanged, third.files_deleted) == (1, 5, 1)
    assert FilesDeleted(1) in events
    requests = await published(configured)
    assert contents(requests[1:]) == {"app.py": b"changed\n"}
    assert [path for request in requests for path in request.deleted_files] == ["pkg/util.py"]
    fourth = await ingest(configured, Target(repository))
    assert (fourth.files_published, fourth.files_deleted) == (0, 0)


async def test_force_publishes_all_and_says_so_in_the_event(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(repository))
    summary = await ingest(configured, Target(repository, force_reindex=True))
    assert summary.files_published == 7
    assert [request.force_reindex for request in await published(configured)] == [False, True]


async def test_a_touched_file_is_read_and_found_unchanged(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(repository))
    (repository / "app.py").touch()
    assert (await ingest(configured, Target(repository))).files_unchanged == 7


async def test_projects_do_not_share_a_manifest(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(repository))
    assert (await ingest(configured, Target(repository, project_name="other"))).files_published == 7


async def test_tests_can_be_left_out_without_being_deleted(repository: Path, tmp_path: Path) -> None:
    await ingest(settings(tmp_path / "home"), Target(repository))
    without = await ingest(
        settings(tmp_path / "home", include_tests=False), Target(repository, force_reindex=True)
    )
    assert [(skip.path, skip.reason) for skip in without.skipped] == [("tests/test_app.py", "test_excluded")]
    assert (without.files_published, without.files_deleted, without.faults) == (6, 0, [])


async def test_the_limit_is_inclusive_and_over_it_a_file_is_skipped_with_words(tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {"at": b"x" * 102_400, "over": b"x" * 102_401})
    configured = load(
        {"home": tmp_path / "home", "publish.content_strategy": "inline"},
        environ={"CONTENT_STORAGE_PROVIDER": "none"},
    ).settings
    summary = await ingest(configured, Target(root))
    assert summary.files_published == 1
    (skip,) = summary.skipped
    assert (skip.path, skip.reason, skip.reason.is_fault) == ("over", "too_large", True)
    assert "102,401 B > 102,400 B limit" in skip.detail


async def test_encoded_size_decides_not_raw_size(tmp_path: Path) -> None:
    """Control characters grow sixfold in JSON: raw they would all fit one message."""
    files = {f"{number}.txt": b"\x01" * 90_000 for number in range(12)}
    configured = settings(tmp_path / "home", max_batch_bytes=2_000_000)
    summary = await ingest(configured, Target(commit(tmp_path / "r", files)))
    assert summary.files_published == 12
    assert summary.batches > 1
    assert summary.largest_message_bytes <= 2_000_000


async def test_batches_hold_at_most_so_many_files(tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {f"{number}.py": b"%d\n" % number for number in range(25)})
    configured = settings(tmp_path / "home", batch_size=10)
    events: list[RunEvent] = []
    assert (await ingest(configured, Target(root), events=events)).batches == 3
    assert sorted(event.files for event in events if isinstance(event, BatchPublished)) == [5, 10, 10]
    requests = await published(configured)
    assert len({request.correlation_id for request in requests}) == 1
    assert len({request.batch_id for request in requests}) == 3


async def test_preview_and_deed_do_not_differ(repository: Path, tmp_path: Path) -> None:
    configured = settings(tmp_path / "home")
    planned: list[PlannedFile] = []
    async with ingestion(configured, Target(repository), show_unchanged=True) as job:
        preview = await dry_run(job.planner.stream(), job.project_name, job.rules, each=planned.append)
    assert await published(configured) == []
    deed = await ingest(configured, Target(repository))
    assert (preview.files_published, preview.bytes, preview.batches) == (
        deed.files_published,
        deed.bytes,
        deed.batches,
    )
    assert preview.largest_message_bytes >= deed.largest_message_bytes
    assert {item.facts.path: item.strategy for item in planned} == dict.fromkeys(FILES, "inline")
    async with ingestion(configured, Target(repository), show_unchanged=True) as job:
        seen: list[PlannedFile] = []
        after = await dry_run(job.planner.stream(), job.project_name, job.rules, each=seen.append)
    assert (after.files_published, after.files_unchanged) == (0, 7)
    assert all(item.unchanged for item in seen)


async def test_stopping_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    root = commit(tmp_path / "r", {f"{number:04}.py": b"%d\n" % number for number in range(500)})
    configured = settings(tmp_path / "home", batch_size=10)
    stop = asyncio.Event()

    def on_event(event: RunEvent) -> None:
        if isinstance(event, BatchPublished):
            stop.set()

    async with ingestion(configured, Target(root), listener=on_event) as job:
        summary = await job.publisher.publish(job.planner.stream(), stop=stop)
    assert summary.interrupted
    stored = contents(await published(configured))
    assert len(stored) == summary.files_published < 500
    rest = await ingest(configured, Target(root))
    assert (rest.files_unchanged, rest.files_published) == (len(stored), 500 - len(stored))
    assert len(contents(await published(configured))) == 500


class Refusing(EmbeddedLog):
    """A real log that refuses messages over a limit it did not announce, or everything."""

    limit: int = 10**9
    error: Exception | None = None

    async def publish(
        self, topic: str, messages: Sequence[OutgoingMessage]
    ) -> Sequence[Position | PublishFailure]:
        if self.error:
            raise self.error
        if len(messages[0].value or b"") > self.limit:
            return [PublishFailure(0, MessageTooLarge(f"over {self.limit} B"))]
        return await super().publish(topic, messages)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> type[Refusing]:
    class Chosen(Refusing):
        pass

    monkeypatch.setattr("core.assembly.stores.EmbeddedLog", Chosen)
    return Chosen


async def test_a_batch_that_the_log_refuses_as_too_large_is_split(
    repository: Path, tmp_path: Path, refusing: type[Refusing]
) -> None:
    refusing.limit = 2_500
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(repository))
    assert (summary.files_published, summary.skipped) == (7, [])
    assert summary.batches > 1
    assert contents(await published(configured)) == dict(FILES)


async def test_a_single_file_too_large_for_the_log_is_skipped_and_told(
    tmp_path: Path, refusing: type[Refusing]
) -> None:
    refusing.limit = 3_000
    root = commit(tmp_path / "r", {"small": b"s", "large": b"l" * 5_000})
    configured = load({"home": tmp_path / "home"}, environ={"CONTENT_STORAGE_PROVIDER": "none"}).settings
    events: list[RunEvent] = []
    summary = await ingest(configured, Target(root), events=events)
    assert summary.files_published == 1
    assert [(skip.path, skip.reason) for skip in summary.skipped] == [("large", "too_large")]
    assert any(isinstance(event, FileSkipped) and event.is_fault for event in events)
    assert any(isinstance(event, FallbackUsed) and event.cause == "message_too_large" for event in events)


async def test_a_log_that_goes_away_leaves_files_unpublished_and_the_manifest_honest(
    repository: Path, tmp_path: Path, refusing: type[Refusing]
) -> None:
    refusing.error = BackendUnavailable("the disk is full")
    configured = settings(tmp_path / "home", batch_size=3)
    events: list[RunEvent] = []
    summary = await ingest(configured, Target(repository), events=events)
    assert (summary.files_published, summary.files_unpublished) == (0, 7)
    assert summary.refusal == "the disk is full"
    refused = [event for event in events if isinstance(event, BatchRefused)]
    assert {event.message for event in refused} == {"the disk is full"}
    assert sum(event.files for event in refused) == 7
    refusing.error = None
    assert (await ingest(configured, Target(repository))).files_published == 7


async def test_a_commit_of_a_bare_repository(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, {"app.py": b"second\n"})
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(tmp_path / "bare.git", ref=first, project_name="p"))
    assert contents(await published(configured)) == dict(FILES)
    second = await ingest(configured, Target(tmp_path / "bare.git", project_name="p"))
    assert (second.files_published, second.files_unchanged) == (1, 6)


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
async def test_a_bad_project_name_is_a_usage_error(repository: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="project name"):
        await ingest(settings(tmp_path / "home"), Target(repository, project_name=name))


async def test_a_path_that_is_not_utf8_travels_exactly(tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    (root / "caf\udce9.py").write_bytes(b"x\n")
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(root))
    assert contents(await published(configured)) == {"caf\udce9.py": b"x\n"}
    (root / "caf\udce9.py").unlink()
    (root / "other.py").write_bytes(b"y\n")
    assert (await ingest(configured, Target(root))).files_deleted == 1


async def test_deletions_too_large_for_one_message_are_split(tmp_path: Path) -> None:
    root = tmp_path / "r"
    deep = "/".join(["d" * 200] * 4)
    write(root, {f"{deep}/{number}.py": b"%d\n" % number for number in range(60)} | {"kept.py": b""})
    configured = settings(tmp_path / "home", max_batch_bytes=30_000)
    await ingest(configured, Target(root))
    for path in (root / deep).iterdir():
        path.unlink()
    summary = await ingest(configured, Target(root))
    assert (summary.files_deleted, summary.refusal) == (60, None)
    gone = [request.deleted_files for request in await published(configured) if request.deleted_files]
    assert len(gone) > 1
    assert len({path for paths in gone for path in paths}) == 60


async def test_deletions_that_the_log_refuses_as_too_large_are_split(
    tmp_path: Path, refusing: type[Refusing]
) -> None:
    root = tmp_path / "r"
    write(root, {f"{number}{'x' * 200}.py": b"" for number in range(40)} | {"kept.py": b""})
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(root))
    for path in root.glob("*x.py"):
        path.unlink()
    refusing.limit = 3_000
    assert (await ingest(configured, Target(root))).files_deleted == 40


@pytest.mark.parametrize("sparse_index", ["--sparse-index", "--no-sparse-index"])
@pytest.mark.parametrize("since", [None, "HEAD"])
async def test_what_a_sparse_checkout_leaves_out_is_not_deleted(
    tmp_path: Path, sparse_index: str, since: str | None
) -> None:
    root = commit(tmp_path / "r", {"in/a.py": b"a\n", "out/b.py": b"b\n", "out/sub/c.py": b"c\n"})
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(root))
    git(root, "sparse-checkout", "set", "--cone", sparse_index, "in")
    assert not (root / "out").exists()
    summary = await ingest(configured, Target(root, since=since))
    assert (summary.files_deleted, summary.faults) == (0, [])


async def test_what_lies_below_a_directory_that_cannot_be_read_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "r"
    write(root, {"pkg/sub/a.py": b"a\n", "gone.py": b"b\n", "other.py": b"b\n"})
    configured = settings(tmp_path / "home")
    await ingest(configured, Target(root))
    (root / "gone.py").unlink()
    names = TreeWalk._names

    def denied(self: TreeWalk, directory: bytes) -> dict[bytes, bool]:  # root is never denied
        if directory == b"pkg/":
            raise PermissionError(errno.EACCES, "Permission denied")
        return names(self, directory)

    monkeypatch.setattr(TreeWalk, "_names", denied)
    summary = await ingest(configured, Target(root))
    assert [(skip.path, skip.reason) for skip in summary.faults] == [("pkg", "unreadable")]
    assert [path for request in await published(configured) for path in request.deleted_files] == ["gone.py"]


async def test_a_time_that_no_calendar_has_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    git(root, "init", "-q")
    write(root, {"a.py": b"a\n"})
    git(root, "add", "a.py")
    tree = git(root, "write-tree")
    body = f"tree {tree}\nauthor a <a@b> 99999999999999 +0000\ncommitter a <a@b> 99999999999999 +0000\n\nx\n"
    (tmp_path / "commit").write_text(body, encoding="ascii")
    head = git(root, "hash-object", "-t", "commit", "-w", "--literally", str(tmp_path / "commit"))
    configured = settings(tmp_path / "home")
    summary = await ingest(configured, Target(root, ref=head))
    assert summary.files_published == 1
    ((file,),) = [request.files for request in await published(configured)]
    assert file.last_modified is None


async def test_a_manifest_that_cannot_be_written_ends_the_run_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(SqliteManifest):
        def record(self, files: Sequence[tuple[FileFacts, str | None]]) -> None:
            raise BackendUnavailable("the disk is full")

    monkeypatch.setattr("core.assembly.publishing.SqliteManifest", Full)
    root = tmp_path / "r"
    write(root, {f"{number}.py": b"%d\n" % number for number in range(200)})
    with pytest.raises(BackendUnavailable, match="disk is full"):
        await ingest(settings(tmp_path / "home", batch_size=1), Target(root))
    gc.collect()
    assert "never retrieved" not in caplog.text
