"""The two dashboards: operations, and cost. `make docs` writes them as JSON into `dashboards/`."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, Panel, Query, Row


def quantiles(metric: str, by: str) -> list[Query]:
    """Median and 99th percentile of a histogram over five minutes."""
    rate = (
        f"sum by ({by}, le) (rate({metric}_bucket[5m]))" if by else f"sum by (le) (rate({metric}_bucket[5m]))"
    )
    legend = "".join(f" {{{{{label.strip()}}}}}" for label in by.split(",") if label)
    return [Query(f"histogram_quantile({q}, {rate})", f"p{int(q * 100)}{legend}") for q in (0.5, 0.99)]


STRATEGY = "{{side}} {{content_strategy}}"

OPERATIONS = Dashboard(
    uid="archon-operations",
    title="archon: operations",
    links=("Cost",),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Agents", [Query('sum(up{job="archon-agent"})')], kind="stat", help="Agents that answer."
                ),
                Panel(
                    "Oldest waiting",
                    [Query("max(archon:consumer_lag_seconds:max)")],
                    "s",
                    "stat",
                    steps=((60, "yellow"), (300, "red")),
                ),
                Panel(
                    "Failing files",
                    [Query("archon:failed_files:ratio_rate10m")],
                    "percentunit",
                    "stat",
                    steps=((0.001, "yellow"), (0.01, "red")),
                ),
                Panel(
                    "Dead letters, 1 h",
                    [Query("sum(increase(archon_dead_letters_total[1h]))")],
                    kind="stat",
                    steps=((1, "yellow"), (10, "red")),
                ),
                Panel(
                    "Commits blocked",
                    [Query("sum(archon_commit_blocked)")],
                    kind="stat",
                    steps=((1, "red"),),
                ),
                Panel(
                    "Checks failed",
                    [Query('sum(archon_health_check{state="failed"}) or vector(0)')],
                    kind="stat",
                    steps=((1, "red"),),
                ),
            ),
        ),
        Row(
            "Throughput",
            (
                Panel(
                    "Files a second", [Query("archon:ingestion_files:rate5m", STRATEGY)], "ops", stacked=True
                ),
                Panel(
                    "Bytes a second", [Query("archon:ingestion_bytes:rate5m", STRATEGY)], "Bps", stacked=True
                ),
                Panel(
                    "Events",
                    [Query("sum by (outcome) (rate(archon_batches_total[5m]))", "{{outcome}}")],
                    "ops",
                ),
            ),
        ),
        Row(
            "Lag",
            (
                Panel(
                    "Waiting, in seconds",
                    [
                        Query(
                            "max by (topic, partition) (archon_consumer_lag_seconds)",
                            "{{topic}}/{{partition}}",
                        )
                    ],
                    "s",
                    steps=((300, "red"),),
                ),
                Panel(
                    "Waiting, in messages",
                    [Query("archon:consumer_lag_messages:sum", "{{topic}}")],
                    stacked=True,
                ),
                Panel(
                    "Verdicts",
                    [Query("sum by (verdict) (archon_consumer_lag_verdict)", "{{verdict}}")],
                    help="Partitions by verdict; see archon-agent lag for the sentence why.",
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Time",
            (
                Panel(
                    "Per file, p50 and p99",
                    [
                        Query("archon:ingestion_duration_seconds:p50_5m", f"p50 {STRATEGY}"),
                        Query("archon:ingestion_duration_seconds:p99_5m", f"p99 {STRATEGY}"),
                    ],
                    "s",
                ),
                Panel(
                    "Getting the bytes", quantiles("archon_resolve_duration_seconds", "source, cache"), "s"
                ),
                Panel(
                    "In flight",
                    [
                        Query("sum(archon_inflight_files)", "files"),
                        Query("sum(archon_inflight_messages)", "events"),
                        Query("sum(archon_assigned_partitions)", "partitions assigned"),
                    ],
                ),
            ),
        ),
        Row(
            "What goes wrong",
            (
                Panel(
                    "Failed files by reason",
                    [
                        Query(
                            "sum by (side, reason) (rate(archon_ingestion_failed_files_total[5m])) > 0",
                            "{{side}} {{reason}}",
                        )
                    ],
                    "ops",
                ),
                Panel(
                    "Dead letters by reason",
                    [Query("sum by (reason) (increase(archon_dead_letters_total[5m])) > 0", "{{reason}}")],
                ),
                Panel(
                    "Fallbacks and retries",
                    [
                        Query(
                            "sum by (side, wanted, used) (rate(archon_fallbacks_total[5m]))",
                            "{{side}}: {{wanted}} → {{used}}",
                        ),
                        Query("sum by (source) (rate(archon_retries_total[5m]))", "retry {{source}}"),
                        Query(
                            "sum by (side, kind) (rate(archon_circuit_breaker_trips_total[5m]))",
                            "{{side}}: breaker of {{kind}} opened",
                        ),
                    ],
                    "ops",
                ),
            ),
        ),
        Row(
            "Caches",
            (
                Panel(
                    "Hit rate",
                    [
                        Query("archon:cache_hits:ratio_rate30m", "{{cache_type}}, 30 min"),
                        Query("avg by (cache_type) (archon_cache_hit_rate)", "{{cache_type}}, lifetime"),
                    ],
                    "percentunit",
                ),
                Panel(
                    "Size",
                    [
                        Query("sum by (cache_type) (archon_cache_size_bytes)", "{{cache_type}}"),
                        Query("sum by (cache_type) (archon_cache_limit_bytes)", "{{cache_type}} limit"),
                    ],
                    "bytes",
                ),
                Panel(
                    "Misses, evictions, corruptions",
                    [
                        Query(
                            "sum by (cache_type, cause) (rate(archon_cache_misses_total[5m]))",
                            "{{cache_type}} miss: {{cause}}",
                        ),
                        Query(
                            "sum by (cache_type) (rate(archon_cache_evictions_total[5m]))",
                            "{{cache_type}} evicted",
                        ),
                        Query(
                            "sum by (cache_type) (rate(archon_cache_corruptions_total[5m]))",
                            "{{cache_type}} corrupt",
                        ),
                    ],
                    "ops",
                ),
            ),
        ),
        Row(
            "Backends",
            (
                Panel("Uploads", quantiles("archon_storage_upload_duration_seconds", ""), "s"),
                Panel("Downloads", quantiles("archon_storage_download_duration_seconds", ""), "s"),
                Panel("Git fetches", quantiles("archon_git_clone_duration_seconds", ""), "s"),
                Panel(
                    "Bytes moved",
                    [
                        Query("sum(rate(archon_storage_upload_bytes_total[5m]))", "uploaded"),
                        Query("sum(rate(archon_storage_download_bytes_total[5m]))", "downloaded"),
                        Query("sum(rate(archon_git_clone_bytes_total[5m]))", "from Git"),
                    ],
                    "Bps",
                ),
            ),
        ),
        Row(
            "Watched branches",
            (
                Panel(
                    "Behind",
                    [Query("max by (project) (archon_watch_behind_seconds)", "{{project}}")],
                    "s",
                    help="Time since a branch was first seen ahead of what is ingested.",
                ),
                Panel(
                    "Failures in a row",
                    [Query("max by (project) (archon_watch_failures_in_a_row) > 0", "{{project}}")],
                ),
                Panel(
                    "Rounds and hooks",
                    [
                        Query("sum by (outcome) (rate(archon_watch_rounds_total[5m]))", "{{outcome}}"),
                        Query("sum by (outcome) (rate(archon_watch_hooks_total[5m]))", "hook {{outcome}}"),
                    ],
                    "ops",
                ),
                Panel(
                    "Since the last success",
                    [
                        Query(
                            "time() - max by (project) (archon_watch_last_success_timestamp_seconds)",
                            "{{project}}",
                        )
                    ],
                    "s",
                ),
            ),
        ),
        Row(
            "Agents",
            (
                Panel(
                    "Memory",
                    [Query('process_resident_memory_bytes{job="archon-agent"}', "{{instance}}")],
                    "bytes",
                    help="The agent's own process; its analysis processes are beside it.",
                ),
                Panel(
                    "CPU",
                    [Query('rate(process_cpu_seconds_total{job="archon-agent"}[5m])', "{{instance}}")],
                    "percentunit",
                ),
                Panel(
                    "Disk free",
                    [
                        Query(
                            "min by (instance, directory) (archon_disk_free_bytes / archon_disk_size_bytes)",
                            "{{instance}} {{directory}}",
                        )
                    ],
                    "percentunit",
                ),
                Panel(
                    "Health",
                    [Query("archon_health_check", "{{instance}} {{check}}: {{state}}")],
                    kind="table",
                ),
                Panel(
                    "Versions", [Query("count by (version) (archon_build_info)", "{{version}}")], kind="table"
                ),
            ),
        ),
    ),
)

COST = Dashboard(
    uid="archon-cost",
    title="archon: cost",
    links=("Operations",),
    rows=(
        Row(
            "Now",
            (
                Panel(
                    "Last 24 hours",
                    [Query("archon:cost_usd:increase1d")],
                    "currencyUSD",
                    "stat",
                    steps=((5, "yellow"), (10, "red")),
                ),
                Panel(
                    "A month at this pace",
                    [Query("30 * archon:cost_usd:increase1d")],
                    "currencyUSD",
                    "stat",
                ),
                Panel(
                    "Per 1,000 files, 24 h",
                    [
                        Query(
                            "1000 * archon:cost_usd:increase1d"
                            ' / sum(increase(archon_ingestion_files_total{side="consume"}[1d]))'
                        )
                    ],
                    "currencyUSD",
                    "stat",
                ),
            ),
        ),
        Row(
            "By strategy and component",
            (
                Panel(
                    "Dollars an hour, by strategy",
                    [
                        Query(
                            "sum by (content_strategy) (increase(archon_cost_usd_total[1h]))",
                            "{{content_strategy}}",
                        )
                    ],
                    "currencyUSD",
                    stacked=True,
                ),
                Panel(
                    "Dollars an hour, by component",
                    [Query("sum by (component) (increase(archon_cost_usd_total[1h]))", "{{component}}")],
                    "currencyUSD",
                    stacked=True,
                ),
                Panel(
                    "Files an hour, by strategy",
                    [
                        Query(
                            "sum by (content_strategy) (increase(archon_ingestion_files_total[1h]))",
                            "{{content_strategy}}",
                        )
                    ],
                    stacked=True,
                ),
            ),
        ),
        Row(
            "By project (needs telemetry.per_project)",
            (
                Panel(
                    "Dollars, 24 h, the 20 dearest",
                    [
                        Query(
                            "topk(20, sum by (project) (increase(archon_project_cost_usd_total[1d])))",
                            "{{project}}",
                        )
                    ],
                    "currencyUSD",
                    "table",
                ),
                Panel(
                    "Files, 24 h",
                    [
                        Query(
                            "topk(20, sum by (project) (increase(archon_project_files_total[1d])))",
                            "{{project}}",
                        )
                    ],
                    kind="table",
                ),
                Panel(
                    "Bytes, 24 h",
                    [
                        Query(
                            "topk(20, sum by (project) (increase(archon_project_bytes_total[1d])))",
                            "{{project}}",
                        )
                    ],
                    "bytes",
                    "table",
                ),
            ),
        ),
        Row(
            "What it is spent on",
            (
                Panel(
                    "Stored anew, and spared",
                    [
                        Query("sum(increase(archon_storage_upload_bytes_total[1h]))", "bytes uploaded"),
                        Query("sum(increase(archon_storage_uploads_spared_total[1h]))", "uploads spared"),
                    ],
                ),
                Panel(
                    "Moved",
                    [
                        Query("sum(increase(archon_published_message_bytes_total[1h]))", "events"),
                        Query("sum(increase(archon_storage_download_bytes_total[1h]))", "object storage"),
                        Query("sum(increase(archon_git_clone_bytes_total[1h]))", "Git"),
                    ],
                    "bytes",
                    stacked=True,
                ),
                Panel(
                    "CPU seconds of the agents",
                    [Query('sum(increase(process_cpu_seconds_total{job="archon-agent"}[1h]))', "agents")],
                    "s",
                ),
            ),
        ),
    ),
)

DASHBOARDS = {"operations": OPERATIONS, "cost": COST}
