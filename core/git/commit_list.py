"""What each fetched commit holds: one flat list of path, mode and blob id per commit, kept on disk.

A file is deflated, followed by its own SHA-256, and like `git ls-tree -r -z` output: mode, id, TAB, path,
NUL; an entry whose name is not safe has mode 0. Looking a path up in it takes a tenth of walking trees.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from core.git.errors import CorruptPack
from core.repository.facts import Skip, SkipReason
from core.repository.git_tree import Objects, TreeFile, TreeListing
from core.safety.path import to_bytes
from core.safety.private import write_private

logger = logging.getLogger(__name__)

LISTS_IN_MEMORY: Final = 4
HAVES: Final = 4
UNSAFE: Final = 0
_DIGEST_BYTES: Final = 32
# A list was a quarter of what 1,000 files took on disk; this makes it a third, in 10 ms for 6,500 files.
_LEVEL: Final = 1


class CommitFile(NamedTuple):
    """A path's mode and object id."""

    mode: int
    oid: str

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)


class CommitFiles:
    """The files of one commit, by path in bytes."""

    def __init__(self, raw: bytes) -> None:
        heads: dict[bytes, bytes] = {}
        for record in raw.split(b"\0"):
            head, _, path = record.partition(b"\t")
            heads[path] = head
        heads.pop(b"", None)
        self._heads = heads

    def __len__(self) -> int:
        return len(self._heads)

    def get(self, path: bytes) -> CommitFile | None:
        """The file at `path`."""
        head = self._heads.get(path)
        return _parsed(head) if head else None

    def items(self) -> Iterator[tuple[bytes, CommitFile]]:
        """Every file in path order."""
        return ((path, _parsed(head)) for path, head in self._heads.items())


class CommitLists:
    """The lists of one repository, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, CommitFiles] = OrderedDict()

    def get(self, commit: str) -> CommitFiles | None:
        """The list of `commit`, None if it is not here (or damaged: then it is gone)."""
        with self._lock:
            if files := self._loaded.get(commit):
                self._loaded.move_to_end(commit)
                return files
        path = self._directory / commit
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        deflated, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(deflated).digest() == digest:
            with suppress(zlib.error):
                return self._keep(commit, CommitFiles(zlib.decompress(deflated)))
        path.unlink(missing_ok=True)
        return None

    def build(self, commit: str, objects: Objects, grow: Callable[[int], None]) -> CommitFiles:
        """Make and keep the list of `commit`, whose trees are in `objects`; in memory where the disk refuses.

        Raises `CorruptPack` when a tree is missing or damaged, `CorruptObject` when the commit is.
        """
        raw = b"".join(map(_record, tree_files(objects, objects.tree_of(commit))))
        deflated = zlib.compress(raw, _LEVEL)
        grow(len(deflated) + _DIGEST_BYTES)
        path = self._directory / commit
        temporary = path.with_name(f"{commit}.{os.getpid()}.{threading.get_ident()}")
        try:
            write_private(temporary, deflated + hashlib.sha256(deflated).digest())
            temporary.rename(path)
        except OSError as error:
            logger.warning("the file list of %s is not kept: %s", commit[:12], error.strerror)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return self._keep(commit, CommitFiles(raw))

    def haves(self) -> list[str]:
        """The commits whose trees were fetched last, newest first."""
        found: list[tuple[int, str]] = []
        for item in os.scandir(self._directory):
            with suppress(FileNotFoundError):
                found.append((item.stat().st_mtime_ns, item.name))
        return [name for _, name in sorted(found, reverse=True) if "." not in name][:HAVES]

    def clear(self) -> None:
        """Forget every list: trees may be gone."""
        with self._lock:
            self._loaded.clear()
        for item in os.scandir(self._directory):
            Path(item.path).unlink(missing_ok=True)

    def _keep(self, commit: str, files: CommitFiles) -> CommitFiles:
        with self._lock:
            self._loaded[commit] = files
            while len(self._loaded) > LISTS_IN_MEMORY:
                self._loaded.popitem(last=False)
        return files


def tree_files(objects: Objects, tree: str) -> Iterator[TreeFile | Skip]:
    """Everything in a tree; names that are not safe are skips. Raises `CorruptPack` if a tree is missing."""
    for item in TreeListing(objects, tree).files():
        if isinstance(item, Skip) and item.reason is SkipReason.CORRUPT_OBJECT:
            raise CorruptPack(item.detail)
        yield item


def _record(item: TreeFile | Skip) -> bytes:
    if isinstance(item, Skip):
        return b"%06o %s\t%s\0" % (UNSAFE, b"0" * 40, to_bytes(item.path))
    return b"%06o %s\t%s\0" % (item.mode, item.blob.encode(), item.path)


def _parsed(head: bytes) -> CommitFile:
    mode, _, oid = head.partition(b" ")
    return CommitFile(int(mode, 8), oid.decode())
