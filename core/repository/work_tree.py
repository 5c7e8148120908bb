"""A Git work tree: the files its index tracks and, if asked, those that are not ignored."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from core.repository.attributes import Rule, parse_attributes
from core.repository.dirty import WorkTreeComparison
from core.repository.facts import Entry, GitState, Skip
from core.repository.git_directory import GitDirectory
from core.repository.git_state import git_state
from core.repository.git_tree import Objects, TreeListing
from core.repository.ignore import IgnoreRules
from core.repository.listing import Clock, Lister
from core.repository.patterns import FILE_LIMIT
from core.repository.reader import FileReader
from core.repository.split_index import count_all_entries
from core.repository.tracked import TrackedFile, tracked_files
from core.repository.tree_walk import Found, TreeWalk, WalkRules
from core.safety.path import expand_user, from_bytes, to_bytes

_TRUE = frozenset(["true", "yes", "on", "1", "input"])


class WorkTree:
    """A `Repository` over the work tree at `top`, or its directory `prefix` (`""` or ending in a slash)."""

    def __init__(
        self,
        git: GitDirectory,
        top: Path,
        *,
        prefix: str = "",
        include_untracked: bool = False,
        clock: Clock = time.time_ns,
    ) -> None:
        path = top / prefix
        self.name = path.name or "root"
        self._git = git
        self._top = top
        self._prefix = to_bytes(prefix)
        self._include_untracked = include_untracked
        self._clock = clock
        self._reader = FileReader(path)

    def git_state(self) -> GitState:
        """As `Repository.git_state`."""
        return git_state(self._git, prefix=from_bytes(self._prefix))

    def entries(self) -> Iterator[Entry | Skip]:
        """As `Repository.entries`."""
        with closing(self._lister()) as lister:
            if not self._include_untracked:
                for tracked in self._tracked():
                    yield tracked.look(lister)
                return
            composed = self._is_set("precomposeunicode")
            rules = WalkRules(enter_repositories=False, by_content=False, compose=composed)
            with closing(TreeWalk(self._top, rules)) as walk:
                yield from self._with_untracked(walk, lister)

    def count_files(self) -> int:
        """As `Countable.count_files`, of the whole work tree."""
        return count_all_entries(self._git.index(), self._git.object_format)

    def has_tracked_files(self) -> bool:
        """Whether the index tracks anything here."""
        return next(self._tracked(), None) is not None

    def is_dirty(self) -> bool | None:
        """As `Repository.is_dirty`, of the files here."""
        state = self.git_state()
        with closing(self._lister()) as lister, closing(Objects(self._git.open_objects())) as objects:
            tree = objects.tree_of(state.commit) if state.commit else None
            committed = TreeListing(objects, tree, self._prefix).files() if tree else iter(())
            return WorkTreeComparison(self._git, lister, self._reader).is_dirty(committed, self._tracked())

    def _tracked(self) -> Iterator[TrackedFile]:
        return tracked_files(self._git, self._prefix)

    def _with_untracked(self, walk: TreeWalk, lister: Lister) -> Iterator[Entry | Skip]:
        by_case = self._tracked_by_case() if self._is_set("ignorecase") else {}
        submodules = set()
        last = b""
        tracked: Iterator[tuple[bytes, TrackedFile | Found]] = (
            (file.indexed.name, file) for file in self._tracked()
        )
        found: Iterator[tuple[bytes, TrackedFile | Found]] = (
            (found.position, found) for found in walk.walk(self._ignore_rules(walk), self._prefix)
        )
        for position, item in heapq.merge(tracked, found, key=lambda pair: pair[0]):
            if isinstance(item, TrackedFile):
                last = position
                if item.is_submodule:
                    submodules.add(position)
                yield item.look(lister)
            elif item.skip is not None:
                if item.path not in submodules:
                    yield Skip(lister.name(item.path), item.skip.reason, item.skip.detail)
            elif position != last:
                status = lister.look(item.path)
                if isinstance(status, Skip):
                    yield status
                elif not _is_one_file(by_case.get(item.path.lower()), status, lister):
                    yield lister.entry(item.path, status)

    def _tracked_by_case(self) -> dict[bytes, bytes]:
        """The names of tracked files by their lower case (ASCII, as Git compares them)."""
        return {file.indexed.name.lower(): file.indexed.name for file in self._tracked()}

    def _is_set(self, name: str) -> bool:
        """Whether a Boolean of `core`, as git-config(1) describes it, is true."""
        return (self._git.setting("core", name) or "").lower() in _TRUE

    def _ignore_rules(self, walk: TreeWalk) -> IgnoreRules:
        """Git's rules above the prefix: the user's, the repository's own, `.gitignore` files."""
        rules = IgnoreRules()
        for path in (
            self._user_file("core", "excludesfile", "ignore"),
            self._git.common_dir / "info/exclude",
        ):
            rules = rules.with_file("", _content(path))
        parts = self._prefix.split(b"/")[:-1]
        for depth in range(len(parts)):
            directory = b"".join(part + b"/" for part in parts[:depth])
            rules = rules.with_file(from_bytes(directory), walk.read_rules(directory + b".gitignore") or b"")
        return rules

    def _lister(self) -> Lister:
        return Lister(
            self._top,
            prefix=self._prefix,
            weakest=self._attributes(self._user_file("core", "attributesfile", "attributes")),
            strongest=self._attributes(self._git.common_dir / "info/attributes"),
            converts=self._is_set("autocrlf"),
            clock=self._clock,
        )

    def _attributes(self, path: Path | None) -> tuple[Rule, ...]:
        return parse_attributes(_content(path))

    def _user_file(self, section: str, name: str, default: str) -> Path | None:
        """A pattern file of the user's; None where it lies in a home directory and there is none."""
        configured = self._git.setting(section, name)
        if configured:
            return expand_user(configured)
        home = expand_user(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
        return home / "git" / default if home else None

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """As `Repository.read`."""
        return self._reader.read(entry, limit)

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """As `Repository.open`."""
        return self._reader.open(entry)

    def close(self) -> None:
        """Give the descriptors back; idempotent."""
        self._reader.close()


def _is_one_file(tracked: bytes | None, found: os.stat_result, lister: Lister) -> bool:
    """Whether the disk takes a tracked name for the file that was found under another."""
    if tracked is None:
        return False
    status = lister.look(tracked)
    return not isinstance(status, Skip) and os.path.samestat(status, found)


def _content(path: Path | None) -> bytes:
    """A pattern file of the user's or the repository's own; absent and unreadable ones say nothing."""
    try:
        if path is None or not path.is_file():
            return b""
        with path.open("rb") as stream:
            return stream.read(FILE_LIMIT)
    except (OSError, ValueError):
        return b""
