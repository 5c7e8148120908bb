"""The files of a Git tree object, listed from the object store with every object verified."""

from __future__ import annotations

import re
import stat
import threading
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

from dulwich.errors import ApplyDeltaError, ChecksumMismatch, FileFormatException, ObjectFormatException
from dulwich.object_format import ObjectFormat
from dulwich.objects import Blob, Commit, ObjectID, Tree, parse_tree

from core.errors import PermanentError, UnsafeInput
from core.repository.facts import Skip, SkipReason
from core.safety.path import PATH_LIMIT, check_relative_path, from_bytes

ENTRY_LIMIT = 10_000_000
"""Most entries listed of one tree. A few objects that name each other can pretend to any number."""

# A name that needs no further look.
_PLAIN = re.compile(rb"[A-Za-z0-9_+-][A-Za-z0-9_+.-]*")
# What dulwich raises for objects that are damaged or lie about what they are.
_CORRUPT = (
    ApplyDeltaError,
    AssertionError,
    ChecksumMismatch,
    FileFormatException,
    IndexError,
    ObjectFormatException,
    OSError,
    OverflowError,
    ValueError,
    zlib.error,
)


class CorruptObject(PermanentError):
    """An object is missing, damaged, or not what its name says."""

    reason = "corrupt_object"


class ObjectStore(Protocol):
    """What `Objects` reads from; dulwich's stores and the clone cache's packs are such."""

    @property
    def object_format(self) -> ObjectFormat: ...

    def get_raw(self, name: ObjectID) -> tuple[int, bytes]:
        """Type number and content. Raises KeyError if it is not there."""
        ...

    def close(self) -> None: ...


class Objects:
    """Verified reading of an object store, from any thread."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.object_format = store.object_format

    def blob(self, object_id: str) -> bytes:
        """A blob's bytes. Raises CorruptObject."""
        return self._read(object_id.encode(), Blob)

    def tree_of(self, commit: str) -> str:
        """The id of a commit's tree. Raises CorruptObject."""
        content = self._read(commit.encode(), Commit)
        return content.partition(b"\n")[0].removeprefix(b"tree ").decode("ascii", "replace")

    def commit(self, commit: str) -> CommitFacts:
        """A commit's parents and time. Raises CorruptObject."""
        header = self._read(commit.encode(), Commit).partition(b"\n\n")[0]
        lines = [line.partition(b" ") for line in header.split(b"\n")]
        committer = next((rest for name, _, rest in lines if name == b"committer"), b"")
        try:
            seconds = int(committer.rsplit(b" ", 2)[1])
        except (IndexError, ValueError):
            seconds = 0
        parents = [rest.decode("ascii", "replace") for name, _, rest in lines if name == b"parent"]
        return CommitFacts(tuple(parents), seconds)

    def tree(self, object_id: str) -> list[tuple[bytes, int, str]]:
        """A tree's (name, mode, id) in its order, which is checked. Raises CorruptObject."""
        raw = self._read(object_id.encode(), Tree)
        try:
            entries = [
                (name, mode, sha.decode())
                for name, mode, sha in parse_tree(raw, self.object_format.oid_length)
            ]
        except _CORRUPT:
            raise CorruptObject(f"the tree {object_id} is malformed") from None
        keys = [name + b"/" if stat.S_ISDIR(mode) else name for name, mode, _ in entries]
        if any(first >= second for first, second in pairwise(keys)):
            raise CorruptObject(f"the tree {object_id} is not sorted")
        return entries

    def _read(self, object_id: bytes, kind: type[Blob | Commit | Tree]) -> bytes:
        try:
            with self._lock:
                number, content = self._store.get_raw(ObjectID(object_id))
        except KeyError:
            raise CorruptObject(f"the object {object_id.decode()} is missing") from None
        except _CORRUPT:
            raise CorruptObject(f"the object {object_id.decode()} is damaged") from None
        digest = self.object_format.new_hash()
        digest.update(b"%s %d\0" % (kind.type_name, len(content)))
        digest.update(content)
        if number != kind.type_num or digest.hexdigest().encode() != object_id:
            raise CorruptObject(
                f"the object {object_id.decode()} is not the {kind.type_name.decode()} it should be"
            )
        return content

    def close(self) -> None:
        """Close the packs; idempotent."""
        with self._lock:
            self._store.close()


class CommitFacts(NamedTuple):
    """A commit's parents, and when it was made, in seconds since the epoch."""

    parents: tuple[str, ...]
    seconds: int


class TreeFile(NamedTuple):
    """What a tree lists besides directories: `mode` says whether file, link or submodule."""

    path: bytes
    mode: int
    blob: str


class TreeListing:
    """One listing of the tree `root`, or of its directory `prefix` (`b""` or ending in a slash)."""

    def __init__(self, objects: Objects, root: str, prefix: bytes = b"", *, limit: int = ENTRY_LIMIT) -> None:
        self._objects = objects
        self._root = root
        self._prefix = prefix
        self._limit = limit
        self._attributes: dict[bytes, str] = {}

    def files(self) -> Iterator[TreeFile | Skip]:
        """Files in path order, streaming; a directory that cannot be listed is one skip.

        Raises PermanentError past the limit of entries.
        """
        seen = 0
        stack = [iter(self._directory(b"", self._root))]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
                continue
            seen += 1
            if seen > self._limit:
                raise PermanentError(
                    f"the commit lists more than {self._limit:,} files",
                    hint="its trees may be built to exhaust readers",
                )
            if isinstance(item, Skip):
                yield item
            elif stat.S_ISDIR(item.mode):
                directory = item.path + b"/"
                if directory.startswith(self._prefix) or self._prefix.startswith(directory):
                    stack.append(iter(self._directory(directory, item.blob)))
            elif item.path.startswith(self._prefix):
                yield item

    def attributes_blob(self, directory: bytes) -> str | None:
        """The id of the `.gitattributes` in a directory that `files` has reached."""
        return self._attributes.get(directory)

    def _directory(self, directory: bytes, object_id: str) -> list[TreeFile | Skip]:
        try:
            entries = self._objects.tree(object_id)
        except CorruptObject as error:
            path = from_bytes(directory).rstrip("/") or "."
            return [Skip(path, SkipReason.CORRUPT_OBJECT, str(error))]
        for name, mode, blob in entries:
            if name == b".gitattributes" and stat.S_ISREG(mode):
                self._attributes[directory.rstrip(b"/")] = blob
        return [_checked(directory, name, mode, blob) for name, mode, blob in entries]


def _checked(directory: bytes, name: bytes, mode: int, blob: str) -> TreeFile | Skip:
    """An entry of `directory`, which was checked itself."""
    path = directory + name
    if _PLAIN.fullmatch(name) and len(path) <= PATH_LIMIT:
        return TreeFile(path, mode, blob)
    text = from_bytes(path)
    if b"/" in name:
        return Skip(text, SkipReason.OUTSIDE_REPOSITORY, "a name in its tree contains a slash")
    try:
        check_relative_path(text)
    except UnsafeInput:
        return Skip(text, SkipReason.OUTSIDE_REPOSITORY)
    return TreeFile(path, mode, blob)
