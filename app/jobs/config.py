"""What clients may ask of files, batches and jobs, and how workers go about it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field

from app.gateway.strict import Strict


class WebhookRules(Strict):
    """Where messages about finished work may be sent. Public addresses over HTTPS always."""

    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="Private networks that may be called too, over HTTP as well; none by default."
    )
    attempts: int = Field(default=8, ge=1, le=10, description="Tries of one message, over about a day.")
    timeout_seconds: float = Field(default=15.0, gt=0, le=60, description="For one try.")


class JobsConfig(Strict):
    max_file_bytes: int = Field(default=200 * 1024 * 1024, ge=1024, description="Largest file, in bytes.")
    max_rows: int = Field(default=50_000, ge=1, le=1_000_000, description="Requests in one batch.")
    max_queued_rows: int = Field(
        default=500_000, ge=1, description="Requests of one tenant that wait; beyond it new work gets 429."
    )
    keep_days: int = Field(default=30, ge=1, le=3650, description="Files are deleted after so many days.")
    most_attempts: int = Field(default=5, ge=1, le=100, description="Tries of one request that an engine failed.")
    concurrency: int = Field(default=32, ge=1, le=1000, description="Requests under way in one worker.")
    chunk_rows: int = Field(default=32, ge=1, le=1000, description="Requests that a worker takes at once.")
    lease_seconds: float = Field(
        default=30.0, ge=1, le=3600, description="After so long without a sign of life a worker's requests are free."
    )
    webhooks: WebhookRules = WebhookRules()
