"""Push hooks of Git hosts: whether one is genuine, and which branches it is about.

Sources: docs.github.com, "Validating webhook deliveries" and "push"; docs.gitlab.com, "Webhook events" and
"System hooks"; confluence.atlassian.com, "Event payload" (repo:refs_changed) and "Manage webhooks";
support.atlassian.com, "Event payloads" (repo:push).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

from core.errors import AccessDenied, InvalidEvent, UnsafeInput
from core.safety.git_url import parse_git_url
from core.safety.url import UrlPolicy

SIGNATURES = _SIGNATURE, _BITBUCKET, _GITEA, _TOKEN = (
    "X-Hub-Signature-256",
    "X-Hub-Signature",
    "X-Gitea-Signature",
    "X-Gitlab-Token",
)
"""The headers by which a hook proves itself: one of them."""

_HEADS = "refs/heads/"
_SYSTEM_HOOK = "System Hook"
_BITBUCKET_SERVER, _BITBUCKET_CLOUD = "repo:refs_changed", "repo:push"
# Where a URL leads is checked when it is connected to; here it is compared only.
_ANY = UrlPolicy(
    schemes=frozenset({"https", "http", "ssh", "git", "file"}),
    networks=(ip_network("0.0.0.0/0"), ip_network("::/0")),
)
# Hosts that take SSH on port 443 do it under another name; a repository is the same under both.
_SSH_NAMES = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
_URLS = ("clone_url", "ssh_url", "git_url", "html_url", "git_http_url", "git_ssh_url", "web_url", "url")


@dataclass(frozen=True, slots=True)
class Push:
    """What a hook says of one branch: the keys of the repository's URLs (`key_of`), and its commit.

    `commit` is None where the branch was deleted. Nothing here is trusted beyond a reason to look.
    """

    repositories: frozenset[str]
    branch: str
    commit: str | None
    default_branch: str | None = None


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> None:
    """Raise `AccessDenied` unless `body` or its headers prove knowledge of `secret`, in constant time.

    GitHub, Gitea and Bitbucket sign the raw body with SHA-256, GitLab sends the secret.
    The first of these headers that is there decides. SHA-1 signatures are refused.
    """
    key = secret.encode()
    found = next((name for name in SIGNATURES if headers.get(name)), None)
    if found and found != _TOKEN:
        digest = hmac.new(key, body, sha256).hexdigest()
        expected = digest if found == _GITEA else f"sha256={digest}"
        genuine = hmac.compare_digest(_bytes(headers[found]), expected.encode())
    elif token := headers.get(_TOKEN):
        # Digests have one length, so that the comparison tells nothing about the secret's.
        genuine = hmac.compare_digest(sha256(_bytes(token)).digest(), sha256(key).digest())
    else:
        raise AccessDenied("the hook is not signed")
    if not genuine:
        raise AccessDenied("the hook's signature is wrong")


def parse(headers: Mapping[str, str], body: bytes) -> list[Push]:
    """The pushes that a verified hook tells of; none for other events, tags among them.

    Raises `InvalidEvent` for what is not a push hook's JSON.
    """
    event = _event(headers)
    if event is None:
        return []
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("the body is not JSON") from None
    if not isinstance(told, dict):
        raise InvalidEvent("the body is not a JSON object")
    if event == _SYSTEM_HOOK and told.get("object_kind", told.get("event_name")) != "push":
        return []
    if event in (_BITBUCKET_SERVER, _BITBUCKET_CLOUD):
        return _bitbucket_pushes(told)
    ref, after = told.get("ref"), told.get("after")
    if not isinstance(ref, str) or not isinstance(after, str):
        raise InvalidEvent("a push hook has ref and after")
    if not ref.startswith(_HEADS):
        return []
    about = [part for name in ("repository", "project") if isinstance(part := told.get(name), dict)]
    urls = {url for part in about for name in _URLS if isinstance(url := part.get(name), str)}
    default = next((name for part in about if isinstance(name := part.get("default_branch"), str)), None)
    keys = frozenset(key for url in urls if (key := key_of(url)))
    return [Push(keys, ref.removeprefix(_HEADS), after if after.strip("0") else None, default)]


def _bitbucket_pushes(told: Mapping[str, Any]) -> list[Push]:
    """One push per branch in a hook of Bitbucket Data Center or Cloud; its clone URLs are in `links`."""
    try:
        links = told["repository"].get("links") or {}
        named = [link["href"] for link in links.get("clone", ())]
        if "html" in links:
            named.append(links["html"]["href"])
        changes = told["changes"] if "changes" in told else told["push"]["changes"]
        branches = [found for change in changes if (found := _bitbucket_branch(change))]
        keys = frozenset(key for url in named if isinstance(url, str) and (key := key_of(url)))
    except (LookupError, TypeError, AttributeError):
        raise InvalidEvent("a push hook of Bitbucket has repository and changes") from None
    return [Push(keys, branch, commit) for branch, commit in branches]


def _bitbucket_branch(change: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The branch of one change and the commit it is at now; None for a tag."""
    if "ref" in change:
        ref, commit = str(change["ref"]["id"]), str(change["toHash"])
        branch = ref.removeprefix(_HEADS) if ref.startswith(_HEADS) else None
        return (branch, commit if commit.strip("0") else None) if branch else None
    new = change["new"]
    about = new or change["old"]
    if about["type"] != "branch":
        return None
    return str(about["name"]), str(new["target"]["hash"]) if new else None


def key_of(url: str) -> str | None:
    """What the URLs of one repository have in common: its host and path, however it is reached.

    Lower-case, since the hosts take names in any case; without `.git`. Without the port: SSH has another one
    than HTTP, and a host behind a proxy does not know its own. Two repositories that differ only in the port
    wake each other, which costs one look. None for what is no Git URL.
    """
    try:
        parsed = parse_git_url(url, _ANY)
    except UnsafeInput:
        return None
    path = parsed.path.strip("/").removeprefix("~/").removesuffix(".git").lower()
    # Bitbucket Data Center serves HTTP below /scm, and SSH without it.
    path = path.removeprefix("scm/")
    host = parsed.host.lower()
    return f"{_SSH_NAMES.get(host, host)}/{path}"


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether there is anything to `verify`."""
    return any(name in headers for name in SIGNATURES)


def _bytes(header: str) -> bytes:
    return header.encode("utf-8", "surrogateescape")


def _event(headers: Mapping[str, str]) -> str | None:
    """Which kind of push a hook says it is; None for all other events."""
    if headers.get("X-GitHub-Event") == "push":
        return "push"
    if (event := headers.get("X-Gitlab-Event")) in ("Push Hook", _SYSTEM_HOOK):
        return event
    if (event := headers.get("X-Event-Key")) in (_BITBUCKET_SERVER, _BITBUCKET_CLOUD):
        return event
    return None
