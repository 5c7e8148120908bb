"""What a file is, once its bytes were seen."""

from __future__ import annotations

from core.repository import conventions
from core.repository.encodings import detect_encoding
from core.repository.facts import Entry, FileFacts, Skip, SkipReason
from core.repository.languages import is_binary_name, language_of

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_POINTER_LIMIT = 1024
_HEAD = 8192


def classify_unread(entry: Entry) -> FileFacts:
    """What the path and `.gitattributes` tell of a file whose bytes nobody here has seen."""
    path = entry.path
    is_binary = is_binary_name(path)
    return FileFacts(
        entry,
        None if is_binary else language_of(path, b"", entry.language_override),
        is_binary=is_binary,
        encoding=None,
        is_test=conventions.is_test_path(path),
        is_generated=bool(entry.generated),
        is_vendored=conventions.is_vendored(path) if entry.vendored is None else entry.vendored,
        checksum=None,
    )


def classify(entry: Entry, content: bytes, *, complete: bool, checksum: str | None) -> FileFacts | Skip:
    """The facts of a file with these bytes; a Git LFS pointer is a skip.

    `complete` says whether `content` is the whole file or a beginning of at least 8 KiB;
    `checksum` is `sha256:<hex>` of the whole, or None. What `.gitattributes` says wins.
    """
    if entry.size < _LFS_POINTER_LIMIT and content.startswith(_LFS_POINTER):
        return Skip(entry.path, SkipReason.LFS_POINTER)
    path = entry.path
    encoding = detect_encoding(content, complete=complete)
    language = None
    if encoding is not None:
        language = language_of(path, content[:_HEAD], entry.language_override)
    generated = entry.generated
    if generated is None:
        generated = encoding is not None and conventions.is_generated(path, content, language)
    return FileFacts(
        entry,
        language,
        encoding is None,
        encoding,
        conventions.is_test_path(path),
        generated,
        conventions.is_vendored(path) if entry.vendored is None else entry.vendored,
        checksum,
    )
