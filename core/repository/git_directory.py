"""Finding a Git repository's parts: work tree, Git directory, configuration, refs, objects.

`dulwich.repo.Repo` is not used: it refuses partial clones, obeys `core.worktree` and configuration
includes of a repository that may be hostile, and builds what a reader never needs.
"""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dulwich.config import Config, ConfigFile, StackedConfig
from dulwich.object_format import ObjectFormat, get_object_format
from dulwich.object_store import DiskObjectStore
from dulwich.refs import DiskRefsContainer, Ref, RefsContainer, SymrefLoop

from core.errors import ConfigurationError, PermanentError
from core.safety.display import display
from core.safety.path import expand_user

_KNOWN_EXTENSIONS = frozenset(
    [
        b"compatobjectformat",
        b"noop",
        b"noop-v1",
        b"objectformat",
        b"partialclone",
        b"preciousobjects",
        b"refstorage",
        b"relativeworktrees",
        b"worktreeconfig",
    ]
)
# Files of a Git directory that are opened by name; a FIFO among them would block the reader.
_OPENED = ("HEAD", "config", "packed-refs", "commondir", "index", "info/exclude", "info/attributes")
_logger = logging.getLogger(__name__)
_POINTER_LIMIT = 4096 + len("gitdir: \n")


@dataclass(frozen=True)
class GitDirectory:
    """Where the parts are: `git_dir` has HEAD and the index, `common_dir` configuration and objects."""

    work_tree: Path | None
    git_dir: Path
    common_dir: Path
    config: ConfigFile
    object_format: ObjectFormat

    @cached_property
    def settings(self) -> Config:
        """The repository's configuration over the user's and the system's.

        Raises ConfigurationError if one of those cannot be parsed.
        """
        try:
            # Without a home directory dulwich would read `~/.gitconfig` of the working directory.
            known = expand_user("~") or "GIT_CONFIG_GLOBAL" in os.environ
            return StackedConfig([self.config, *(StackedConfig.default_backends() if known else ())])
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"your Git configuration cannot be read: {display(str(error))}",
                hint="check it with `git config --list --show-origin`",
            ) from None

    def setting(self, section: str, name: str) -> str | None:
        """One value as text, None if unset."""
        try:
            return self.settings.get((section.encode(),), name.encode()).decode("utf-8", "replace")
        except KeyError:
            return None

    @cached_property
    def refs(self) -> RefsContainer:
        """Branches, tags and HEAD."""
        if self.config_value("extensions", "refstorage") == b"reftable":
            from dulwich.reftable import ReftableRefsContainer

            return ReftableRefsContainer(str(self.common_dir))
        return DiskRefsContainer(str(self.common_dir), str(self.git_dir))

    def resolve(self, name: bytes) -> bytes | None:
        """The object id that a branch, tag or other ref stands for, in the order of gitrevisions(7)."""
        for prefix in (b"", b"refs/", b"refs/tags/", b"refs/heads/", b"refs/remotes/"):
            try:
                object_id = self.refs.follow(Ref(prefix + name))[1]
            except (KeyError, ValueError, OSError, SymrefLoop):
                continue  # what each store of refs raises for names it does not have
            if object_id:
                return object_id
        return None

    def config_value(self, section: str, name: str) -> bytes | None:
        """One value of the repository's own configuration."""
        return _get(self.config, section, name)

    def open_objects(self) -> DiskObjectStore:
        """A new object store; the caller closes it."""
        return DiskObjectStore(str(self.common_dir / "objects"), object_format=self.object_format)

    def blob_id(self, content: bytes) -> str:
        """The object id of `content` as a blob."""
        digest = self.object_format.new_hash()
        digest.update(b"blob %d\0" % len(content))
        digest.update(content)
        return str(digest.hexdigest())

    def index(self) -> Path:
        """The index file, which need not exist."""
        return self.git_dir / "index"


