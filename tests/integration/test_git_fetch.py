"""Files come out of every kind of Git host as they went in, in as few exchanges as the host allows."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.errors import ArchonError, ContentTooLarge, UnsafeInput
from core.git.errors import (
    LfsPointer,
    MissingBlob,
    MissingPath,
    RepositoryNotFound,
    SubmodulePath,
    SymlinkPath,
    UnknownCommit,
)
from core.git.fetcher import GitContentFetcher
from core.git.source import GitContent, GitSource, Wanted
from tests.bare_repositories import BareRepository, Content, Link, Submodule, generated_files
from tests.git_fetching import fetching
from tests.servers.git_http import UPLOAD_PACK, GitHttpServer
from tests.servers.git_ssh import DulwichServer, GitDaemon

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
ODD_PATHS = [
    "ünï/日本.py",
    "new\nline.py",
    'quo"te\\.py',
    "bad\udcff.py",
    "sp ace.py",
    "[slug].py",
    "a" * 200 + ".py",
]


class World:
    """A repository with three commits, the newest two on `main`, the oldest overwritten."""

    def __init__(self, root: Path, object_format: str = "sha1") -> None:
        self.files = {
            **dict(generated_files(120, size=900)),
            "empty": b"",
            "README.md": b"# one\n",
            **{path: path.encode("utf-8", "surrogateescape") for path in ODD_PATHS},
        }
        self.repository = BareRepository(root / "r.git", object_format)
        self.lost = self.repository.commit({"README.md": b"# lost\n"})
        special: dict[str, Content] = {
            "link": Link("README.md"),
            "vendor/module": Submodule("1" * (40 if object_format == "sha1" else 64)),
            "big.bin": POINTER,
        }
        self.first = self.repository.commit({**self.files, **special}, parent=None)
        self.second = self.repository.commit({"README.md": b"# two\n", "empty": None})
        self.blobs = {
            path: self.repository.blob(path, self.first) for path in self.files if path not in ODD_PATHS
        }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def world(root: Path) -> World:
    return World(root)


@pytest.fixture(scope="module")
def server(root: Path, world: World) -> Iterator[GitHttpServer]:
    with GitHttpServer(root) as running:
        yield running


def content(answer: GitContent | ArchonError) -> bytes:
    assert isinstance(answer, GitContent), answer
    return answer.content


async def read(
    fetcher: GitContentFetcher, source: GitSource, *paths: str
) -> dict[str, GitContent | ArchonError]:
    answers = await fetcher.fetch_many(source, [Wanted(path) for path in paths])
    return dict(zip(paths, answers, strict=True))


@pytest.mark.parametrize("host", ["http v2", "http v0", "unfiltered", "git v2", "dulwich", "file"])
async def test_every_host_yields_the_same_bytes(
    tmp_path: Path, root: Path, world: World, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        match host:
            case "http v2":
                url = stack.enter_context(GitHttpServer(root)).url("r.git")
            case "http v0":
                url = stack.enter_context(GitHttpServer(root, protocol_v2=False)).url("r.git")
            case "unfiltered":
                config = {"uploadpack.allowFilter": "false"}
                url = stack.enter_context(GitHttpServer(root, config=config)).url("r.git")
            case "git v2":
                url = stack.enter_context(GitDaemon(root)).url("r.git")
            case "dulwich":
                url = stack.enter_context(DulwichServer({"r.git": root / "r.git"})).url("r.git")
            case _:
                url = f"file://{root}/r.git"
        async with fetching(tmp_path) as world_of:
            for commit in (world.second, world.first):
                source = GitSource(url, commit, "main")
                answers = await read(world_of.fetcher, source, *world.files)
                expected = dict(world.files)
                if commit == world.second:
                    expected["README.md"] = b"# two\n"
                    assert isinstance(answers.pop("empty"), MissingPath)
                    del expected["empty"]
                assert {path: content(answer) for path, answer in answers.items()} == expected
            by_blob = await world_of.fetcher.fetch_many(
                GitSource(url, world.first, "main"),
                [Wanted(path, blob) for path, blob in world.blobs.items()],
            )
            assert [content(answer) for answer in by_blob] == [world.files[path] for path in world.blobs]


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
async def test_blob_ids_make_trees_needless(tmp_path: Path, object_format: str) -> None:
    world = World(tmp_path, object_format)
    with GitHttpServer(tmp_path) as server:
        async with fetching(tmp_path / "cache") as of:
            source = GitSource(server.url("r.git"), world.first)
            wanted = [Wanted(path, blob) for path, blob in world.blobs.items()]
            answers = await of.fetcher.fetch_many(source, wanted)
            assert [content(answer) for answer in answers] == [world.files[path] for path in world.blobs]
            assert all(isinstance(answer, GitContent) and not answer.cache_hit for answer in answers)
            posts = [seen for seen in server.seen if seen.path.endswith(UPLOAD_PACK) and seen.body]
            assert len(posts) == 2, "one to learn what the host can, one for all files"
            asked = len(server.seen)
            again = await of.fetcher.fetch_many(source, wanted)
            assert all(isinstance(answer, GitContent) and answer.cache_hit for answer in again)
            assert len(server.seen) == asked
            stats = of.cache.stats()
            assert (stats.hits, stats.misses) == (len(wanted), {"absent": len(wanted)})
            more = await read(of.fetcher, source, "README.md", "big.bin")
            assert content(more["README.md"]) == b"# one\n"


async def test_the_next_commit_moves_only_what_changed(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        await read(of.fetcher, GitSource(server.url("r.git"), world.first), *world.files)
        before, asked = server.bytes_sent, len(server.seen)
        paths = [path for path in world.files if path != "empty"]
        answers = await read(of.fetcher, GitSource(server.url("r.git"), world.second), *paths)
        assert content(answers["README.md"]) == b"# two\n"
        assert server.bytes_sent - before < 1500
        assert len(server.seen) - asked == 2
        hits = [answer.cache_hit for answer in answers.values() if isinstance(answer, GitContent)]
        assert hits.count(False) == 1
        assert len(of.cache.entries(9)) == 1


async def test_what_is_not_a_file_has_its_own_error(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        source = GitSource(server.url("r.git"), world.first)
        paths = [
            "link",
            "vendor/module",
            "big.bin",
            "nope",
            "src",
            "../up",
            "/etc/passwd",
            ".git/config",
            "README.md",
        ]
        answers = await read(of.fetcher, source, *paths)
        kinds = [SymlinkPath, SubmodulePath, LfsPointer, MissingPath, MissingPath, UnsafeInput, UnsafeInput]
        assert [type(answer) for answer in answers.values()] == [*kinds, UnsafeInput, GitContent]
        assert isinstance(answers["vendor/module"], ArchonError)
        assert "own repository" in str(answers["vendor/module"].hint)


async def test_one_absent_blob_does_not_cost_its_neighbours(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        tree = world.repository.git("rev-parse", f"{world.first}^{{tree}}")
        wanted = [
            Wanted("a", "1" * 40),
            Wanted("b", world.blobs["README.md"]),
            Wanted("c", tree),
            Wanted("d", "2" * 40),
            Wanted("e", "xyz"),
            Wanted("f", "3" * 64),
        ]
        answers = await of.fetcher.fetch_many(GitSource(server.url("r.git"), world.first), wanted)
        kinds = [MissingBlob, GitContent, MissingBlob, MissingBlob, UnsafeInput, UnsafeInput]
        assert [type(answer) for answer in answers] == kinds


async def test_unknown_commits_and_repositories_are_told_apart(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        for url, commit, error in (
            (server.url("r.git"), "1" * 40, UnknownCommit),
            (server.url("none.git"), world.first, RepositoryNotFound),
            (server.url("r.git"), "main", UnsafeInput),
            ("ext::sh -c id", world.first, UnsafeInput),
        ):
            with pytest.raises(error) as caught:
                await of.fetcher.fetch_file_content(url, commit, "README.md")
            assert "\n" not in str(caught.value)


async def test_an_overwritten_commit_is_served_while_the_host_has_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    with GitHttpServer(tmp_path) as server:
        async with fetching(tmp_path / "cache") as of:
            url = server.url("r.git")
            assert await of.fetcher.fetch_file_content(url, world.lost, "README.md") == b"# lost\n"
        world.repository.git("reflog", "expire", "--expire=now", "--all")
        world.repository.git("gc", "--quiet", "--prune=now")
        async with fetching(tmp_path / "cache") as of:
            assert await of.fetcher.fetch_file_content(url, world.lost, "README.md") == b"# lost\n"
        async with fetching(tmp_path / "other") as of:
            with pytest.raises(UnknownCommit, match="has no commit"):
                await of.fetcher.fetch_file_content(url, world.lost, "README.md")


async def test_an_old_host_is_asked_for_the_branch_and_then_deeper(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    repository = BareRepository(tmp_path / "r.git")
    old = repository.commit({"a": b"old\n"})
    for number in range(20):
        repository.commit({"b": b"%d\n" % number})
    side = repository.commit({"c": b"side\n"}, branch="side", parent=None)
    repository.commit({"c": b"newer\n"}, branch="side")
    caplog.set_level(logging.WARNING, "core.git")
    with DulwichServer({"r.git": tmp_path / "r.git"}) as server:
        async with fetching(tmp_path / "cache") as of:
            source = GitSource(server.url("r.git"), old, "main")
            assert content((await read(of.fetcher, source, "a"))["a"]) == b"old\n"
            told = [record for record in caplog.records if record.name == "core.git.session"]
            depths = [record.args[-1] for record in told if isinstance(record.args, tuple)]
            assert depths == [1, 16, 256]
            source = GitSource(server.url("r.git"), side, "side")
            assert content((await read(of.fetcher, source, "c"))["c"]) == b"side\n"
            unknown = (await read(of.fetcher, GitSource(server.url("r.git"), "1" * 40), "a"))["a"]
            assert isinstance(unknown, UnknownCommit)


async def test_callers_that_want_the_same_ask_for_it_once(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        source = GitSource(server.url("r.git"), world.first)
        asked = len(server.seen)
        wanted = [Wanted(path, blob) for path, blob in world.blobs.items()]
        calls = [of.fetcher.fetch_many(source, wanted[start:]) for start in range(0, 40, 2)]
        for start, answers in zip(range(0, 40, 2), await asyncio.gather(*calls), strict=True):
            assert [content(answer) for answer in answers] == [
                world.files[item.path] for item in wanted[start:]
            ]
        trees = [of.fetcher.fetch_many(source, [Wanted(path)]) for path in list(world.files)[:20]]
        await asyncio.gather(*trees)
        wants = re.findall(rb"want ([0-9a-f]{40})", b"".join(seen.body for seen in server.seen[asked:]))
        assert len(wants) == len(set(wants)) == len(wanted) + 1


async def test_no_more_exchanges_with_hosts_than_allowed_at_once(
    tmp_path: Path, root: Path, world: World
) -> None:
    with GitHttpServer(root) as server:
        async with fetching(tmp_path, in_flight=3) as of:
            source = GitSource(server.url("r.git"), world.first)
            wanted = [Wanted(path, blob) for path, blob in world.blobs.items()]
            answers = await asyncio.gather(*(of.fetcher.fetch_many(source, [one]) for one in wanted))
        assert [content(answer) for (answer,) in answers] == [world.files[one.path] for one in wanted]
        assert 2 <= server.most_at_once <= 3


async def test_a_caller_that_leaves_does_not_take_the_others_along(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        source = GitSource(server.url("r.git"), world.first)
        wanted = [Wanted("README.md", world.blobs["README.md"])]
        leaver = asyncio.ensure_future(of.fetcher.fetch_many(source, wanted))
        stayer = asyncio.ensure_future(of.fetcher.fetch_many(source, wanted))
        await asyncio.sleep(0)
        leaver.cancel()
        (answer,) = await stayer
        assert content(answer) == b"# one\n"


async def test_a_file_over_the_limit_is_its_own_error(tmp_path: Path) -> None:
    repository = BareRepository(tmp_path / "r.git")
    commit = repository.commit({"large": b"x" * 3_000_000, "small": b"small\n"})
    with GitHttpServer(tmp_path) as server:
        async with fetching(tmp_path / "cache", max_file_bytes=1 << 20) as of:
            answers = await read(of.fetcher, GitSource(server.url("r.git"), commit), "large", "small")
            assert isinstance(answers["large"], ContentTooLarge)
            assert content(answers["small"]) == b"small\n"


async def test_a_delta_over_the_limit_does_not_cost_its_neighbours(tmp_path: Path) -> None:
    repository = BareRepository(tmp_path / "r.git")
    text = b"".join(b"line %d\n" % number for number in range(400_000))
    repository.commit({"large": text})
    commit = repository.commit({"large": text + b"more\n", "near": text[:-10], "small": b"small\n"})
    repository.git("repack", "-adfq", "--window=20")
    with GitHttpServer(tmp_path) as server:
        async with fetching(tmp_path / "cache", max_file_bytes=1 << 20) as of:
            answers = await read(of.fetcher, GitSource(server.url("r.git"), commit), "large", "small", "near")
            assert isinstance(answers["large"], ContentTooLarge)
            assert content(answers["small"]) == b"small\n"


async def test_damage_in_the_cache_is_repaired_from_the_host(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    source = GitSource(server.url("r.git"), world.first)
    async with fetching(tmp_path) as of:
        await read(of.fetcher, source, *world.files)
    for path in (tmp_path / "clones").rglob("*.pack"):
        raw = bytearray(path.read_bytes())
        raw[12:-20] = bytes(len(raw) - 32)
        path.chmod(0o600)
        path.write_bytes(raw)
    async with fetching(tmp_path) as of:
        answers = await read(of.fetcher, source, *world.files)
        assert {path: content(answer) for path, answer in answers.items()} == world.files
        assert of.cache.stats().corruptions >= 1
        newer = await read(of.fetcher, GitSource(source.url, world.second), "README.md")
        assert content(newer["README.md"]) == b"# two\n"


async def test_a_damaged_file_list_is_made_again(tmp_path: Path, world: World, server: GitHttpServer) -> None:
    source = GitSource(server.url("r.git"), world.first)
    async with fetching(tmp_path) as of:
        await read(of.fetcher, source, "README.md")
    (path,) = (tmp_path / "clones").glob("*/commits/*")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(world.blobs["README.md"].encode(), world.blobs["empty"].encode()))
    async with fetching(tmp_path) as of:
        assert content((await read(of.fetcher, source, "README.md"))["README.md"]) == b"# one\n"


async def test_older_trees_that_are_gone_are_sent_again(
    tmp_path: Path, world: World, server: GitHttpServer
) -> None:
    async with fetching(tmp_path) as of:
        await read(of.fetcher, GitSource(server.url("r.git"), world.first), "README.md")
    for path in (tmp_path / "clones").rglob("pack-*"):
        path.unlink()
    async with fetching(tmp_path) as of:
        answers = await read(
            of.fetcher, GitSource(server.url("r.git"), world.second), "README.md", *ODD_PATHS
        )
        assert content(answers["README.md"]) == b"# two\n"
        assert all(isinstance(answer, GitContent) for answer in answers.values())
