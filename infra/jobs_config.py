"""What gateways and workers are told of jobs, from the settings of a stack. Pure."""

from __future__ import annotations

from ipaddress import ip_network

from app.jobs.config import JobsConfig, WebhookRules
from infra.settings import Settings


def jobs_config(settings: Settings) -> JobsConfig | None:
    """None where a stack has no jobs."""
    wanted = settings.jobs
    if not wanted.enabled:
        return None
    return JobsConfig(
        max_file_bytes=wanted.max_file_mib * 1024 * 1024,
        max_rows=wanted.max_rows,
        max_queued_rows=wanted.max_queued_rows,
        keep_days=wanted.keep_days,
        concurrency=wanted.concurrency,
        webhooks=WebhookRules(networks=tuple(ip_network(cidr) for cidr in wanted.webhook_cidrs)),
    )