def find(path: Path) -> GitDirectory | None:
    """The repository whose work tree's top, or whose (bare) Git directory, is `path`; else None.

    Raises PermanentError for a repository that is broken or of a format this build does not know.
    """
    marker = path / ".git"
    if _is_git_directory(path) and not marker.exists():
        return _opened(path, None)
    if marker.is_dir():
        return _opened(marker, path) if _is_git_directory(marker) else None
    if marker.is_file():
        return _opened(_pointed_to(marker), path)
    return None


def discover(path: Path) -> GitDirectory | None:
    """The repository that `path` (absolute) is, or in whose work tree it lies; else None.

    Raises PermanentError as `find` for `path` itself; a broken repository above it does not count.
    """
    if (found := find(path)) is not None:
        return found
    for directory in path.parents:
        try:
            found = find(directory)
        except PermanentError as error:
            _logger.warning("%s is not looked at: %s", display(str(directory)), error)
            continue
        if found is not None:
            return found if found.work_tree is not None else None
    return None


def _is_git_directory(path: Path) -> bool:
    common = _common(path)
    return (path / "HEAD").exists() and (common / "objects").is_dir() and (common / "refs").is_dir()


def _common(git_dir: Path) -> Path:
    pointer = git_dir / "commondir"
    if not pointer.is_file():
        return git_dir
    return git_dir / pointer.read_bytes()[:_POINTER_LIMIT].rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def _pointed_to(marker: Path) -> Path:
    with marker.open("rb") as stream:
        content = stream.read(_POINTER_LIMIT)
    target = content.removeprefix(b"gitdir: ").rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    if not content.startswith(b"gitdir: ") or not _is_pointed_to(marker.parent, target):
        raise PermanentError(
            f"{display(str(marker))} names no Git directory",
            hint="`git worktree repair` or `git submodule update` may restore the link",
        )
    return marker.parent / target


def _is_pointed_to(start: Path, target: str) -> bool:
    try:
        return _is_git_directory(start / target)
    except (OSError, ValueError):  # too long for a path, or with NUL
        return False


def _opened(git_dir: Path, work_tree: Path | None) -> GitDirectory:
    common = _common(git_dir)
    for directory in {git_dir, common}:
        for name in _OPENED:
            _refuse_special(directory / name)
    try:
        with (common / "config").open("rb") as stream:
            config = ConfigFile.from_file(stream, expand_includes=False)
    except FileNotFoundError:
        config = ConfigFile()
    except OSError as error:
        raise PermanentError(f"cannot read {display(str(common / 'config'))}: {error.strerror}") from None
    except ValueError as error:
        raise PermanentError(
            f"the repository's configuration is corrupt: {display(str(error))}",
            hint=f"check {display(str(common / 'config'))}",
        ) from None
    return GitDirectory(work_tree, git_dir, common, config, _object_format(config))


def _refuse_special(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise PermanentError(
            f"{display(str(path))} is not a regular file", hint="is this really a repository?"
        )


def _object_format(config: ConfigFile) -> ObjectFormat:
    version = _get(config, "core", "repositoryformatversion") or b"0"
    if version not in (b"0", b"1"):
        raise PermanentError(
            f"repository format {display(version.decode('utf-8', 'replace'))} is not known",
            hint="upgrade archon",
        )
    if version == b"0":
        return get_object_format("sha1")
    for extension, _ in config.items((b"extensions",)):
        if extension.lower() not in _KNOWN_EXTENSIONS:
            name = display(extension.decode("utf-8", "replace"))
            raise PermanentError(f"the repository uses the Git extension {name}, which is not known")
    name = (_get(config, "extensions", "objectformat") or b"sha1").decode("utf-8", "replace")
    try:
        return get_object_format(name)
    except ValueError:
        raise PermanentError(f"the repository's object format {display(name)} is not known") from None


def _get(config: ConfigFile, section: str, name: str) -> bytes | None:
    try:
        return config.get((section.encode(),), name.encode())
    except KeyError:
        return None
