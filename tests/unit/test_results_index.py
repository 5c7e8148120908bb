"""The results index: what stands for a path, how it is listed, summed up and found."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.database import connect
from core.errors import BackendUnavailable, ConfigurationError, UsageError
from core.events.intelligence import FileAnalysis, FileIdentity, LineCounts, Score, Scores, Symbol
from core.events.order import RequestPosition
from core.events.record import Analysis, FileRecord
from core.events.request import IndexRequest
from core.results import tables
from core.results.base import BatchResult
from core.results.index import ResultsIndex
from core.results.records import ComplexFunction, LanguageTotals, ProjectTotals

NOON = datetime(2025, 11, 22, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)

HOSTILE = [
    *("", " ", '"', "'", "*", "(", ")", "-", "%", "^user", "user*", "(user", '"user user', "user\\", "a\0b"),
    *(
        "user OR",
        "AND",
        "NOT user",
        "user -load",
        "path_words : user",
        "{path_words}",
        "NEAR(a b)",
        "💥",
        "\udcff",
    ),
]


def analysis(
    *functions: tuple[str, int],
    language: str | None = "python",
    code: int = 10,
    quality: float | None = 0.5,
    version: str = "1",
) -> FileAnalysis:
    score = Score(value=quality, reason=None if quality is not None else "empty")
    return FileAnalysis(
        language=language,
        is_binary=False,
        encoding="utf-8",
        lines=LineCounts(total=code + 2, code=code, comment=1, blank=1),
        symbols=tuple(
            Symbol(kind="function", name=name, start_line=line, end_line=line, complexity=complexity)
            for line, (name, complexity) in enumerate(functions, 1)
        ),
        max_complexity=max((complexity for _, complexity in functions), default=None),
        scores=Scores(quality=score, complexity=score, maintainability=score, documentation=score),
        maturity="mature",
        analyzer_version=version,
    )


def record(
    path: str,
    analysed: FileAnalysis | None = None,
    *,
    project: str = "shop",
    checksum: str = "1",
    size: int = 100,
) -> FileRecord:
    identity = FileIdentity.model_construct(
        project=project,
        path=path,
        checksum=f"sha256:{checksum * 64}",
        checksum_verified=True,
        size_bytes=size,
        content_source="inline",
        correlation_id="run-1",
        generated_at=NOON,
    )
    return FileRecord(identity, Analysis.of(analysed or analysis()))


def batch(
    *records: FileRecord, deleted: Sequence[str] = (), at: datetime = NOON, project: str = "shop"
) -> BatchResult:
    request = IndexRequest(
        event_id="event",
        event_type="requested",
        correlation_id="run-1",
        timestamp=at,
        schema_version="2.0.0",
        batch_id="1",
        project_name=project,
        project_path=None,
        files=(),
    )
    return BatchResult(request, records, deleted)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[ResultsIndex]:
    async with ResultsIndex(tmp_path / "results.db") as index:
        yield index


async def paths(index: ResultsIndex, **options: str | int | None) -> list[str]:
    return [file.path async for file in index.query(**options)]  # type: ignore[arg-type] # the query's own


async def found(index: ResultsIndex, words: str, **options: str | int) -> list[str]:
    return [hit.path for hit in await index.search(words, **options)]  # type: ignore[arg-type] # the search's own


# What stands for a path


async def test_a_record_comes_back_whole(index: ResultsIndex) -> None:
    written = record("src/cart.py", analysis(("add", 3), ("total", 1)))
    await index.write(batch(written))
    stored = await index.record("shop", "src/cart.py")
    assert stored is not None
    assert stored.intelligence() == written.intelligence()
    assert stored.to_json()["symbols"][0]["name"] == "add"
    (file,) = [file async for file in index.query()]
    assert (file.path, file.symbols, file.max_complexity, file.code_lines) == ("src/cart.py", 2, 3, 10)
    assert (file.checksum_verified, file.generated_at) == (True, NOON)


async def test_a_record_is_there_after_reopening(tmp_path: Path) -> None:
    for _ in range(2):
        async with ResultsIndex(tmp_path / "results.db") as index:
            await index.write(batch(record("a.py")))
            assert await paths(index) == ["a.py"]


async def test_writing_a_batch_again_changes_nothing(index: ResultsIndex) -> None:
    result = batch(record("a.py", analysis(("load", 1))), deleted=["gone.py"])
    await index.write(result)
    before = [stored async for stored in index.records()]
    await index.write(result)
    assert [stored async for stored in index.records()] == before
    assert await found(index, "load") == ["a.py"]


async def test_a_newer_request_replaces_a_record(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", analysis(("before", 1)))))
    await index.write(batch(record("a.py", analysis(("after", 1)), checksum="2"), at=LATER))
    assert await found(index, "after") == ["a.py"]
    assert await found(index, "before") == []


async def test_an_older_request_delivered_late_changes_nothing(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", analysis(("new", 1)), checksum="2"), at=LATER))
    await index.write(batch(record("a.py", analysis(("old", 1)))))
    await index.write(batch(deleted=["a.py"]))
    assert await found(index, "new") == ["a.py"]
    assert await found(index, "old") == []


async def test_a_newer_analyzer_replaces_what_an_older_one_made_of_the_same_request(
    index: ResultsIndex,
) -> None:
    await index.write(batch(record("a.py", analysis(version="1"))))
    await index.write(batch(record("a.py", analysis(version="2"))))
    assert [file.analyzer_version async for file in index.query()] == ["2"]


async def test_a_forced_request_replaces_the_analysis_of_the_same_bytes(index: ResultsIndex) -> None:
    await index.write(batch(record("a", analysis(language=None))))
    await index.write(batch(record("a", analysis(language="bash")), at=LATER))
    assert [file.language async for file in index.query()] == ["bash"]


async def test_a_deletion_forgets_the_path_everywhere(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", analysis(("load", 9))), record("b.py")))
    await index.write(batch(deleted=["a.py"], at=LATER))
    assert await paths(index) == ["b.py"]
    assert await index.record("shop", "a.py") is None
    assert await found(index, "load") == []
    assert (await index.summary("shop")).complex_functions == ()
    assert [total.files for total in await index.projects()] == [1]


@pytest.mark.parametrize("known", [True, False], ids=["known path", "unknown path"])
async def test_a_deleted_path_stays_deleted_when_an_older_batch_comes_late(
    index: ResultsIndex, known: bool
) -> None:
    if known:
        await index.write(batch(record("a.py")))
    await index.write(batch(deleted=["a.py"], at=LATER))
    await index.write(batch(record("a.py")))
    assert await paths(index) == []
    await index.write(batch(record("a.py"), at=LATER + timedelta(seconds=1)))
    assert await paths(index) == ["a.py"]


async def test_a_deletion_stays_within_its_project(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", project="shop"), record("a.py", project="bank")))
    await index.write(batch(deleted=["a.py"], project="bank", at=LATER))
    assert [file.project async for file in index.query()] == ["shop"]


async def test_deleting_text_that_is_no_path_is_passed_over(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py"), record("b.py")))
    await index.write(batch(deleted=["\ud800", "a.py", ""], at=LATER))
    assert await paths(index) == ["b.py"]


async def test_a_time_without_a_zone_is_utc(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", checksum="2"), at=LATER.replace(tzinfo=None)))
    await index.write(batch(record("a.py", checksum="1")))
    assert [file.checksum[-1] async for file in index.query()] == ["2"]


@pytest.mark.parametrize("path", ["caf\udce9.py", "naïve.py", "a b/[x].py", "q\"uote'.py", "日本.py"])
async def test_any_path_is_a_key(index: ResultsIndex, path: str) -> None:
    await index.write(batch(record(path, analysis(("f", 2)))))
    await index.write(batch(record(path, analysis(("g", 2)), checksum="2"), at=LATER))
    assert await paths(index) == [path]
    assert (await index.search("py"))[0].path == path
    assert (await index.summary("shop")).complex_functions == (ComplexFunction(path, "g", 1, 2),)
    await index.write(batch(deleted=[path], at=LATER))
    assert await paths(index) == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.py", "b.py"]), st.integers(0, 3), st.sampled_from(["one", "two", None])
        ),
        max_size=12,
    )
)
def test_the_newest_request_stands_in_whatever_order_batches_come(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[str, int, str | None]]
) -> None:
    async def run() -> None:
        newest: dict[str, tuple[int, str | None]] = {}
        async with ResultsIndex(tmp_path_factory.mktemp("index") / "results.db") as index:
            for path, second, symbol in batches:
                at = NOON + timedelta(seconds=second)
                if symbol is None:
                    await index.write(batch(deleted=[path], at=at))
                else:
                    await index.write(batch(record(path, analysis((symbol, 1)), checksum=symbol[0]), at=at))
                if second >= newest.get(path, (0, None))[0]:
                    newest[path] = (second, symbol)
            for symbol in ("one", "two"):
                assert await found(index, symbol) == sorted(p for p, (_, s) in newest.items() if s == symbol)
            assert await paths(index) == sorted(path for path, (_, symbol) in newest.items() if symbol)

    asyncio.run(run())


# Listing


async def test_files_are_listed_in_the_order_asked_for(index: ResultsIndex) -> None:
    await index.write(
        batch(
            record("b.py", analysis(("f", 9), quality=0.9), size=1),
            record("a.py", analysis(("f", 2), quality=None), size=3),
            record("c.md", analysis(language="markdown", quality=0.1), size=2),
        )
    )
    assert await paths(index) == ["a.py", "b.py", "c.md"]
    assert await paths(index, sort="complexity") == ["b.py", "a.py", "c.md"]
    assert await paths(index, sort="quality") == ["c.md", "b.py", "a.py"]
    assert await paths(index, sort="size") == ["a.py", "c.md", "b.py"]
    assert await paths(index, sort="size", limit=1) == ["a.py"]
    assert await paths(index, language="markdown") == ["c.md"]
    assert await paths(index, project="bank") == []


async def test_an_unknown_order_is_a_usage_error(index: ResultsIndex) -> None:
    with pytest.raises(UsageError, match="no order path;--") as caught:
        await paths(index, sort="path;--")
    assert caught.value.hint == "choose one of path, complexity, quality, size"


async def test_long_lists_come_in_pages_and_show_no_path_deleted_meanwhile(index: ResultsIndex) -> None:
    names = [f"{n:04}.py" for n in range(1200)]
    await index.write(batch(*map(record, names)))
    listed: list[str] = []
    async for file in index.query():
        if not listed:
            await index.write(batch(deleted=["1100.py"], at=LATER))
        listed.append(file.path)
    assert listed == [name for name in names if name != "1100.py"]


# Summing up


async def test_a_summary_counts_languages_and_finds_the_most_complex_functions(index: ResultsIndex) -> None:
    await index.write(
        batch(
            record("a.py", analysis(("small", 1), ("large", 20), code=5)),
            record("b.py", analysis(("middle", 10), ("tiny", 1), code=7)),
            record("c.go", analysis(("other", 15), language="go", code=100), size=50),
            record("d", analysis(language=None, code=1)),
        )
    )
    summary = await index.summary("shop", functions=3)
    assert summary.languages == (
        LanguageTotals("go", 1, 50, 100),
        LanguageTotals("python", 2, 200, 12),
        LanguageTotals(None, 1, 100, 1),
    )
    assert (summary.files, summary.bytes, summary.code_lines) == (4, 350, 113)
    assert summary.complex_functions == (
        ComplexFunction("a.py", "large", 2, 20),
        ComplexFunction("c.go", "other", 1, 15),
        ComplexFunction("b.py", "middle", 1, 10),
    )


async def test_a_project_nobody_knows_is_empty(index: ResultsIndex) -> None:
    summary = await index.summary("nobody")
    assert (summary.files, summary.bytes, summary.languages, summary.complex_functions) == (0, 0, (), ())


async def test_projects_are_listed_with_their_totals(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py", project="shop"), record("a.py", project="bank", size=7)))
    assert await index.projects() == [
        ProjectTotals("bank", 1, 7, NOON),
        ProjectTotals("shop", 1, 100, NOON),
    ]


# Searching


@pytest.fixture
async def searchable(index: ResultsIndex) -> ResultsIndex:
    await index.write(
        batch(
            record("src/userStore.py", analysis(("load", 1), ("save", 1))),
            record(
                "src/http/client.py", analysis(("getUserName", 1), ("retry_after", 1), ("getUserName", 1))
            ),
            record("docs/readme.md", analysis(language="markdown")),
            record("src/user.py", project="bank"),
        )
    )
    return index


async def test_names_are_found_by_their_parts_and_paths_come_first(searchable: ResultsIndex) -> None:
    hits = await searchable.search("user", project="shop")
    assert [hit.to_json() for hit in hits] == [
        {"project": "shop", "path": "src/userStore.py", "language": "python", "symbols": []},
        {"project": "shop", "path": "src/http/client.py", "language": "python", "symbols": ["getUserName"]},
    ]


async def test_every_word_must_occur_in_the_path_or_a_symbol(searchable: ResultsIndex) -> None:
    assert await found(searchable, "http user") == ["src/http/client.py"]
    assert await found(searchable, "http save") == []
    assert await found(searchable, "src/http") == ["src/http/client.py"]
    assert await found(searchable, "retryAfter") == ["src/http/client.py"]


async def test_a_search_keeps_to_its_project_and_limit(searchable: ResultsIndex) -> None:
    assert await found(searchable, "user", project="bank") == ["src/user.py"]
    assert len(await found(searchable, "user")) == 3
    assert len(await found(searchable, "user", limit=2)) == 2


@pytest.mark.parametrize("words", HOSTILE)
async def test_no_query_is_an_error(searchable: ResultsIndex, words: str) -> None:
    await searchable.search(words)


@settings(max_examples=100, deadline=None)
@given(words=st.text(st.characters()))
def test_no_text_is_an_error(tmp_path_factory: pytest.TempPathFactory, words: str) -> None:
    async def run() -> None:
        async with ResultsIndex(tmp_path_factory.getbasetemp() / "searched.db") as index:
            await index.search(words)

    asyncio.run(run())


# Trouble, and company


def _write_alone(path: Path, project: str) -> None:
    async def run() -> None:
        async with ResultsIndex(path) as index:
            for n in range(20):
                await index.write(batch(record(f"{n:02}.py", analysis((f"f{n}", n)), project=project)))

    asyncio.run(run())


async def test_several_agents_write_one_index(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    context = multiprocessing.get_context("spawn")
    agents = [context.Process(target=_write_alone, args=(path, name)) for name in ("shop", "bank")]
    for agent in agents:
        agent.start()
    for agent in agents:
        await asyncio.to_thread(agent.join)
    async with ResultsIndex(path) as index:
        assert [(total.project, total.files) for total in await index.projects()] == [
            ("bank", 20),
            ("shop", 20),
        ]


async def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_bytes(b"not a database, but long enough to be asked for one" * 100)
    with pytest.raises(BackendUnavailable, match=r"results index .*results\.db is damaged"):
        async with ResultsIndex(path):
            pass


async def test_an_index_that_cannot_be_made_is_a_setting_to_change() -> None:
    with pytest.raises(ConfigurationError, match=r"results index /dev/null/results\.db cannot"):
        async with ResultsIndex(Path("/dev/null/results.db")):
            pass


async def test_a_full_disk_undoes_the_batch(index: ResultsIndex) -> None:
    await index.write(batch(record("a.py")))
    await index._writer.run(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    large = [record(f"{n}.py", analysis(*[(f"name{n}x{i}", 1) for i in range(50)])) for n in range(200)]
    with pytest.raises(BackendUnavailable, match="disk is full"):
        await index.write(batch(*large, deleted=["a.py"], at=LATER))
    assert await paths(index) == ["a.py"]
    assert await found(index, "py") == ["a.py"]


# Rows from before requests carried their position


async def _older_index(path: Path, at: datetime) -> None:
    """An index as the release before wrote it, with a record of a request made at `at`."""
    before = replace(tables.SCHEMA, migrations=tables.SCHEMA.migrations[:1])
    with closing(connect(path, before)) as connection, connection:
        connection.execute("INSERT INTO projects VALUES (1, 'shop')")
        connection.execute(
            """INSERT INTO files (project_id, path, requested_us, checksum, checksum_verified, size_bytes,
                content_source, generated_at, analyzer_version, symbols) VALUES
                (1, 'a.py', ?, 'old', 1, 1, 'inline', '2026-01-01T00:00:00+00:00', '1', 0)""",
            (round(at.timestamp() * 1e6),),
        )
        connection.execute("INSERT INTO details VALUES (1, 'a py', '', '{}')")
        connection.execute("INSERT INTO words (rowid, path_words, symbol_words) VALUES (1, 'a py', '')")


def _placed(result: BatchResult, logged_at: datetime) -> BatchResult:
    position = RequestPosition(
        requested_at=result.request.timestamp, topic="t", partition=0, offset=1, logged_at=logged_at
    )
    return replace(result, request=replace(result.request, position=position))


@pytest.mark.parametrize(("logged", "stands"), [(-60, "old"), (60, "sha256:" + "2" * 64)])
async def test_a_row_without_a_position_is_compared_by_time(tmp_path: Path, logged: int, stands: str) -> None:
    await _older_index(tmp_path / "r.db", NOON)
    async with ResultsIndex(tmp_path / "r.db") as index:
        await index.write(_placed(batch(record("a.py", checksum="2")), NOON + timedelta(minutes=logged)))
        stored = await index.record("shop", "a.py")
    assert stored
    assert stored.file.checksum == stands


async def test_a_row_that_a_clock_which_was_ahead_had_frozen_is_free_after_the_upgrade(
    tmp_path: Path,
) -> None:
    await _older_index(tmp_path / "r.db", datetime.now(UTC) + timedelta(days=365))
    async with ResultsIndex(tmp_path / "r.db") as index:
        later = datetime.now(UTC) + timedelta(seconds=5)
        await index.write(_placed(batch(record("a.py", checksum="2")), later))
        stored = await index.record("shop", "a.py")
    assert stored
    assert stored.file.checksum == "sha256:" + "2" * 64
