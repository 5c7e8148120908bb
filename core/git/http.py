"""HTTP to Git hosts: checked addresses, credentials for one origin only, no automatic redirects."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import urllib3
from dulwich.client import (
    AbstractHttpGitClient,
    build_ls_refs_request_v2,
    default_user_agent_string,
    extract_object_format_from_capabilities,
    read_pkt_refs_v2,
)
from dulwich.protocol import Protocol, pkt_line
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import Timeout

from core.errors import AccessDenied, ArchonError, BackendUnavailable, ConfigurationError, PermanentError
from core.git.errors import HostMisbehaved, RepositoryNotFound
from core.git.transfer import CONNECT_S, Transfer
from core.retry_after import retry_after
from core.safety.display import display
from core.safety.redact import redact
from core.safety.url import UrlPolicy, origin_of

if TYPE_CHECKING:
    from dulwich.client import HTTPResponse
    from dulwich.objects import ObjectID
    from dulwich.refs import Ref

REDIRECTS = 3
FETCH_PREFIX = [b"HEAD"]
"""The refs that a fetch by id asks for, although it needs none: they cost least."""
# Under this key is kept what a host that speaks version 2 can do, and where it is.
_ABLE = b"version 2"
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
_REPEATED_STATUS = frozenset({301, 307, 308})
"""Redirects after which git-lfs repeats a POST: the repository moved."""
_PAGE_STATUS = frozenset({200, 203, 302, 303})
_LOGIN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})


class _Checked(HTTPConnection):
    """Connects where the transfer's policy allows, and can be stopped by it."""

    def _new_conn(self) -> socket.socket:
        return Transfer.current().connect(self._dns_host, self.port)

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            Transfer.current().hold(self.sock)
        super().request(*args, **kwargs)


