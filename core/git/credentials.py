"""Credential references resolved to secrets, only for the hosts that configuration names for them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from core.errors import AccessDenied, ConfigurationError
from core.events.v2 import GitCredentials
from core.git.secret_providers import SecretProviders
from core.safety.display import display
from core.safety.git_url import GitUrl
from core.safety.redact import redact, register_secret
from core.settings.git import HostCredentials

SECRET_LIFE_S = 300.0
"""How long a resolved secret is used before it is asked for again."""

SHORTEST_LIFE_S = 10.0
"""Within this time a refused secret is not asked for again: the provider is spared."""


@dataclass(frozen=True, slots=True, repr=False)
class TokenLogin:
    """A token for HTTPS."""

    token: str
    username: str
    scheme: Literal["basic", "bearer"]

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        if self.scheme == "bearer":
            return f"Bearer {self.token}"
        return "Basic " + base64.b64encode(f"{self.username}:{self.token}".encode()).decode()


@dataclass(frozen=True, slots=True, repr=False)
class KeyLogin:
    """A private key for SSH, as text; it never touches the disk."""

    private_key: str


Login = TokenLogin | KeyLogin | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A reference that may be used for a URL. `scope` keeps what it opens apart in the cache."""

    url: GitUrl
    credentials: GitCredentials | None
    host: HostCredentials

    @property
    def scope(self) -> str:
        return self.credentials.credential_ref if self.credentials else ""


_NOTHING: Final = HostCredentials(refs=())


class CredentialResolver:
    """Decides whether a reference may be used for a host, and resolves it.

    `table` is `[git.credentials]`; its keys are `host` or `host:port`.
    """

    def __init__(
        self,
        table: Mapping[str, HostCredentials],
        providers: SecretProviders,
        *,
        known_hosts: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = {host.lower(): entry for host, entry in table.items()}
        self._providers = providers
        self._known_hosts = known_hosts
        self._clock = clock
        self._resolved: dict[tuple[str, str], tuple[float, Login]] = {}
        self._lock = asyncio.Lock()

    def grant(self, url: GitUrl, credentials: GitCredentials | None) -> Grant:
        """The right to use `credentials` for `url`; nothing secret is read yet.

        Raises `AccessDenied` if the reference is not configured for exactly this host and port, or its
        type does not fit the scheme: otherwise an event could send any secret anywhere.
        """
        entry = self._table.get(url.authority, _NOTHING)
        if credentials is None:
            return Grant(url, None, entry)
        ref = display(redact(credentials.credential_ref), 120)
        if credentials.credential_ref not in entry.refs:
            raise AccessDenied(
                f"the credential {ref} is not configured for {url.authority}",
                hint=f'add it to refs in [git.credentials."{url.authority}"]',
            )
        fits = {"https": "token", "ssh": "ssh_key"}.get(url.scheme)
        if credentials.type != fits:
            raise AccessDenied(f"a credential of type {credentials.type} is not sent over {url.scheme}")
        return Grant(url, credentials, entry)

    def allow(self, url: GitUrl, credentials: GitCredentials) -> None:
        """Let a person at the command line use a reference for the URL given with it."""
        entry = self._table.get(url.authority, _NOTHING)
        refs = tuple(dict.fromkeys((*entry.refs, credentials.credential_ref)))
        self._table[url.authority] = entry.model_copy(update={"refs": refs})

    def known_hosts(self, url: GitUrl) -> Path:
        """The file that pins the SSH keys of a host. Raises `ConfigurationError` where there is none."""
        entry = self._table.get(url.authority)
        if path := (entry and entry.known_hosts) or self._known_hosts:
            return path
        raise ConfigurationError(
            f"no SSH host keys are configured for {url.authority}",
            hint="set git.known_hosts to a file made with ssh-keyscan and checked by you",
        )

    async def login(self, grant: Grant) -> Login:
        """The secret behind a grant, cached for five minutes. Raises what the provider raises."""
        if grant.credentials is None:
            return None
        async with self._lock:
            known = self._resolved.get(_key(grant))
            if known and self._clock() < known[0] + SECRET_LIFE_S:
                return known[1]
            return await self._resolve(grant, grant.credentials)

    async def renew(self, grant: Grant, refused: Login) -> Login:
        """The secret again, after a host refused it; None if it was not rotated meanwhile."""
        if grant.credentials is None:
            return None
        async with self._lock:
            known = self._resolved.get(_key(grant))
            if known and self._clock() < known[0] + SHORTEST_LIFE_S:
                renewed = known[1]
            else:
                renewed = await self._resolve(grant, grant.credentials)
            return None if renewed == refused else renewed

    async def _resolve(self, grant: Grant, credentials: GitCredentials) -> Login:
        secret = await self._providers.read(credentials.credential_ref)
        register_secret(secret)
        login = _login(secret, credentials, grant.host)
        self._resolved[_key(grant)] = (self._clock(), login)
        return login


def _key(grant: Grant) -> tuple[str, str]:
    return grant.url.authority, grant.scope


def _login(secret: str, credentials: GitCredentials, host: HostCredentials) -> Login:
    if credentials.type == "ssh_key":
        return KeyLogin(secret)
    token = secret.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"the credential {display(credentials.credential_ref, 120)} is not one line of plain text"
        )
    return TokenLogin(token, host.username, host.scheme)
