"""Git LFS: pointers in place of files, and their content through the host's batch API.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dulwich.lfs import LFSPointer

from core.errors import ArchonError, ChecksumMismatch, ContentMissing, ContentTooLarge
from core.git.credentials import Login, TokenLogin
from core.git.errors import HostMisbehaved
from core.git.http import HttpSessions
from core.git.session import HostSession
from core.safety.display import display
from core.safety.git_url import GitUrl
from core.safety.redact import redact, scrubbing
from core.safety.url import origin_of

POINTER_BYTES: Final = 1024
_SIGNATURE: Final = b"version https://git-lfs.github.com/spec/v1"
_MEDIA_TYPE: Final = "application/vnd.git-lfs+json"
_ANSWER_BYTES: Final = 8 << 20
_SECRET_HEADER = re.compile(r"auth|cookie|token|secret|key|signature", re.IGNORECASE)
_READ_BYTES: Final = 1 << 16
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer names: the SHA-256 of the content in hex, and its size in bytes."""

    oid: str
    size: int


def parse_pointer(content: bytes) -> Pointer | None:
    """The pointer that a blob is, None if it is an ordinary file."""
    if len(content) >= POINTER_BYTES or not content.startswith(_SIGNATURE):
        return None
    found = LFSPointer.from_bytes(content)
    if found is None or not found.is_valid_oid() or found.size < 0:
        return None
    return Pointer(found.oid, found.size)


class LfsClient:
    """Downloads LFS content; blocking. `limit` is the largest file in bytes."""

    def __init__(self, sessions: HttpSessions, limit: int) -> None:
        self._sessions = sessions
        self._limit = limit

    def fetch(
        self,
        session: HostSession,
        url: GitUrl,
        login: Login,
        pointers: Sequence[Pointer],
        accept: Callable[[Pointer, bytes | ArchonError], None],
    ) -> None:
        """Hand the verified content of each pointer to `accept`, one at a time, so that none is held here.

        Raises what the host as a whole raises; pointers accepted before that keep their answer. A link may
        lead to another host: it is held to the URL policy, and gets only the headers that came with it.
        Our credential goes to links of the repository's own origin that bring no Authorization.
        """
        wanted = []
        for pointer in pointers:
            if pointer.size > self._limit:
                accept(
                    pointer,
                    ContentTooLarge(f"an LFS file of {pointer.size:,} bytes is over {self._limit:,}"),
                )
            else:
                wanted.append(pointer)
        if not wanted:
            return
        with session.exchange():
            links = self._batch(url, login, wanted)
        for pointer in wanted:
            link = links.get(pointer.oid)
            if link is None or isinstance(link, ArchonError):
                accept(
                    pointer, link or ContentMissing(f"{url.authority} has no LFS object {pointer.oid[:12]}")
                )
                continue
            try:
                with session.exchange():
                    content: bytes | ArchonError = self._download(link, pointer, _authorization(url, login))
            except ArchonError as error:
                content = error
            accept(pointer, content)

    def _batch(
        self, url: GitUrl, login: Login, pointers: Sequence[Pointer]
    ) -> dict[str, dict[str, Any] | ArchonError]:
        base = str(url)
        endpoint = f"{base if base.endswith('.git') else base + '.git'}/info/lfs/objects/batch"
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": pointer.oid, "size": pointer.size} for pointer in pointers],
        }
        answer = self._sessions.open(
            "POST",
            endpoint,
            headers={"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE},
            body=json.dumps(body).encode(),
            authorization=_authorization(url, login),
            pages=False,
            repeat=True,
        )
        try:
            document = json.loads(answer.read(_ANSWER_BYTES))
            return dict(map(_link, document["objects"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise HostMisbehaved(f"{url.authority} sent no answer of the LFS batch API") from None
        finally:
            answer.close()

    def _download(
        self, link: Mapping[str, Any], pointer: Pointer, authorization: tuple[str, str] | None
    ) -> bytes:
        headers = _headers(link)
        if any(name.lower() == "authorization" for name in headers):
            authorization = None
        with scrubbing(_credentials(headers)):
            return self._download_with(headers, authorization, link, pointer)

    def _download_with(
        self,
        headers: dict[str, str],
        authorization: tuple[str, str] | None,
        link: Mapping[str, Any],
        pointer: Pointer,
    ) -> bytes:
        answer = self._sessions.open("GET", str(link["href"]), headers=headers, authorization=authorization)
        content = bytearray()
        digest = hashlib.sha256()
        try:
            while len(content) <= pointer.size and (part := answer.read(_READ_BYTES)):
                content += part
                digest.update(part)
        finally:
            answer.close()
        if len(content) != pointer.size or digest.hexdigest() != pointer.oid:
            raise ChecksumMismatch(f"the LFS object {pointer.oid[:12]} is not what its pointer says")
        return bytes(content)


def _credentials(headers: Mapping[str, str]) -> list[str]:
    """The values that are secrets. A host chooses its headers: plain ones would blot out our logs."""
    return [value for name, value in headers.items() if _SECRET_HEADER.search(name) and len(value) >= 16]


def _authorization(url: GitUrl, login: Login) -> tuple[str, str] | None:
    return (origin_of(str(url)), login.authorization) if isinstance(login, TokenLogin) else None


def _headers(link: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a link. Raises `HostMisbehaved` for one that HTTP cannot carry."""
    given = link.get("header") or {}
    if not isinstance(given, dict):
        raise HostMisbehaved("an LFS link has headers that are not an object")
    headers = {str(name): str(value) for name, value in given.items()}
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise HostMisbehaved("an LFS link has a header that HTTP cannot carry")
    return headers


def _link(item: Mapping[str, Any]) -> tuple[str, dict[str, Any] | ArchonError]:
    oid = str(item["oid"])
    if error := item.get("error"):
        said = display(redact(str(error.get("message", ""))), 120)
        return oid, ContentMissing(f"the LFS object {oid[:12]} cannot be had: {said} ({error.get('code')})")
    download = item["actions"]["download"]
    return oid, {"href": download["href"], "header": download.get("header")}
