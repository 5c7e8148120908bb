"""Object keys: `projects/{project_slug}/{checksum_hex}.{ext_slug}`, so that equal content is one object."""

from __future__ import annotations

import posixpath
import re

PREFIX = "projects/"
SLUG_LIMIT = 63
EXTENSION_LIMIT = 16

_UNFIT = re.compile(r"[^a-z0-9]+")
_KEY = re.compile(rf"{PREFIX}[a-z0-9-]{{1,{SLUG_LIMIT}}}/([0-9a-f]{{64}})\.[a-z0-9]{{1,{EXTENSION_LIMIT}}}")

_KEY_BYTES = re.compile(_KEY.pattern.encode())


def project_slug(project_name: str) -> str:
    """The project's part of a key: lower-case ASCII letters, digits and dashes, at most 63 characters.

    Two names may share a slug; what they share then are objects of equal content.
    """
    return _UNFIT.sub("-", project_name.lower()).strip("-")[:SLUG_LIMIT].strip("-") or "project"


def object_key(project_name: str, checksum: str, relative_path: str) -> str:
    """The key of a file's content; `checksum` is `sha256:<hex>`."""
    extension = posixpath.splitext(relative_path)[1].lower().lstrip(".")
    slug = _UNFIT.sub("", extension)[:EXTENSION_LIMIT] or "bin"
    return f"{PREFIX}{project_slug(project_name)}/{checksum.removeprefix('sha256:')}.{slug}"


def keys_in(text: bytes) -> set[str]:
    """Whatever looks like one of our keys in bytes that nobody could decode, such as a newer event."""
    return {match.group().decode() for match in _KEY_BYTES.finditer(text)}


def checksum_of(key: str) -> str | None:
    """The `sha256:<hex>` that a key names; None if it is not one of our keys."""
    match = _KEY.fullmatch(key)
    return f"sha256:{match[1]}" if match else None