class _CheckedTls(_Checked, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTls


class HttpAnswer:
    """A response being read; what it brings counts against the transfer it was opened in."""

    def __init__(self, response: urllib3.BaseHTTPResponse, transfer: Transfer, redirected_to: str) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.headers.get("Content-Type")
        self.redirect_location = redirected_to
        self._response = response
        self._transfer = transfer

    def read(self, amt: int | None = None) -> bytes:
        """Up to `amt` bytes, fewer only at the end. Raises the transfer's reason or `HostMisbehaved`."""
        with _explained(self._transfer):
            data = self._response.read(amt)
        self._transfer.count(len(data))
        return data

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, else drop it."""
        try:
            self._response.read(1)
        except HTTPError:
            pass
        finally:
            self._response.close()

    def geturl(self) -> str | None:
        return self._response.geturl()


class HttpSessions:
    """Connections to Git hosts, kept alive and shared by threads."""

    def __init__(
        self, policy: UrlPolicy, *, context: ssl.SSLContext | None = None, per_host: int = 10
    ) -> None:
        self._policy = policy
        self._pools = urllib3.PoolManager(
            num_pools=64, maxsize=per_host, ssl_context=context or ssl.create_default_context()
        )
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        authorization: tuple[str, str] | None = None,
        pages: bool = True,
        repeat: bool = False,
    ) -> HttpAnswer:
        """Ask, inside the calling thread's transfer. `authorization` is an origin and its header's value.

        Up to three redirects are followed, each checked like the URL itself, never from https to http; a
        POST only with `repeat`, for 301, 307 and 308. Logins go to their own origin only. Without `pages`, an
        HTML answer is a sign-in page. Raises the error that the status stands for.
        """
        target = url
        for _ in range(REDIRECTS + 1):
            answer = self._ask(method, target, headers, body, authorization, url)
            page = not pages and (answer.content_type or "").lower().startswith("text/html")
            if answer.status == 200 and not page:
                return answer
            answer.close()
            redirects = _REDIRECT_STATUS if method == "GET" else _REPEATED_STATUS if repeat else frozenset()
            if answer.status not in redirects:
                sent = bool(authorization and authorization[0] in (origin_of(url), origin_of(target)))
                raise _refusal(answer, target, sent=sent)
            target = self._next(target, answer)
        raise HostMisbehaved(f"{origin_of(url)} redirects more than {REDIRECTS} times")

    def _ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        authorization: tuple[str, str] | None,
        url: str,
    ) -> HttpAnswer:
        self._policy.check(target)
        transfer = Transfer.current()
        transfer.check()
        sent = {"User-Agent": default_user_agent_string(), "Accept-Encoding": "identity", **headers}
        if origin_of(target) != origin_of(url):
            sent = {name: value for name, value in sent.items() if name.lower() not in _LOGIN_HEADERS}
        if authorization and authorization[0] == origin_of(target):
            sent["Authorization"] = authorization[1]
        with _explained(transfer):
            response = self._pools.urlopen(
                method,
                target,
                body=body,
                headers=sent,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=Timeout(connect=CONNECT_S, read=transfer.limits.stall_s),
            )
        return HttpAnswer(response, transfer, target if target != url else "")

    def _next(self, url: str, answer: HttpAnswer) -> str:
        target = urljoin(url, answer.headers.get("Location", ""))
        if url.startswith("https://") and not target.startswith("https://"):
            raise PermanentError(f"{origin_of(url)} redirects to an address that is not https")
        return target

    def close(self) -> None:
        self._pools.clear()


class SmartHttpClient(AbstractHttpGitClient):
    """dulwich's protocol over our transport, for one thread.

    `advertised` keeps what the host said it can do: that saves a fetch by id two round trips, and
    listing refs one.
    """

    def __init__(
        self,
        base_url: str,
        sessions: HttpSessions,
        authorization: str | None,
        advertised: dict[bytes, Any] | None = None,
    ) -> None:
        super().__init__(base_url)
        self._sessions = sessions
        self._authorization = (origin_of(base_url), authorization) if authorization else None
        self._advertised = {} if advertised is None else advertised

    def _get_url(self, path: str | bytes) -> str:
        return self._base_url

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[HTTPResponse, Callable[[int], bytes]]:
        body = data if data is None or isinstance(data, bytes) else b"".join(data)
        answer = self._sessions.open(
            "GET" if body is None else "POST",
            url,
            headers={"Pragma": "no-cache", **(headers or {})},
            body=body,
            authorization=self._authorization,
            pages=False,
        )
        return answer, raising_err_packets(answer.read)

    def _discover_references(
        self,
        service: bytes,
        base_url: str,
        protocol_version: int | None = None,
        ref_prefix: Sequence[bytes] | None = None,
    ) -> tuple[dict[Ref, ObjectID | None], set[bytes], str, dict[Ref, Ref], dict[Ref, ObjectID]]:
        """What the host advertises; refs are asked for anew, except for a fetch, which goes by ids."""
        by_id = list(ref_prefix or ()) == FETCH_PREFIX
        known = self._advertised.get(service) if by_id else None
        if known is None and (able := self._advertised.get(_ABLE)):
            capabilities, base = able
            self.protocol_version = 2
            return self._list_refs(service, capabilities, base, list(ref_prefix or ()))
        if known is None:
            found = super()._discover_references(service, base_url, protocol_version, ref_prefix)
            if self.dumb:
                raise HostMisbehaved(f"{origin_of(base_url)} speaks no smart Git protocol")
            known = (self.protocol_version, found)
            if by_id:
                self._advertised[service] = known
            if self.protocol_version == 2:
                self._advertised[_ABLE] = found[1:3]
        self.protocol_version, (refs, capabilities, base, symrefs, peeled) = known
        return dict(refs), set(capabilities), base, dict(symrefs), dict(peeled)

    def _list_refs(
        self, service: bytes, capabilities: set[bytes], base: str, prefixes: list[bytes]
    ) -> tuple[dict[Ref, ObjectID | None], set[bytes], str, dict[Ref, Ref], dict[Ref, ObjectID]]:
        """Refs of a host whose capabilities are known: one exchange (gitprotocol-v2(5), ls-refs)."""
        object_format = extract_object_format_from_capabilities(capabilities)
        command, arguments = build_ls_refs_request_v2(capabilities, object_format, prefixes)
        lines = [*map(pkt_line, command), b"0001", *map(pkt_line, arguments), b"0000"]
        answer, read = self._smart_request(service.decode(), base, b"".join(lines))
        try:
            packets = Protocol(read, lambda _data: None).read_pkt_seq()
            refs, symrefs, peeled = read_pkt_refs_v2(packets)
        finally:
            answer.close()
        return refs, set(capabilities), base, symrefs, peeled


def raising_err_packets(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """`read`, but an ERR packet (gitprotocol-pack(5)), which dulwich takes for data, raises `HostRefused`."""

    def checked(size: int) -> bytes:
        data = read(size)
        if data.startswith(b"ERR "):
            raise HostRefused(data[4:].decode("utf-8", "replace").strip())
        return data

    return checked


class HostRefused(Exception):
    """The host said why it does not serve a request; `core.git.remote` turns it into an `ArchonError`."""


@contextmanager
def _explained(transfer: Transfer) -> Iterator[None]:
    """Turn what the network does inside into archon's errors."""
    try:
        yield
    except SSLError as error:
        transfer.check()
        raise BackendUnavailable(
            f"the certificate of {transfer.host} is not trusted: {_said(error)}", hint="see git.ca_file"
        ) from None
    except (HTTPError, OSError) as error:
        transfer.check()
        raise HostMisbehaved(f"{transfer.host} broke off: {_said(error)}") from None


def _said(error: Exception) -> str:
    return display(redact(str(error.args[-1] if error.args else error)), 200)


def _refusal(answer: HttpAnswer, url: str, *, sent: bool) -> ArchonError:
    host, status = origin_of(url), answer.status
    after = retry_after(answer.headers.get("Retry-After"))
    if status in _RETRY_STATUS or (status == 403 and after is not None):
        return BackendUnavailable(f"{host} answers {status}", retry_after=after)
    if status in _PAGE_STATUS:
        # Hosts send people to a page where they sign in, instead of answering 401.
        why = "refuses the credential and" if sent else "wants a credential and"
        return AccessDenied(
            f"{host} {why} answers with a sign-in page ({status})",
            hint="see git_credentials of the event, --git-credentials-ref",
        )
    if status in (401, 403):
        why = "refuses the credential" if sent else "wants a credential"
        return AccessDenied(
            f"{host} {why} ({status})", hint="see git_credentials of the event, --git-credentials-ref"
        )
    if status in (404, 410):
        hint = None if sent else "a private repository looks like this without a credential"
        return RepositoryNotFound(f"{host} has no such repository ({status})", hint=hint)
    if status == 407:
        return ConfigurationError(f"{host} is behind a proxy that wants a login; proxies are not used")
    return PermanentError(f"{host} answers {status}")
