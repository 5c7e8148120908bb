"""The files of one fetch and what became of each."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from core.errors import ArchonError, UnsafeInput
from core.git.commit_list import CommitFiles
from core.git.errors import MissingPath, SubmodulePath, SymlinkPath
from core.git.lfs import Pointer, parse_pointer
from core.git.source import GitContent, LetGo, Wanted
from core.safety.display import display
from core.safety.git_url import is_commit
from core.safety.path import check_relative_path, to_bytes


class Batch:
    """Collects one answer per wanted file. `hex_length` is that of the repository's object ids.

    At most `hold` bytes of content are kept, LFS content included, in the order in which it comes.
    `damaged` are the blobs that the cache had, but not sound.
    """

    def __init__(self, wanted: Sequence[Wanted], hex_length: int, hold: int | None = None) -> None:
        self.pointers: dict[Pointer, list[int]] = defaultdict(list)
        self.damaged: set[str] = set()
        self._wanted = wanted
        self._hex_length = hex_length
        self._room = hold
        self._answers: list[GitContent | ArchonError | None] = [None] * len(wanted)
        self._unresolved: list[int] = []
        self._waiting: dict[str, list[int]] = defaultdict(list)
        for index, item in enumerate(wanted):
            self._admit(index, item)

    @property
    def answers(self) -> list[GitContent | ArchonError]:
        """One answer per file, in order; every file has one by now."""
        return [answer for answer in self._answers if answer is not None]

    @property
    def needs_files(self) -> bool:
        """Whether some file came without its blob id."""
        return bool(self._unresolved)

    @property
    def waiting(self) -> list[str]:
        """The blob ids not answered yet."""
        return list(self._waiting)

    def resolve(self, files: CommitFiles) -> None:
        """Look the files without blob id up in the commit."""
        unresolved, self._unresolved = self._unresolved, []
        for index in unresolved:
            path = self._wanted[index].path
            found = files.get(to_bytes(path))
            if found is None:
                self._answers[index] = MissingPath(f"the commit has no file {display(path)}")
            elif found.is_file:
                self._waiting[found.oid].append(index)
            elif found.is_symlink:
                self._answers[index] = SymlinkPath(f"{display(path)} is a symbolic link")
            else:
                self._answers[index] = SubmodulePath(
                    f"{display(path)} is a submodule", hint="ingest its own repository"
                )

    def accept(self, oid: str, content: bytes, *, cache_hit: bool, wire_bytes: int, attempts: int) -> None:
        """The blob `oid` is here; an LFS pointer waits for its content."""
        let_go = None if self._has_room(content) else _let_go(content)
        answer = GitContent(b"" if let_go else content, oid, cache_hit, wire_bytes, attempts, let_go)
        indexes = self._waiting.pop(oid)
        for index in indexes:
            self._answers[index] = answer
        if pointer := parse_pointer(content):
            self.pointers[pointer] += indexes

    def reject(self, oid: str, error: ArchonError) -> None:
        """The blob `oid` cannot be had."""
        for index in self._waiting.pop(oid, ()):
            self._answers[index] = error

    def replace_pointer(self, pointer: Pointer, content: bytes | ArchonError) -> None:
        """What an LFS pointer stands for, or why that cannot be had."""
        let_go = None
        if isinstance(content, bytes) and not self._has_room(content):
            let_go = _let_go(content)
        for index in self.pointers.pop(pointer):
            before = self._answers[index]
            if isinstance(before, GitContent) and isinstance(content, bytes):
                wire_bytes = before.wire_bytes + len(content)
                self._answers[index] = GitContent(
                    b"" if let_go else content, before.blob, False, wire_bytes, before.attempts, let_go
                )
            elif isinstance(content, ArchonError):
                self._answers[index] = content

    def fail(self, error: ArchonError) -> None:
        """Every file without an answer ends with `error`."""
        self._answers = [error if answer is None else answer for answer in self._answers]
        self._waiting.clear()
        self._unresolved.clear()

    def _has_room(self, content: bytes) -> bool:
        if self._room is None:
            return True
        fits = len(content) <= self._room
        self._room -= len(content) if fits else 0
        return fits

    def _admit(self, index: int, item: Wanted) -> None:
        try:
            check_relative_path(item.path)
            if item.blob is None:
                self._unresolved.append(index)
            elif is_commit(item.blob) and len(item.blob) == self._hex_length:
                self._waiting[item.blob].append(index)
            else:
                raise UnsafeInput(f"{display(item.blob, 80)} is not an object id of this repository")
        except UnsafeInput as error:
            self._answers[index] = error


def _let_go(content: bytes) -> LetGo:
    return LetGo(len(content), f"sha256:{hashlib.sha256(content).hexdigest()}")
