"""Git URLs, commit ids and ref names from strangers, checked as text before anything acts on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from core.errors import UnsafeInput
from core.safety.display import display
from core.safety.redact import redact
from core.safety.url import DEFAULT_PORTS, UrlPolicy

GIT_URL_LIMIT = 2048
REF_LIMIT = 255

# `user@host:path` without a scheme; a slash before the colon would make it a path (git-clone(1)).
_SCP = re.compile(r"(?:(?P<user>[^@:/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\[\]]+):(?P<path>[^:%][^%]*)")
_TRANSPORT = re.compile(r"[A-Za-z0-9+._-]*::")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"[0-9a-f]{4,64}")
# git-check-ref-format(1), less `@{` and a lone `@`, which are revision syntax.
_BAD_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|^@\Z|(?:^|/)[.-]|\.lock(?:/|\Z)|^/|[/.]\Z|[\ud800-\udfff]"
)
_USERINFO_HINT: Final = (
    "take the secret out and name it: --git-credentials-ref env:NAME or --git-credentials-path FILE"
)


@dataclass(frozen=True, slots=True)
class GitUrl:
    """A checked URL. `path` is as written, percent-encoded, `/`-led unless relative to an SSH login's home.

    `user` exists for ssh only. `str()` is the canonical form: lower-case host, default port left out.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str | None = None

    @property
    def authority(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own: the key of credential tables."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme, 0) else f"{host}:{self.port}"

    @property
    def name(self) -> str:
        """The repository's own name: the last part of the path without `.git`."""
        return unquote(self.path).rstrip("/").rpartition("/")[2].removesuffix(".git") or self.host

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        if self.scheme == "ssh" and not self.path.startswith("/"):
            if self.port == DEFAULT_PORTS["ssh"]:
                return f"{user}{self.authority}:{self.path}"
            return f"ssh://{user}{self.authority}/~/{self.path}"
        return f"{self.scheme}://{user}{self.authority}{self.path}"


def authority_of(text: str) -> str:
    """`host` or `host:port` as a Git URL or `[user@]host:path` says, unchecked: only to tell hosts apart."""
    try:
        authority = urlsplit(text).netloc
    except ValueError:
        return ""
    return (authority or text.partition(":")[0]).rpartition("@")[2].lower()


def parse_git_url(text: str, policy: UrlPolicy) -> GitUrl:
    """The repository `text` names: `https://…`, `ssh://…` or `user@host:path`.

    Raises UnsafeInput for a scheme outside `policy.schemes` (`http`, `git`, `file` are there by setting
    only), a transport helper (`ext::…`), a user name or password other than ssh's user, a query or
    fragment, dot segments, characters that must be encoded, any part that begins with a dash, and a
    host or address that the policy refuses. The message never carries the userinfo.
    """
    shown = display(redact(text[:GIT_URL_LIMIT]).partition("?")[0], 200)
    if len(text) > GIT_URL_LIMIT:
        raise UnsafeInput(f"the Git URL {shown} is longer than {GIT_URL_LIMIT} characters")
    if text.startswith("-") or _TRANSPORT.match(text):
        raise UnsafeInput(f"{shown} is not a Git URL of the form https://host/path")
    if "://" not in text:
        return _parse_scp(text, shown, policy)
    if text.partition("://")[0].lower() == "file":
        return _parse_file(text, shown, policy)
    return _parse_url(text, shown, policy)


def check_commit(text: str) -> str:
    """Return `text` if it is a full SHA-1 or SHA-256 object id in lower-case hex, else raise UnsafeInput."""
    if not _COMMIT.fullmatch(text):
        raise UnsafeInput(f"{display(text, 80)} is not a full commit id", hint="40 or 64 hex digits")
    return text


def is_commit(text: str) -> bool:
    """Whether `text` is a full object id."""
    return bool(_COMMIT.fullmatch(text))


def is_abbreviated_commit(text: str) -> bool:
    """Whether `text` may be the beginning of an object id (4 to 64 hex digits)."""
    return bool(_ABBREVIATED.fullmatch(text))


def check_ref_name(text: str) -> str:
    """Return `text` if it may name a branch or tag (git-check-ref-format(1)), else raise UnsafeInput."""
    if not text or len(text) > REF_LIMIT or _BAD_REF.search(text):
        raise UnsafeInput(f"{display(text, 80) or 'an empty string'} is not a branch, tag or commit id")
    return text


def _parse_scp(text: str, shown: str, policy: UrlPolicy) -> GitUrl:
    match = _SCP.fullmatch(text)
    if not match:
        raise UnsafeInput(
            f"{shown} is not a Git URL", hint="https://host/path, ssh://host/path or user@host:path"
        )
    user = f"{match['user']}@" if match["user"] is not None else ""
    path = match["path"].rstrip("/")
    url = _parse_url(f"ssh://{user}{match['host']}/{path.removeprefix('/')}", shown, policy)
    return url if path.startswith("/") else GitUrl("ssh", url.host, url.port, path, url.user)


def _parse_url(text: str, shown: str, policy: UrlPolicy) -> GitUrl:
    scheme, _, rest = text.partition("://")
    netloc, slash, path = rest.partition("/")
    user, at, host = netloc.rpartition("@")
    if at and (scheme.lower() != "ssh" or ":" in user):
        raise UnsafeInput(f"{shown} carries a user name or password", hint=_USERINFO_HINT)
    if at and not _USER.fullmatch(user):
        raise UnsafeInput(f"{shown} has an impossible user name")
    parts = policy.check(f"{scheme}://{host}{slash}{path}")
    if parts.query or "?" in text:
        raise UnsafeInput(f"{shown} has a query; a repository's URL has none")
    _check_path(parts.path, shown)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return GitUrl(parts.scheme, parts.hostname or "", port, parts.path.rstrip("/"), user or None)


def _parse_file(text: str, shown: str, policy: UrlPolicy) -> GitUrl:
    if "file" not in policy.schemes:
        raise UnsafeInput(f"{shown} is not allowed: only {', '.join(sorted(policy.schemes))}")
    parts = urlsplit(text)
    if parts.netloc or parts.query or parts.fragment:
        raise UnsafeInput(f"{shown} is not of the form file:///path")
    _check_path(parts.path, shown)
    return GitUrl("file", "", 0, parts.path.rstrip("/"))


def _check_path(path: str, shown: str) -> None:
    plain = unquote(path)
    if not plain.strip("/"):
        raise UnsafeInput(f"{shown} names no repository")
    if not plain.isprintable() or plain.lstrip("/").startswith("-"):
        raise UnsafeInput(f"{shown} has an impossible path")
    if {".", ".."} & set(plain.replace("\\", "/").split("/")):
        raise UnsafeInput(f"{shown} has a path with dot segments")
