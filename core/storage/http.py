"""One way of speaking HTTP to a storage: no redirects, no proxies from the environment, no decompression."""

from __future__ import annotations

import asyncio
import html
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from core import __version__
from core.errors import (
    AccessDenied,
    ArchonError,
    BackendUnavailable,
    ConfigurationError,
    ContentMissing,
    PermanentError,
    UnsafeInput,
)
from core.retry_after import retry_after
from core.safety.display import display
from core.safety.redact import redact
from core.safety.url import UrlPolicy

BLOCK: Final = 1 << 18
_ERROR_BODY: Final = 4096
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")
_RETRYABLE: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 509})


class Refused(Exception):
    """A status that is not success, with the storage's own error code where it gave one."""

    def __init__(
        self,
        status: int,
        code: str,
        retry_after: float | None,
        headers: Mapping[str, str],
        message: str = "",
    ) -> None:
        """`message` is the storage's own sentence, a stranger's text."""
        super().__init__(f"{status} {code}".strip())
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after
        self.headers = headers


class _CheckedResolver(AbstractResolver):
    """Resolves through a policy, so that aiohttp connects to checked addresses only."""

    def __init__(self, policy: UrlPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await asyncio.to_thread(self._policy.resolve, host, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


def new_session(in_flight: int, policy: UrlPolicy | None = None) -> aiohttp.ClientSession:
    """A session of at most `in_flight` connections; with `policy`, only to addresses that it allows.

    `AWS_CA_BUNDLE` names the authorities to trust, as it does for botocore.
    """
    bundle = os.environ.get("AWS_CA_BUNDLE")
    try:
        trust = ssl.create_default_context(cafile=bundle) if bundle else True
    except OSError as error:
        raise ConfigurationError(f"AWS_CA_BUNDLE={display(bundle or '')} cannot be read: {error}") from None
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            ssl=trust,
            limit=in_flight,
            resolver=_CheckedResolver(policy) if policy else None,
            happy_eyeballs_delay=0.25,
        ),
        # The deadline of a whole transfer is the caller's; a peer that says nothing at all ends earlier.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30),
        headers={"Accept-Encoding": "identity", "User-Agent": f"archon/{__version__}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    )


@asynccontextmanager
async def requesting(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> AsyncGenerator[aiohttp.ClientResponse, None]:
    """A successful response (200, 204).

    Raises `Refused` for any other status, `BackendUnavailable` where the connection fails or breaks off.
    """
    target = URL(url, encoded=True)
    try:
        async with session.request(
            method, target, headers=headers, data=content, allow_redirects=False
        ) as response:
            if response.status not in {200, 204}:
                raise await _refused(response)
            yield response
    except ArchonError:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = str(error) or type(error).__name__
        raise BackendUnavailable(
            f"the connection to {display(target.host or '')} failed: {display(redact(said))}"
        ) from None


async def _refused(response: aiohttp.ClientResponse) -> Refused:
    body = await response.content.read(_ERROR_BODY)
    match, sentence = _CODE.search(body), _MESSAGE.search(body)
    return Refused(
        response.status,
        match[1].decode() if match else "",
        retry_after(response.headers.get("Retry-After")),
        response.headers,
        html.unescape(sentence[1].decode("utf-8", "replace")) if sentence else "",
    )


def explain(refused: Refused, host: str) -> ArchonError:
    """What a refused request for an object means to whoever has only its link."""
    said = f"{refused.status} {refused.code}".strip()
    where = display(host)
    if 300 <= refused.status < 400:
        return UnsafeInput(f"{where} answers {said}: redirects are not followed")
    if refused.status == 404:
        return ContentMissing(f"{where} has no such object ({said})")
    if refused.status in {401, 403} or refused.code in {
        "ExpiredToken",
        "AccessDenied",
        "RequestTimeTooSkewed",
    }:
        return AccessDenied(f"{where} refuses the request ({said})")
    if refused.status in _RETRYABLE:
        return BackendUnavailable(f"{where} answers {said}", retry_after=refused.retry_after)
    sentence = f": {display(redact(refused.message), 200)}" if refused.message else ""
    return PermanentError(f"{where} answers {said}{sentence}")
