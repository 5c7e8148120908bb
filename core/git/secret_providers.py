"""Where secrets come from: `env:NAME`, `file:/path`, `aws-secretsmanager:NAME#key`, what others add."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from core.errors import BackendUnavailable, ConfigurationError
from core.safety.display import display
from core.safety.secret_file import read_secret_file

PLUGINS: Final = "archon.secret_providers"
BUILT_IN: Final = frozenset({"env", "file", "aws-secretsmanager"})


class SecretProvider(Protocol):
    """Reads a secret. `locator` is the reference after its `scheme:`."""

    async def read(self, locator: str) -> str:
        """Raises `ConfigurationError` where there is no such secret, else `BackendUnavailable`."""
        ...


class SecretProviders:
    """The providers by the scheme of their references; others are added with `register`."""

    def __init__(self, providers: Mapping[str, SecretProvider]) -> None:
        self._providers = dict(providers)

    def register(self, scheme: str, provider: SecretProvider) -> None:
        """Let `provider` read the references that begin with `scheme:`."""
        self._providers[scheme] = provider

    async def read(self, reference: str) -> str:
        """The secret that `reference` names. Raises what its provider raises."""
        scheme, colon, locator = reference.partition(":")
        provider = self._providers.get(scheme)
        if not colon or not locator or provider is None:
            known = ", ".join(f"{name}:…" for name in sorted(self._providers))
            # Not repeated: somebody may have put the secret itself there.
            raise ConfigurationError("that is not a credential reference", hint=f"known are {known}")
        return await provider.read(locator)


class EnvironmentSecrets:
    """`env:NAME`."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    async def read(self, locator: str) -> str:
        if not (value := self._environ.get(locator)):
            raise ConfigurationError(f"the environment variable {display(locator, 80)} is not set")
        return value


class FileSecrets:
    """`file:/absolute/path`, as `core.safety.secret_file` reads it."""

    async def read(self, locator: str) -> str:
        return await asyncio.to_thread(read_secret_file, locator)


ClientFactory = Callable[[], AbstractAsyncContextManager[Any]]


class AwsSecrets:
    """`aws-secretsmanager:ARN-or-name[#key]`; `#key` picks a member of a JSON secret.

    `client` opens an aioboto3 Secrets Manager client; credentials come from AWS's default chain.
    """

    def __init__(self, client: ClientFactory | None = None) -> None:
        self._client = client or _default_client

    async def read(self, locator: str) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        name, _, member = locator.partition("#")
        shown = display(name, 120)
        try:
            async with self._client() as client:
                answer = await client.get_secret_value(SecretId=name)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in {"ThrottlingException", "InternalServiceError", "ServiceUnavailable"}:
                raise BackendUnavailable(f"Secrets Manager does not answer for {shown}: {code}") from None
            raise ConfigurationError(f"Secrets Manager refuses the secret {shown}: {code}") from None
        except BotoCoreError as error:
            raise BackendUnavailable(f"Secrets Manager cannot be reached: {type(error).__name__}") from None
        text: object = answer.get("SecretString") or answer.get("SecretBinary", b"").decode(
            "utf-8", "replace"
        )
        if member:
            text = _member(str(text), member, shown)
        return str(text)


def _member(text: str, member: str, shown: str) -> object:
    try:
        value = json.loads(text)[member]
    except (ValueError, TypeError, KeyError):
        value = None
    if not isinstance(value, str):
        raise ConfigurationError(f"the secret {shown} has no text under the key {display(member, 80)}")
    return value


def _default_client() -> AbstractAsyncContextManager[Any]:
    import aioboto3

    client: AbstractAsyncContextManager[Any] = aioboto3.Session().client("secretsmanager")
    return client


def reference_schemes() -> frozenset[str]:
    """The schemes of references that can be resolved: archon's own, and those of installed plug-ins."""
    return BUILT_IN | {plugin.name for plugin in entry_points(group=PLUGINS)}


def default_providers(environ: Mapping[str, str] = os.environ) -> SecretProviders:
    """archon's own providers, and a new one of each plug-in (an entry point named like its scheme)."""
    providers = SecretProviders(
        {"env": EnvironmentSecrets(environ), "file": FileSecrets(), "aws-secretsmanager": AwsSecrets()}
    )
    for plugin in entry_points(group=PLUGINS):
        if plugin.name not in BUILT_IN:
            providers.register(plugin.name, plugin.load()())
    return providers
