"""Reaching Git hosts: which client a URL takes, with the credential that is granted for it."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from dulwich.client import GitClient

from core.errors import AccessDenied, ConfigurationError
from core.events.v2 import GitCredentials
from core.git.credentials import CredentialResolver, Grant, KeyLogin, Login, TokenLogin
from core.git.http import HttpSessions, SmartHttpClient
from core.git.origin import credentials_for
from core.git.remote import GitRemote, local_client
from core.git.stream import StreamGitClient, dial_tcp
from core.safety.git_url import GitUrl, parse_git_url
from core.safety.url import UrlPolicy


class GitHosts:
    """The hosts that `policy` allows, with the credentials of `resolver`."""

    def __init__(self, policy: UrlPolicy, sessions: HttpSessions, resolver: CredentialResolver) -> None:
        self.policy = policy
        self.sessions = sessions
        self.resolver = resolver
        self._advertised: dict[str, dict[Any, Any]] = {}
        # Checking a URL takes as long as reading two cached files.
        self._parsed = lru_cache(maxsize=256)(lambda text: parse_git_url(text, policy))

    def grant(self, url: str, credentials: GitCredentials | None) -> Grant:
        """A checked URL and the right to use `credentials` for it. Raises UnsafeInput or `AccessDenied`."""
        return self.resolver.grant(self._parsed(url), credentials)

    def allow(self, url: str, reference: str | None) -> GitCredentials | None:
        """Let a person use a credential for the URL they give with it. Raises UnsafeInput."""
        checked = parse_git_url(url, self.policy)
        if credentials := credentials_for(checked, reference):
            self.resolver.allow(checked, credentials)
        return credentials

    def remote(self, grant: Grant, login: Login) -> GitRemote:
        """A connection to be used by one thread. Raises `ConfigurationError` or `AccessDenied`."""
        return GitRemote(grant.url, self._client(grant, login))

    def forget(self, grant: Grant) -> None:
        """Ask the host anew what it can do: something about it changed."""
        self._advertised.pop(f"{grant.url} {grant.scope}", None)

    def close(self) -> None:
        self.sessions.close()

    def _client(self, grant: Grant, login: Login) -> GitClient:
        url: GitUrl = grant.url
        match url.scheme:
            case "http" | "https":
                authorization = login.authorization if isinstance(login, TokenLogin) else None
                # What a host shows may depend on who asks.
                known = self._advertised.setdefault(f"{url} {grant.scope}", {})
                return SmartHttpClient(str(url), self.sessions, authorization, known)
            case "ssh":
                if not isinstance(login, KeyLogin):
                    raise AccessDenied(
                        f"{url.authority} needs an SSH key", hint="name a credential of type ssh_key"
                    )
                from core.git.ssh import dial_ssh  # paramiko costs 80 ms to import

                return StreamGitClient(url, dial_ssh(url, login, self.resolver.known_hosts(url)))
            case "git":
                return StreamGitClient(url, dial_tcp(url))
            case "file":
                return local_client()
        raise ConfigurationError(f"Git over {url.scheme} is not supported", hint="see git.schemes")


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trust in the system's authorities, and in those of `ca_file`. Raises `ConfigurationError`."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"git.ca_file {ca_file} cannot be used: {error.strerror}") from None
    return context
