"""How servers that speak S3 differ, and what their refusals mean to whoever configured them."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import (
    ArchonError,
    BackendUnavailable,
    ConfigurationError,
    ContentMissing,
    CredentialsRefused,
    PermanentError,
)
from core.safety.display import display
from core.storage.http import Refused, explain


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server. `encrypts`: asks for AES256 unless told otherwise; `checksums`: knows
    `x-amz-checksum-sha256`, else MD5 guards the transfer (RFC 1864).
    """

    provider: str
    path_style: bool
    encrypts: bool
    checksums: bool
    endpoint: str | None = None
    region: str | None = None


S3 = Dialect("s3", path_style=False, encrypts=True, checksums=True)
# MinIO answers NotImplemented to AES256 unless it has a key service; its default encryption still applies.
MINIO = Dialect("minio", path_style=True, encrypts=False, checksums=True, region="us-east-1")
GCS = Dialect(
    "gcs",
    path_style=True,
    encrypts=False,
    checksums=False,
    endpoint="https://storage.googleapis.com",
    region="auto",
)

_WRONG_REGION = frozenset(
    {
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "TemporaryRedirect",
    }
)
_BAD_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"})
# Bytes damaged or cut short on their way, and what S3 calls being busy: the same call may succeed.
_PASSING = frozenset(
    {
        "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
        "IncompleteBody", "RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable",
        "OperationAborted",
    }
)  # fmt: skip


class ChecksumHeaderRefused(PermanentError):
    """The server does not know the checksum header, as Backblaze B2 does not."""


CREDENTIALS_HINT = (
    "credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE), ~/.aws or the machine's role"
)


def explain_to_owner(refused: Refused, bucket: str, host: str, region: str) -> ArchonError:
    """What a refusal means to an agent that uses its own credentials: the setting to change, by name."""
    name = display(bucket)
    actual = refused.headers.get("x-amz-bucket-region")
    if refused.code in _WRONG_REGION or refused.status == 301 or (actual and actual != region):
        where = f"is in {display(actual)}" if actual else "is elsewhere"
        return ConfigurationError(
            f"the bucket {name} {where}, not in {region}", hint="set storage.region (CONTENT_STORAGE_REGION)"
        )
    if refused.code == "NoSuchBucket":
        return ConfigurationError(
            f"the bucket {name} does not exist at {display(host)}",
            hint="set storage.bucket (CONTENT_STORAGE_BUCKET), or make it: archon-agent storage setup",
        )
    if refused.code == "InvalidBucketName":
        return ConfigurationError(
            f"{name} is no valid bucket name", hint="set storage.bucket (CONTENT_STORAGE_BUCKET)"
        )
    if refused.code == "RequestTimeTooSkewed":
        return CredentialsRefused(f"the clock of this machine differs too much from that of {display(host)}")
    if refused.code in _BAD_KEYS:
        return CredentialsRefused(
            f"{display(host)} does not accept the credentials ({refused})", hint=CREDENTIALS_HINT
        )
    if "x-amz-checksum" in refused.message.lower():
        return ChecksumHeaderRefused(
            f"{display(host)} does not know x-amz-checksum-sha256", hint="set storage.checksums = false"
        )
    if refused.code in _PASSING:
        return BackendUnavailable(f"{display(host)} answers {refused}", retry_after=refused.retry_after)
    if refused.code in {"NoSuchKey", "NoSuchUpload"}:
        return ContentMissing(f"the bucket {name} has no such object")
    return explain(refused, host)
