"""The http table of archon.toml."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from core.settings.option import Duration, Section, Size, option
from core.settings.secret import SecretReference


def _check_address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (host and port.isdecimal() and int(port) < 65536):
        raise ValueError("give HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464")
    return value


class HttpSettings(Section):
    """The agent's HTTP server: metrics, health, and the bridge API."""

    address: Annotated[str, AfterValidator(_check_address)] = option(
        "127.0.0.1:9464", "HOST:PORT of the agent's HTTP server; empty for none", flag="http", common=True
    )
    token: SecretReference | None = option(
        None,
        "where the bearer token of requests that change something is: env:NAME or file:/path; required"
        " when not bound to loopback",
        secret=True,
    )
    max_body: Size = option("16MiB", "largest request body")
    requests_at_once: Annotated[int, Field(gt=0)] = option(8, "requests for intelligence worked on at once")
    warm_deadline: Duration = option("10m", "longest work on one request to warm repositories")

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The address in parts; only where there is one."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)
