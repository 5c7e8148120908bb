"""What a path is, and one clear error where it is nothing that can be ingested."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ArchonError, ConfigurationError, PermanentError, UsageError
from core.repository.commit import CommitFiles
from core.repository.discover import open_repository
from core.repository.plain_directory import PlainDirectory
from core.repository.work_tree import WorkTree
from tests.git_repositories import WorkingRepository

pytestmark = pytest.mark.usefixtures("isolated_git")


def _kind(path: Path | str, **options: str) -> type:
    opened = open_repository(path, **options)  # type: ignore[arg-type] # only refs are given
    opened.close()
    return type(opened)


def test_kinds(repository: WorkingRepository, tmp_path: Path) -> None:
    repository.write("sub/a")
    repository.write("ignored/b")
    repository.write(".gitignore", b"ignored\n")
    repository.commit()
    WorkingRepository(tmp_path / "bare.git", "--bare")
    (tmp_path / "plain").mkdir()
    (tmp_path / "link").symlink_to(repository.path)
    assert _kind(repository.path) is WorkTree
    assert _kind(str(repository.path) + "/") is WorkTree
    assert _kind(tmp_path / "link") is WorkTree
    assert _kind(repository.path / "sub") is WorkTree
    assert _kind(repository.path, ref="HEAD") is CommitFiles
    assert _kind(tmp_path / "plain") is PlainDirectory
    assert _kind(repository.path / "ignored") is PlainDirectory  # nothing tracked there
    with pytest.raises(UsageError, match="HEAD is no commit"):
        _kind(tmp_path / "bare.git")


def test_an_empty_git_directory_does_not_make_a_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert _kind(tmp_path) is PlainDirectory


def test_a_broken_repository_above_does_not_count(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    (tmp_path / "sub").mkdir()
    assert _kind(tmp_path / "sub") is PlainDirectory
    with pytest.raises(PermanentError, match="names no Git directory"):
        _kind(tmp_path)


@pytest.mark.parametrize(
    "name", ["missing", "file", "file/below", "loop", "nul\0", "\udcff", "x" * 5000, "\x1b[2J"]
)
def test_a_path_that_is_no_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError) as caught:
        open_repository(f"{tmp_path}/{name}")
    assert str(caught.value).isprintable()
    assert caught.value.hint


def test_options_that_contradict_each_other(repository: WorkingRepository, tmp_path: Path) -> None:
    repository.commit(a_py=b"")
    with pytest.raises(UsageError, match="untracked"):
        open_repository(repository.path, ref="HEAD", include_untracked=True)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UsageError, match="no Git repository"):
        open_repository(tmp_path / "plain", ref="HEAD")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[core\n", "configuration is corrupt"),
        ("[core]\n\trepositoryformatversion = 2\n", "format 2"),
        ("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tfuture = true\n", "future"),
        ("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = md5\n", "md5"),
    ],
)
def test_a_repository_that_cannot_be_understood(
    repository: WorkingRepository, config: str, message: str
) -> None:
    (repository.path / ".git/config").write_text(config)
    with pytest.raises(PermanentError, match=message):
        open_repository(repository.path)


@pytest.mark.parametrize(
    "extension", ["partialClone = origin", "preciousObjects = true", "worktreeConfig = true"]
)
def test_extensions_that_do_not_change_what_is_read(repository: WorkingRepository, extension: str) -> None:
    repository.commit(a_py=b"")
    config = repository.path / ".git/config"
    config.write_text(f"[core]\n\trepositoryformatversion = 1\n[extensions]\n\t{extension}\n")
    assert _kind(repository.path) is WorkTree


def test_a_broken_user_configuration_is_a_configuration_error(
    repository: WorkingRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[core\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    opened = open_repository(repository.path)
    with pytest.raises(ConfigurationError):
        list(opened.entries())
    opened.close()


def test_names(repository: WorkingRepository, tmp_path: Path) -> None:
    repository.commit(a_py=b"")
    repository.git("clone", "-q", "--bare", ".", str(tmp_path / "library.git"))
    for path, name in ((repository.path, "project"), (tmp_path / "library.git", "library")):
        opened = open_repository(path)
        assert opened.name == name
        opened.close()


def test_the_root_directory_has_a_name() -> None:
    opened = open_repository("/")
    assert opened.name == "root"
    opened.close()


def test_errors_leave_no_descriptor_open(repository: WorkingRepository) -> None:
    repository.commit(a_py=b"")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for ref in ("nope", "HEAD~9"):
        with pytest.raises(ArchonError):
            open_repository(repository.path, ref=ref)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
