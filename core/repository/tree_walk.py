"""Walking a directory tree in path order, leaving out what is ignored."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import UnsafeInput
from core.repository.directories import DirectoryCursor
from core.repository.facts import Skip, SkipReason
from core.repository.ignore import IgnoreRules
from core.repository.patterns import FILE_LIMIT
from core.safety.path import PATH_LIMIT, from_bytes, open_regular

_IGNORE_FILE = b".gitignore"
_VIRTUALENV_MARKER = b"pyvenv.cfg"
_CACHE_MARKER = b"CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/


@dataclass(frozen=True, slots=True)
class Found:
    """A name in the tree that is not ignored: any file, or a directory that is not entered.

    `position` is the path, of a directory with a slash at its end: results come in its order.
    """

    path: bytes
    position: bytes
    skip: Skip | None = None


@dataclass(frozen=True, slots=True)
class WalkRules:
    """`enter_repositories`: go into directories that are repositories of their own.
    `by_content`: leave out virtual environments and caches that are recognised by a marker file.
    `compose`: give names in Unicode's composed form (NFC) where the disk takes them so, too."""

    enter_repositories: bool
    by_content: bool
    compose: bool = True


class TreeWalk:
    """One walk below `root`, from the directory `start` (`b""` or ending in a slash)."""

    def __init__(self, root: Path, rules: WalkRules) -> None:
        self._cursor = DirectoryCursor(root)
        self._rules = rules

    def walk(self, ignore: IgnoreRules, start: bytes = b"") -> Iterator[Found]:
        """Files below `start` in path order, streaming; one directory's names are held per level."""
        stack = [self._enter(start, ignore, is_top=True)]
        while stack:
            found = next(stack[-1], None)
            if found is None:
                stack.pop()
            elif isinstance(found, Found):
                yield found
            else:
                directory, rules = found
                stack.append(self._enter(directory, rules, is_top=False))

    def _enter(
        self, directory: bytes, ignore: IgnoreRules, *, is_top: bool
    ) -> Iterator[Found | tuple[bytes, IgnoreRules]]:
        """What is in one directory, in order: files, and directories to enter with their rules."""
        try:
            names = self._names(directory)
        except (OSError, UnsafeInput) as error:
            if not isinstance(error, FileNotFoundError):
                yield _not_entered(
                    directory, SkipReason.UNREADABLE, getattr(error, "strerror", None) or str(error)
                )
            return
        if not is_top:
            if not self._rules.enter_repositories and b".git" in names:
                yield _not_entered(directory, SkipReason.SUBMODULE, "an untracked repository of its own")
                return
            if self._rules.by_content and self._is_disposable(directory, names):
                return
        if _IGNORE_FILE in names and (content := self.read_rules(directory + _IGNORE_FILE)):
            ignore = ignore.with_file(from_bytes(directory), content)
        for name in sorted(name + b"/" if is_directory else name for name, is_directory in names.items()):
            path = directory + name
            if name in (b".git", b".git/") or ignore.ignored(from_bytes(path)):
                continue
            if not name.endswith(b"/"):
                yield Found(path, path)
            elif len(path) > PATH_LIMIT:
                yield _not_entered(path, SkipReason.UNREADABLE, "its path is too long")
            else:
                yield path, ignore

    def _names(self, directory: bytes) -> dict[bytes, bool]:
        """The names in a directory and whether each is a directory."""
        descriptor = self._cursor.enter(directory.rstrip(b"/"))
        with os.scandir(descriptor) as scan:
            return {
                os.fsencode(self._name(item, descriptor)): item.is_dir(follow_symlinks=False) for item in scan
            }

    def _name(self, item: os.DirEntry[str], directory: int) -> str:
        """The name to publish. Disks of Macs answer in NFD or NFC, and take both for one file."""
        if not self._rules.compose or item.name.isascii():
            return item.name
        composed = unicodedata.normalize("NFC", item.name)
        if composed == item.name:
            return composed
        try:
            status = os.stat(composed, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return item.name
        return composed if status.st_ino == item.inode() else item.name

    def _is_disposable(self, directory: bytes, names: dict[bytes, bool]) -> bool:
        if _VIRTUALENV_MARKER in names:
            return True
        content = self.read_rules(directory + _CACHE_MARKER) if _CACHE_MARKER in names else None
        return content is not None and content.startswith(_CACHE_SIGNATURE)

    def read_rules(self, path: bytes) -> bytes | None:
        """The first MiB of a small file of the tree; None if it is not a readable regular file."""
        return read_rules(self._cursor, path)

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        self._cursor.close()


def read_rules(cursor: DirectoryCursor, path: bytes) -> bytes | None:
    """The first MiB of the regular file `path`, None if it is missing, a link or unreadable."""
    directory, _, name = path.rpartition(b"/")
    try:
        descriptor, _ = open_regular(name, cursor.enter(directory))
    except (OSError, UnsafeInput):
        return None
    with open(descriptor, "rb") as stream:
        return stream.read(FILE_LIMIT)


def _not_entered(directory: bytes, reason: SkipReason, detail: str) -> Found:
    path = directory.rstrip(b"/")
    return Found(path, directory, Skip(from_bytes(path) or ".", reason, detail))
