"""A bucket as archon wants it: no public access, encrypted by default, emptied by age."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from core.storage.keys import PREFIX
from core.storage.s3 import Connection, S3StorageClient

_RULE_ID: Final = "archon-retention"
_DAY_S: Final = 24 * 3600
_NOT_OFFERED: Final = frozenset(
    {"NotImplemented", "MethodNotAllowed", "NotSupported", "UnsupportedOperation"}
)
_UNSET: Final = frozenset(
    {
        "NoSuchPublicAccessBlockConfiguration", "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchLifecycleConfiguration", "NoSuchBucket",
    }
)  # fmt: skip
_BLOCKED: Final = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
_ENCRYPTION: Final = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


class Finding(NamedTuple):
    """One property of the bucket. `state`: `ok`, `wrong`, or `not offered` by this kind of server."""

    name: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Property:
    name: str
    wanted: str
    read: Callable[[], Awaitable[bool]]
    write: Callable[[], Awaitable[Any]]


class BucketAdmin:
    """Sets up and verifies the bucket of a client. `retention_s` is the age at which objects expire.

    Methods raise `ConfigurationError`, `AccessDenied` or `BackendUnavailable` as the client does.
    """

    def __init__(self, storage: S3StorageClient, retention_s: float) -> None:
        self._storage = storage
        self._days = max(1, math.ceil(retention_s / _DAY_S))

    async def verify(self) -> list[Finding]:
        """Every property as it is."""
        await self._storage.check()
        return [await self._look(item) for item in await self._properties()]

    async def setup(self) -> list[Finding]:
        """Create the bucket if it is missing, set what is not as wanted, and say what it is like now."""
        await self._create()
        findings: list[Finding] = []
        for item in await self._properties():
            found = await self._look(item)
            if found.state == "wrong":
                found = await self._set(item)
            findings.append(found)
        return findings

    async def _create(self) -> None:
        connection = await self._storage.connect()
        options: dict[str, Any] = {"Bucket": self._storage.bucket}
        if connection.region not in {"us-east-1", "auto"}:
            options["CreateBucketConfiguration"] = {"LocationConstraint": connection.region}
        async with self._storage.translating():
            try:
                await connection.client.create_bucket(**options)
            except connection.client.exceptions.ClientError as error:
                # Some servers answer BucketAlreadyExists for one's own bucket too.
                owned = error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"
                if not (owned or await self._is_listable(connection)):
                    raise

    async def _is_listable(self, connection: Connection) -> bool:
        try:
            await connection.client.head_bucket(Bucket=self._storage.bucket)
        except connection.client.exceptions.ClientError:
            return False
        return True

    async def _properties(self) -> list[_Property]:
        client = (await self._storage.connect()).client
        bucket = {"Bucket": self._storage.bucket}

        async def is_blocked() -> bool:
            answer = await client.get_public_access_block(**bucket)
            found: dict[str, Any] = answer["PublicAccessBlockConfiguration"]
            return {name: found.get(name) for name in _BLOCKED} == _BLOCKED

        async def is_encrypted() -> bool:
            answer = await client.get_bucket_encryption(**bucket)
            rules = answer["ServerSideEncryptionConfiguration"]["Rules"]
            return any(rule.get("ApplyServerSideEncryptionByDefault") for rule in rules)

        async def expires() -> bool:
            rules = (await client.get_bucket_lifecycle_configuration(**bucket)).get("Rules", [])
            return any(self._is_ours(rule) for rule in rules)

        return [
            _Property(
                "public access",
                "blocked",
                is_blocked,
                lambda: client.put_public_access_block(**bucket, PublicAccessBlockConfiguration=_BLOCKED),
            ),
            _Property(
                "default encryption",
                "AES256",
                is_encrypted,
                lambda: client.put_bucket_encryption(**bucket, ServerSideEncryptionConfiguration=_ENCRYPTION),
            ),
            _Property("lifecycle", f"objects expire after {self._days} days", expires, self._write_lifecycle),
        ]

    def _rule(self) -> dict[str, Any]:
        return {
            "ID": _RULE_ID,
            "Status": "Enabled",
            "Filter": {"Prefix": PREFIX},
            "Expiration": {"Days": self._days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }

    def _is_ours(self, rule: dict[str, Any]) -> bool:
        days = rule.get("Expiration", {}).get("Days")
        return rule.get("ID") == _RULE_ID and rule.get("Status") == "Enabled" and days == self._days

    async def _write_lifecycle(self) -> None:
        """Other rules of the bucket stay as they are."""
        client = (await self._storage.connect()).client
        try:
            answer = await client.get_bucket_lifecycle_configuration(Bucket=self._storage.bucket)
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in _UNSET:
                raise
            answer = {}
        others = [rule for rule in answer.get("Rules", []) if rule.get("ID") != _RULE_ID]
        await client.put_bucket_lifecycle_configuration(
            Bucket=self._storage.bucket, LifecycleConfiguration={"Rules": [*others, self._rule()]}
        )

    async def _look(self, item: _Property) -> Finding:
        return await self._judge(item, item.read)

    async def _set(self, item: _Property) -> Finding:
        async def write_and_read() -> bool:
            await item.write()
            return await item.read()

        return await self._judge(item, write_and_read)

    async def _judge(self, item: _Property, step: Callable[[], Awaitable[bool]]) -> Finding:
        client = (await self._storage.connect()).client
        async with self._storage.translating():
            try:
                is_so = await step()
            except client.exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                if code in _NOT_OFFERED:
                    return Finding(item.name, "not offered", f"this server has no setting for it ({code})")
                if code not in _UNSET:
                    raise
                is_so = False
        return Finding(item.name, "ok" if is_so else "wrong", item.wanted if is_so else f"not {item.wanted}")
