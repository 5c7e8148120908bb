"""The sections of archon.toml for running in production: rates, metrics, health."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from core.settings.option import Duration, Section, option
from core.settings.url import Url

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CostSettings(Section):
    """What things cost, in dollars; the defaults are AWS's list prices in us-east-1."""

    storage_gb_month: Rate = option(0.023, "dollars for storing 1 GB (10^9 bytes) for a month")
    transfer_gb: Rate = option(0.09, "dollars for moving 1 GB over the network")
    cpu_hour: Rate = option(0.0405, "dollars for an hour of one CPU")
    put_1000: Rate = option(0.005, "dollars for 1,000 uploads to object storage")
    get_1000: Rate = option(0.0004, "dollars for 1,000 downloads from object storage")


class TelemetrySettings(Section):
    """What is measured and where it goes."""

    per_project: bool = option(False, "metrics by project too, for at most 1,000 projects")
    textfile: Path | None = option(
        None, "file that a publisher's metrics are written to, for the node exporter's textfile collector"
    )
    pushgateway: Url | None = option(None, "URL of a Prometheus Pushgateway for a publisher's metrics")
    otlp_endpoint: Url | None = option(
        None, "URL of an OTLP/HTTP collector for traces, such as http://collector:4318; needs the extra otel"
    )


class HealthSettings(Section):
    """When the agent counts as alive and ready."""

    progress_deadline: Duration = option("60s", "longest standstill of the consumer's loop while alive")
    check_deadline: Duration = option("5s", "longest run of one health check")
    check_max_age: Duration = option("10s", "age at which a check's result is renewed")
    min_free: Annotated[float, Field(ge=0, le=1)] = option(0.05, "share of a disk, 0 to 1, that must be free")
