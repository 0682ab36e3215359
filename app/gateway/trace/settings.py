"""The traces' part of the gateway's settings."""

from __future__ import annotations

from pydantic import Field

from app.gateway.strict import Strict


class TraceConfig(Strict):
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/]+(/[^\s]*)?$",
        max_length=300,
        description="Collector that takes OTLP over HTTP, such as http://collector:4318. Without one nothing is sent.",
    )
    ratio: float = Field(default=0.01, ge=0, le=1, description="Share of requests that are traced.")
    errors: bool = Field(default=True, description="Trace each request that fails on our side (5xx, broken streams).")
    follow_parent: bool = Field(
        default=True, description="Take over a client's decision (the flag in `traceparent`) instead of the share."
    )
    content: bool = Field(default=False, description="Put prompts into traces, as they go to the engine.")
    most_waiting: int = Field(
        default=2048, ge=16, le=100_000, description="Requests that wait to be sent; more are lost."
    )
    export_seconds: float = Field(default=2.0, gt=0, le=60, description="Longest wait before a batch is sent.")
