"""Git LFS: pointers in place of files, and their content through the host's batch API.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
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
        self, session: HostSession, url: GitUrl, login: Login, pointers: Sequence[Pointer]
    ) -> dict[Pointer, bytes | ArchonError]:
        """The content of each pointer, verified. Raises what the host as a whole raises.

        The host's links may lead elsewhere: each is held to the URL policy, and gets only the headers
        that came with it, never our credential.
        """
        answers: dict[Pointer, bytes | ArchonError] = {
            pointer: ContentTooLarge(f"an LFS file of {pointer.size:,} bytes is over {self._limit:,}")
            for pointer in pointers
            if pointer.size > self._limit
        }
        wanted = {pointer.oid: pointer for pointer in pointers if pointer not in answers}
        if not wanted:
            return answers
        with session.exchange():
            links = self._batch(url, login, list(wanted.values()))
        for oid, pointer in wanted.items():
            link = links.get(oid)
            if link is None or isinstance(link, ArchonError):
                answers[pointer] = link or ContentMissing(f"{url.authority} has no LFS object {oid[:12]}")
                continue
            try:
                with session.exchange():
                    answers[pointer] = self._download(link, pointer)
            except ArchonError as error:
                answers[pointer] = error
        return answers

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
            authorization=(origin_of(base), login.authorization) if isinstance(login, TokenLogin) else None,
        )
        try:
            document = json.loads(answer.read(_ANSWER_BYTES))
            return dict(map(_link, document["objects"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise HostMisbehaved(f"{url.authority} sent no answer of the LFS batch API") from None
        finally:
            answer.close()

    def _download(self, link: Mapping[str, Any], pointer: Pointer) -> bytes:
        headers = {str(name): str(value) for name, value in (link.get("header") or {}).items()}
        with scrubbing(_credentials(headers)):
            return self._download_with(headers, link, pointer)

    def _download_with(self, headers: dict[str, str], link: Mapping[str, Any], pointer: Pointer) -> bytes:
        answer = self._sessions.open("GET", str(link["href"]), headers=headers)
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


def _link(item: Mapping[str, Any]) -> tuple[str, dict[str, Any] | ArchonError]:
    oid = str(item["oid"])
    if error := item.get("error"):
        said = display(redact(str(error.get("message", ""))), 120)
        return oid, ContentMissing(f"the LFS object {oid[:12]} cannot be had: {said} ({error.get('code')})")
    download = item["actions"]["download"]
    return oid, {"href": download["href"], "header": download.get("header")}
