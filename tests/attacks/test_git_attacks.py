"""Events and hosts that try to run something, reach something or read something they must not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ArchonError, UnsafeInput
from core.events.v2 import GitCredentials
from core.git.errors import MissingBlob, MissingPath
from core.git.remote_repository import open_remote
from core.git.source import GitContent, GitSource, Wanted
from core.safety.url import UrlPolicy
from tests.bare_repositories import BareRepository
from tests.git_fetching import LOOPBACK, fetching
from tests.servers.git_http import GitHttpServer

URLS = [
    "--upload-pack=touch {mark}",
    "-oProxyCommand=touch {mark}",
    "ext::sh -c touch% {mark}",
    "ext::touch {mark}",
    "fd::0",
    "file://{root}/r.git",
    "{root}/r.git",
    "../r.git",
    "ssh://-oProxyCommand=touch%20{mark}/r.git",
    "ssh://-oProxyCommand=touch {mark}/r.git",
    "-oProxyCommand=touch {mark}:r.git",
    "git@-oProxyCommand=touch {mark}:r.git",
    "git@127.0.0.1:--upload-pack=touch {mark}",
    "git@127.0.0.1:-r.git",
    "http://127.0.0.1:{port}/../../etc/passwd",
    "http://127.0.0.1:{port}/%2e%2e/%2e%2e/etc/passwd",
    "http://127.0.0.1:{port}/r.git\0",
    "http://127.0.0.1:{port}/r.git%00",
    "http://127.0.0.1:{port}/r.git\nHost: evil.example",
    "http://127.0.0.1:{port}/r.git%0d%0aX-Evil:%201",
    "http://127.0.0.1:{port}/r.git?service=git-receive-pack",
    "http://127.0.0.1:{port}/r.git#",
    "http://user:hidden-word@127.0.0.1:{port}/r.git",
    "http://127.0.0.1:{port}/" + "a" * 4096,
    "http://[::]:{port}/r.git",
    "http://169.254.169.254/r.git",
    "http://[::ffff:169.254.169.254]/r.git",
    "http://[64:ff9b::a9fe:a9fe]/r.git",
    "http://100.100.100.200/r.git",
    "gopher://127.0.0.1:{port}/r.git",
    "http:\\\\127.0.0.1:{port}\\r.git",
    "http:///r.git",
    "",
]
REFS = [
    "--upload-pack=touch {mark}",
    "-x",
    "main",
    "HEAD",
    "refs/heads/main",
    "../x",
    "a" * 39,
    "\0" * 40,
    "",
    "@{0}",
]
REF_NAMES = ["--upload-pack=touch {mark}", "-x", "../x", "", "@{{0}}", "a..b", "a:b", "ext::touch {mark}"]
PATHS = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "a/../../b",
    "a\0b",
    ".git/config",
    "sub/.GIT/config",
    "a//b",
    "./a",
    "..",
    "a\\..\\..\\b",
    "C:\\windows",
    "x" * 4097,
    "",
]
# Legal names that must not be taken for options, patterns or markup: they are only looked up.
ODD_PATHS = [
    "--upload-pack=touch {mark}",
    "-rf",
    ":(glob)**",
    "HEAD:a.py",
    "new\nline",
    "x" * 4096,
    "[/b]",
    "\x1b[2J",
]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*")}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    BareRepository(root / "r.git").commit({"a.py": b"a = 1\n"})
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[GitHttpServer]:
    with GitHttpServer(root) as running:
        yield running


# Everything an event may say goes through with plain http and loopback opened, as in no real set-up.
POLICY = UrlPolicy(schemes=frozenset({"https", "ssh", "http"}), networks=LOOPBACK)


@pytest.mark.parametrize("text", URLS)
async def test_urls(tmp_path: Path, root: Path, server: GitHttpServer, text: str) -> None:
    mark = tmp_path / "owned"
    url = text.format(mark=mark, root=root, port=server.port)
    asked = len(server.seen)
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        for credentials in (None, GitCredentials(type="token", credential_ref="file:/etc/passwd")):
            source = GitSource(url, "a" * 40, credentials=credentials)
            (answer,) = await of.fetcher.fetch_many(source, [Wanted("a.py")])
            assert isinstance(answer, ArchonError)
            assert str(answer).isprintable()
            assert len(str(answer)) < 600
            assert "hidden-word" not in f"{answer} {answer.hint}"
    assert not mark.exists()
    assert len(server.seen) == asked, "nobody was asked"


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "localhost", "[::1]", "0"])
async def test_loopback_in_disguise(tmp_path: Path, server: GitHttpServer, host: str) -> None:
    asked = len(server.seen)
    strict = UrlPolicy(schemes=POLICY.schemes)
    async with fetching(tmp_path / "cache", policy=strict) as of:
        source = GitSource(f"http://{host}:{server.port}/r.git", "a" * 40)
        (answer,) = await of.fetcher.fetch_many(source, [Wanted("a.py")])
        assert isinstance(answer, UnsafeInput)
    assert len(server.seen) == asked


@pytest.mark.parametrize("text", REFS)
async def test_refs(tmp_path: Path, server: GitHttpServer, text: str) -> None:
    mark = tmp_path / "owned"
    asked = len(server.seen)
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        (answer,) = await of.fetcher.fetch_many(
            GitSource(server.url("r.git"), text.format(0, mark=mark)), [Wanted("a.py")]
        )
    assert isinstance(answer, UnsafeInput)
    assert not mark.exists()
    assert len(server.seen) == asked


async def test_paths(tmp_path: Path, root: Path, server: GitHttpServer) -> None:
    mark = tmp_path / "owned"
    commit = BareRepository(root / "paths.git").commit({"a.py": b"a = 1\n"})
    wanted = [Wanted(path) for path in PATHS]
    odd = [Wanted(path.format(mark=mark)) for path in ODD_PATHS]
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        source = GitSource(server.url("paths.git"), commit)
        answers = await of.fetcher.fetch_many(source, [*wanted, *odd, Wanted("a.py")])
    kinds = [type(answer) for answer in answers]
    assert kinds == [UnsafeInput] * len(wanted) + [MissingPath] * len(odd) + [GitContent]
    assert not mark.exists()


@pytest.mark.parametrize(
    "blob", ["", "x", "a" * 39, "A" * 40, "../" * 14, "--upload-pack=x", "a" * 64, "\0" * 40]
)
async def test_blob_ids(tmp_path: Path, root: Path, server: GitHttpServer, blob: str) -> None:
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        (answer,) = await of.fetcher.fetch_many(
            GitSource(server.url("r.git"), "a" * 40), [Wanted("a.py", blob)]
        )
    assert isinstance(answer, UnsafeInput | MissingBlob)


async def test_a_blob_of_a_commit_or_tree_is_not_a_file(
    tmp_path: Path, root: Path, server: GitHttpServer
) -> None:
    repository = BareRepository(root / "kinds.git")
    commit = repository.commit({"d/a.py": b"a = 1\n"})
    ids = [commit, repository.git("rev-parse", f"{commit}^{{tree}}")]
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        source = GitSource(server.url("kinds.git"), commit)
        answers = await of.fetcher.fetch_many(source, [Wanted("x", oid) for oid in ids])
    assert [type(answer) for answer in answers] == [MissingBlob, MissingBlob]


async def test_trees_built_by_hand_lead_nowhere(tmp_path: Path, root: Path, server: GitHttpServer) -> None:
    """Names with slashes, dots and `.git` in a tree object, which git itself would never write."""
    repository = BareRepository(root / "trees.git")
    blob = repository.git("rev-parse", f"{repository.commit({'a.py': b'a = 1'})}:a.py")
    entries = b"".join(
        b"100644 " + name + b"\0" + bytes.fromhex(blob)
        for name in sorted([b"..", b".git", b"../../x", b"a.py", b"x/y", b"con\\..\\z"])
    )
    tree = repository.write("tree", entries)
    commit = repository.git("commit-tree", "-m", "m", tree)
    repository.git("update-ref", "refs/heads/main", commit)
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        source = GitSource(server.url("trees.git"), commit)
        wanted = [Wanted(path) for path in ("..", ".git", "../../x", "x/y", "a.py")]
        answers = await of.fetcher.fetch_many(source, wanted)
        *bad, slashed, good = answers
        assert {type(answer) for answer in bad} == {UnsafeInput}
        assert not isinstance(slashed, GitContent)
        assert isinstance(good, GitContent)
    assert "x" not in names(tmp_path)


async def test_the_cache_is_for_its_owner_only(tmp_path: Path, root: Path, server: GitHttpServer) -> None:
    old = os.umask(0)
    try:
        async with fetching(tmp_path / "cache", policy=POLICY) as of:
            commit = BareRepository(root / "modes.git").commit({"a.py": b"a = 1\n"})
            await of.fetcher.fetch_file_content(server.url("modes.git"), commit, "a.py")
    finally:
        os.umask(old)
    for directory in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        if directory.is_dir():
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700, directory


@pytest.mark.parametrize("text", [*REF_NAMES, "x" * 4096, "a\nb", "a\0b", "refs/heads/../../x", "\x1b[2J"])
async def test_refs_that_a_person_gives(tmp_path: Path, root: Path, server: GitHttpServer, text: str) -> None:
    mark = tmp_path / "owned"
    asked = len(server.seen)
    async with fetching(tmp_path / "cache", policy=POLICY) as of:
        with pytest.raises(UnsafeInput):
            await open_remote(of.fetcher, server.url("r.git"), text.format(mark=mark))
    assert not mark.exists()
    assert len(server.seen) == asked
