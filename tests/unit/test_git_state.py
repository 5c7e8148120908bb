"""Where a repository stands, and whether it is dirty."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from dulwich.objects import ObjectID
from dulwich.refs import Ref
from dulwich.reftable import ReftableRefsContainer

from core.repository.discover import open_repository
from core.repository.facts import GitState
from core.repository.git_state import without_secrets
from tests.git_repositories import WorkingRepository, listing, paths


def _state(path: Path) -> GitState:
    opened = open_repository(path)
    state = opened.git_state()
    opened.close()
    assert state is not None
    return state


def _dirty(path: Path, ref: str | None = None) -> bool | None:
    opened = open_repository(path, ref=ref)
    try:
        return opened.is_dirty()
    finally:
        opened.close()


def test_commit_branch_and_remote(repository: WorkingRepository) -> None:
    assert _state(repository.path) == GitState(None, "main", None)
    commit = repository.commit(a_py=b"1\n")
    repository.git("remote", "add", "origin", "https://user:secret@git.example.com/team/demo.git?token=x#y")
    assert _state(repository.path) == GitState(commit, "main", "https://git.example.com/team/demo.git")
    repository.git("checkout", "-q", "-b", "feature/ü")
    assert _state(repository.path).branch == "feature/ü"
    repository.git("checkout", "-q", "--detach")
    assert _state(repository.path) == GitState(commit, None, "https://git.example.com/team/demo.git")


def test_the_branchs_own_remote_counts(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"1\n")
    repository.git("remote", "add", "origin", "https://one.example.com/x.git")
    repository.git("remote", "add", "fork", "git@two.example.com:me/x.git")
    repository.git("config", "branch.main.remote", "fork")
    assert _state(repository.path).remote_url == "git@two.example.com:me/x.git"


def test_packed_refs(repository: WorkingRepository) -> None:
    commit = repository.commit(a_py=b"1\n")
    repository.git("pack-refs", "--all")
    assert _state(repository.path).commit == commit


def test_refs_in_a_reftable(repository: WorkingRepository) -> None:
    commit = repository.commit(a_py=b"1\n")
    git = repository.path / ".git"
    table = ReftableRefsContainer(str(git))
    table.set_if_equals(Ref(b"refs/heads/main"), None, ObjectID(commit.encode()))
    table.set_symbolic_ref(Ref(b"HEAD"), Ref(b"refs/heads/main"))
    (git / "config").write_text(
        "[core]\n\trepositoryformatversion = 1\n[extensions]\n\trefstorage = reftable\n"
    )
    (git / "HEAD").write_text("ref: refs/heads/.invalid\n")
    assert _state(repository.path) == GitState(commit, "main", None)
    for ref in ("main", "HEAD", commit[:9]):
        assert paths(listing(repository.path, ref=ref)) == ["a.py"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://token@host/x", "https://host/x"),
        ("https://user:p@ss@host:8443/x", "https://host:8443/x"),
        ("ssh://git@host:22/x", "ssh://git@host:22/x"),
        ("ssh://git:secret@host/x", "ssh://git@host/x"),
        ("git@host:team/x.git", "git@host:team/x.git"),
        ("/srv/git/x.git", "/srv/git/x.git"),
        ("https://[bad/x", "https://"),
        ("HTTPS://u:p@HOST/x?private_token=s", "https://HOST/x"),
    ],
)
def test_urls_lose_their_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def _touch(repository: WorkingRepository) -> None:
    os.utime(repository.path / "a.py", ns=(1, 1))


def _restage(repository: WorkingRepository) -> None:
    repository.write("a.py", b"2\n")
    repository.add()


def _relink(repository: WorkingRepository, target: str) -> None:
    (repository.path / "link").unlink()
    (repository.path / "link").symlink_to(target)


def _file_for_link(repository: WorkingRepository) -> None:
    (repository.path / "link").unlink()
    repository.write("link", b"a.py")


def _convert(repository: WorkingRepository) -> None:
    repository.write(".git/info/attributes", b"*.py text\n")
    _touch(repository)


Change = Callable[[WorkingRepository], object]
CHANGES: list[tuple[Change, bool | None]] = [
    (lambda repository: repository.settle(), False),
    (_touch, False),
    (lambda repository: repository.write("untracked"), False),
    (lambda repository: repository.write("a.py", b"2\n"), True),
    (lambda repository: (repository.path / "a.py").unlink(), True),
    (_restage, True),
    (lambda repository: repository.add(new_py=b""), True),
    (lambda repository: repository.git("rm", "-q", "--cached", "z.py"), True),
    (lambda repository: repository.git("update-index", "--chmod=+x", "a.py"), True),
    (lambda repository: _relink(repository, "b"), True),
    (lambda repository: _relink(repository, "a.py"), False),
    (_file_for_link, True),
    (_convert, None),
]


@pytest.mark.parametrize(("change", "dirty"), CHANGES)
def test_dirty(repository: WorkingRepository, change: Change, dirty: bool | None) -> None:
    (repository.path / "link").symlink_to("a.py")
    repository.commit(a_py=b"1\n", z_py=b"z\n")
    change(repository)
    assert _dirty(repository.path) is dirty
    assert _dirty(repository.path, "HEAD") is False


def test_an_empty_repository_is_clean_until_something_is_added(repository: WorkingRepository) -> None:
    assert _dirty(repository.path) is False
    repository.add(a_py=b"1\n")
    assert _dirty(repository.path) is True


def test_dirty_looks_at_the_directory_that_was_asked_for(repository: WorkingRepository) -> None:
    repository.write("one/a")
    repository.write("two/b")
    repository.commit()
    repository.write("two/b", b"other")
    assert _dirty(repository.path / "one") is False
    assert _dirty(repository.path / "two") is True


def test_a_sparse_index_cannot_be_compared_whole(repository: WorkingRepository) -> None:
    repository.write("in/a")
    repository.write("out/b")
    repository.commit()
    repository.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    repository.settle()
    assert _dirty(repository.path) is None
