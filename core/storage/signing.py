"""AWS Signature Version 4 by botocore's signers, without the rest of botocore's request path."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

from core.safety.redact import register_secret

_NO_PAYLOAD = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class _KnownPayload(S3SigV4Auth):  # type: ignore[misc] # botocore is untyped
    """Signs a payload by the SHA-256 that is known already, also over https."""

    def __init__(self, credentials: Any, region: str, payload: str) -> None:
        super().__init__(credentials, "s3", region)
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        return self._payload


class Signer:
    """Signs requests and links for one region with credentials that may refresh themselves."""

    def __init__(self, credentials: Any, region: str) -> None:
        self._credentials = credentials
        self._region = region
        self._registered: str | None = None

    async def _frozen(self) -> Any:
        frozen = await self._credentials.get_frozen_credentials()
        if frozen.secret_key != self._registered:
            self._registered = frozen.secret_key
            for secret in (frozen.secret_key, frozen.token):
                if secret:
                    register_secret(secret)
        return frozen

    async def headers(
        self, method: str, url: str, headers: Mapping[str, str], payload: str | None = None
    ) -> dict[str, str]:
        """`headers` with the signature; `payload` is the body's SHA-256 in hex, None for no body."""
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        _KnownPayload(await self._frozen(), self._region, payload or _NO_PAYLOAD).add_auth(request)
        return dict(request.headers.items())

    async def link(self, url: str, lifetime_s: int) -> tuple[str, datetime, datetime | None]:
        """A presigned GET, when it was signed, and when the credentials end that it hangs on."""
        frozen = await self._frozen()
        request = AWSRequest(method="GET", url=url)
        signed_at = datetime.now(UTC)
        S3SigV4QueryAuth(frozen, "s3", self._region, expires=lifetime_s).add_auth(request)
        # A role's link dies with the role's session, however long it was asked to live.
        ends = getattr(self._credentials, "_expiry_time", None)
        return request.url, signed_at, ends if isinstance(ends, datetime) else None


def content_md5(content: bytes) -> str:
    """A `Content-MD5` header (RFC 1864): it guards a transfer, not against an adversary."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def content_sha256(content: bytes) -> str:
    """An `x-amz-checksum-sha256` header."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
