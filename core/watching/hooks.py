"""Push hooks of GitHub and GitLab: whether one is genuine, and which branch it is about.

Sources: docs.github.com, "Validating webhook deliveries" and "push"; docs.gitlab.com, "Webhook events".
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network

from core.errors import AccessDenied, InvalidEvent, UnsafeInput
from core.safety.git_url import parse_git_url
from core.safety.url import UrlPolicy

SIGNATURES = _SIGNATURE, _TOKEN = "X-Hub-Signature-256", "X-Gitlab-Token"
"""The headers by which a hook proves itself: one of them."""

_HEADS = "refs/heads/"
# Where a URL leads is checked when it is connected to; here it is compared only.
_ANY = UrlPolicy(
    schemes=frozenset({"https", "http", "ssh", "git", "file"}),
    networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
)
_URLS = ("clone_url", "ssh_url", "git_url", "html_url", "git_http_url", "git_ssh_url", "web_url", "url")


@dataclass(frozen=True, slots=True)
class Push:
    """What a hook says: the keys of the repository's URLs (`key_of`), the branch, and the commit it is at.

    `commit` is None where the branch was deleted. Nothing here is trusted beyond a reason to look.
    """

    repositories: frozenset[str]
    branch: str
    commit: str | None
    default_branch: str | None = None


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """Raise `AccessDenied` unless `body` or its headers prove knowledge of `secret`, in constant time.

    GitHub signs the raw body (`X-Hub-Signature-256`), GitLab sends the secret (`X-Gitlab-Token`).
    """
    key = secret.encode()
    if signature := headers.get(_SIGNATURE):
        expected = f"sha256={hmac.new(key, body, sha256).hexdigest()}"
        genuine = hmac.compare_digest(_bytes(signature), expected.encode())
    elif token := headers.get(_TOKEN):
        # Digests have one length, so that the comparison tells nothing about the secret's.
        genuine = hmac.compare_digest(sha256(_bytes(token)).digest(), sha256(key).digest())
    else:
        raise AccessDenied("the hook is not signed")
    if not genuine:
        raise AccessDenied("the hook's signature is wrong")


def parse(headers: Mapping[str, str], body: bytes) -> Push | None:
    """The push that a verified hook tells of; None for other events, tags among them.

    Raises `InvalidEvent` for what is not a push hook's JSON.
    """
    if not _is_push(headers):
        return None
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
    if not isinstance(told, dict):
        raise InvalidEvent("the body is not a JSON object")
    ref, after = told.get("ref"), told.get("after")
    if not isinstance(ref, str) or not isinstance(after, str):
        raise InvalidEvent("a push hook has ref and after")
    if not ref.startswith(_HEADS):
        return None
    about = [part for name in ("repository", "project") if isinstance(part := told.get(name), dict)]
    urls = {url for part in about for name in _URLS if isinstance(url := part.get(name), str)}
    default = next((name for part in about if isinstance(name := part.get("default_branch"), str)), None)
    return Push(
        frozenset(key for url in urls if (key := key_of(url))),
        ref.removeprefix(_HEADS),
        after if after.strip("0") else None,
        default,
    )


def key_of(url: str) -> str | None:
    """What the URLs of one repository have in common: its host and path, however it is reached.

    Lower-case, since the hosts take names in any case; without `.git`. None for what is no Git URL.
    """
    try:
        parsed = parse_git_url(url, _ANY)
    except UnsafeInput:
        return None
    path = parsed.path.strip("/").removeprefix("~/").removesuffix(".git")
    return f"{parsed.authority}/{path}".lower()


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether there is anything to `verify`."""
    return any(name in headers for name in SIGNATURES)


def _bytes(header: str) -> bytes:
    return header.encode("utf-8", "surrogateescape")


def _is_push(headers: Mapping[str, str]) -> bool:
    return headers.get("X-GitHub-Event") == "push" or headers.get("X-Gitlab-Event") == "Push Hook"
