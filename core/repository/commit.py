"""A commit of a local repository, read from its object store and never checked out."""

from __future__ import annotations

import io
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dulwich.objects import S_IFGITLINK
from dulwich.objects import Commit as GitCommit
from dulwich.objectspec import AmbiguousShortId, parse_commit
from dulwich.repo import BaseRepo

from core.errors import UsageError
from core.repository.attributes import AttributeRules
from core.repository.facts import Entry, GitState, Skip, SkipReason
from core.repository.git_directory import GitDirectory
from core.repository.git_state import git_state
from core.repository.git_tree import CorruptObject, Objects, TreeFile, TreeListing
from core.repository.patterns import FILE_LIMIT
from core.safety.display import display
from core.safety.path import from_bytes, to_bytes

_SECOND = 1_000_000_000
_ANCESTRY = re.compile(r"(?:[~^][0-9]{0,6})+\Z")
_STEP = re.compile(r"([~^])([0-9]*)")
_RECENT_BYTES = 8 << 20
_UNREAD = {stat.S_IFLNK: (SkipReason.SYMLINK, ""), S_IFGITLINK: (SkipReason.SUBMODULE, "")}


class CommitFiles:
    """A `Repository` over one commit. The commit's time stands for every file's modification time."""

    def __init__(self, git: GitDirectory, path: Path, ref: str, *, prefix: str = "") -> None:
        self.name = path.name.removesuffix(".git") or path.name
        self._git = git
        self._prefix = prefix
        self._ref = ref
        self._store = git.open_objects()
        self._objects = Objects(self._store)
        try:
            self._commit = self._resolve(ref)
        except BaseException:
            self._objects.close()
            raise
        self._recent = _RecentBlobs()

    def _resolve(self, ref: str) -> GitCommit:
        try:
            return self._follow(ref)
        except AmbiguousShortId:
            problem = "is ambiguous"
        except Exception as error:  # noqa: BLE001 # dulwich raises a dozen kinds for a ref that is no commit
            problem = "is no commit of this repository"
            if isinstance(error, OSError):
                problem = f"cannot be read: {error.strerror}"
        raise UsageError(
            f"{display(ref)} {problem}", hint="`git log --all --oneline` lists the commits there are"
        )

    def _follow(self, ref: str) -> GitCommit:
        """The commit of a revision: a name or id, and any number of `~N` and `^N` (gitrevisions(7))."""
        steps = _ANCESTRY.search(ref)
        name = to_bytes(ref[: steps.start()] if steps else ref)
        if not name.strip():
            raise KeyError(ref)
        objects = BaseRepo(self._store, self._git.refs)
        commit = parse_commit(objects, self._git.resolve(name) or name)
        for kind, digits in _STEP.findall(steps[0] if steps else ""):
            number = int(digits or 1)
            parents = [number - 1] if kind == "^" and number else [0] * number if kind == "~" else []
            for parent in parents:
                commit = parse_commit(objects, commit.parents[parent])
        return commit

    def git_state(self) -> GitState | None:
        """As `Repository.git_state`."""
        return git_state(self._git, prefix=self._prefix, commit=self._commit.id.decode(), ref=self._ref)

    def is_dirty(self) -> bool | None:
        """False: a commit is what it is."""
        return False

    def entries(self) -> Iterator[Entry | Skip]:
        """As `Repository.entries`."""
        listing = TreeListing(self._objects, self._commit.tree.decode(), to_bytes(self._prefix))
        rules = AttributeRules(lambda directory: self._attributes_file(listing, directory))
        for found in listing.files():
            if isinstance(found, Skip):
                yield Skip(found.path[len(self._prefix) :] or found.path, found.reason, found.detail)
            else:
                yield self._entry(found, rules)

    def _entry(self, file: TreeFile, rules: AttributeRules) -> Entry | Skip:
        text = from_bytes(file.path)
        path = text[len(self._prefix) :]
        if not stat.S_ISREG(file.mode):
            return Skip(
                path, *_UNREAD.get(stat.S_IFMT(file.mode), (SkipReason.SPECIAL_FILE, f"mode {file.mode:o}"))
            )
        try:
            content = self._objects.blob(file.blob)
        except CorruptObject as error:
            return Skip(path, SkipReason.CORRUPT_OBJECT, str(error))
        self._recent.put(file.blob, content)
        attributes = rules.of(file.path.rpartition(b"/")[0], text)
        return Entry(
            path,
            len(content),
            self._commit.commit_time * _SECOND,
            file.mode,
            file.blob,
            f"blob:{file.blob}",
            attributes.language,
            attributes.generated,
            attributes.vendored,
        )

    def _attributes_file(self, listing: TreeListing, directory: bytes) -> bytes | None:
        blob = listing.attributes_blob(directory)
        try:
            return self._objects.blob(blob)[:FILE_LIMIT] if blob else None
        except CorruptObject:
            return None

    def read(self, entry: Entry, limit: int) -> bytes | Skip:
        """As `Repository.read`."""
        blob = entry.blob or ""
        try:
            content = self._recent.take(blob) or self._objects.blob(blob)
        except CorruptObject as error:
            return Skip(entry.path, SkipReason.CORRUPT_OBJECT, str(error))
        return content if len(content) <= limit else content[:limit]

    def open(self, entry: Entry) -> BinaryIO | Skip:
        """As `Repository.open`."""
        content = self.read(entry, entry.size)
        return content if isinstance(content, Skip) else io.BytesIO(content)

    def close(self) -> None:
        """Close the object store; idempotent."""
        self._objects.close()


class _RecentBlobs:
    """Blobs that were read for their sizes, kept for the reading that mostly follows; thread-safe."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, blob: str, content: bytes) -> None:
        """Keep a blob, and forget the oldest ones beyond the room there is."""
        with self._lock:
            self._bytes += len(content) - len(self._blobs.pop(blob, b""))
            self._blobs[blob] = content
            while self._bytes > _RECENT_BYTES and len(self._blobs) > 1:
                self._bytes -= len(self._blobs.pop(next(iter(self._blobs))))

    def take(self, blob: str) -> bytes | None:
        """A blob that is still kept, once."""
        with self._lock:
            content = self._blobs.pop(blob, None)
            self._bytes -= len(content or b"")
            return content
