"""How connections to Kafka are secured: TLS contexts, SASL passwords and tokens."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import ssl
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError

from core.errors import ConfigurationError
from core.settings.kafka import KafkaSettings
from core.settings.secret import read_secret

_TOKEN_DEADLINE_S = 10
_LONGEST_TOKEN = 64 * 1024


def security_options(settings: KafkaSettings) -> dict[str, Any]:
    """The arguments of aiokafka's clients for `settings`. Raises `ConfigurationError`.

    The result holds secrets: it is handed to the clients and to nobody else.
    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        if settings.oauth_token and settings.sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = TokenSource(settings.oauth_token)
        elif settings.sasl_password:
            options["sasl_plain_username"] = settings.sasl_username
            options["sasl_plain_password"] = read_secret(settings.sasl_password)
    return options


def tls_context(settings: KafkaSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer with verified certificates and host names. Raises `ConfigurationError`."""
    what = "authorities (kafka.tls_ca)"
    try:
        context = ssl.create_default_context(cafile=str(settings.tls_ca) if settings.tls_ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.tls_certificate:
            what = "client certificate (kafka.tls_certificate, kafka.tls_key)"
            password = read_secret(settings.tls_key_password) if settings.tls_key_password else ""
            # A password of some kind always: without one OpenSSL would ask on the terminal.
            context.load_cert_chain(
                str(settings.tls_certificate), str(settings.tls_key), password=lambda: password
            )
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        raise ConfigurationError(f"the TLS {what} cannot be loaded: {reason}") from None
    return context


class TokenSource(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is untyped
    """OAUTHBEARER tokens from `env:NAME`, `file:/path` or `command:PROGRAM ARGUMENTS`, per connection."""

    def __init__(self, reference: str) -> None:
        self._reference = reference

    async def token(self) -> str:
        """The token. Raises aiokafka's `AuthenticationFailedError`, which its clients know to retry."""
        kind, _, rest = self._reference.partition(":")
        try:
            return await _output_of(shlex.split(rest)) if kind == "command" else read_secret(self._reference)
        except ConfigurationError as error:
            raise AuthenticationFailedError(str(error)) from None


class _Output(asyncio.SubprocessProtocol):
    """Collects what a command prints; `ended` is set once it has exited and closed its output."""

    def __init__(self) -> None:
        self.printed = bytearray()
        self.ended = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.printed += data[: _LONGEST_TOKEN - len(self.printed)]

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def _output_of(command: list[str]) -> str:
    """What `command` prints. Raises `ConfigurationError` that never shows it."""
    try:
        transport, output = await asyncio.get_running_loop().subprocess_exec(
            _Output, *command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the token command cannot be run: {error}") from None
    try:
        async with asyncio.timeout(_TOKEN_DEADLINE_S):
            await output.ended.wait()
        status = transport.get_returncode()
    except TimeoutError:
        raise ConfigurationError(f"the token command took longer than {_TOKEN_DEADLINE_S} s") from None
    finally:
        with suppress(ProcessLookupError):  # what it started may still run
            os.killpg(transport.get_pid(), signal.SIGKILL)
        transport.close()
        await output.ended.wait()
    token = output.printed.decode("ascii", "replace").strip()
    if status or not token:
        raise ConfigurationError(f"the token command gave no token (exit status {status})")
    return token
