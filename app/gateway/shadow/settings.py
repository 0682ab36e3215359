"""The shadow traffic's part of the gateway's settings."""

from __future__ import annotations

from pydantic import Field

from app.gateway.strict import Name, Strict


class ShadowTarget(Strict):
    model: Name = Field(description="One of `models`, by its own name.")
    selector: str = Field(description="Label selector of the other colour's engine pods, in the same namespace.")
    port: int = Field(default=8000, ge=1, le=65535, description="The engines' HTTP port.")


class ShadowConfig(Strict):
    share_percent: float = Field(gt=0, le=100, description="So many of a hundred answered requests are copied.")
    targets: tuple[ShadowTarget, ...] = Field(min_length=1, description="Where copies go.")
    text: bool = Field(default=False, description="Compare texts, of requests at temperature 0.")
    tenants_left_out: tuple[Name, ...] = Field(default=(), description="Of these nothing is copied.")
    most_running: int = Field(default=8, ge=1, le=1000, description="Copies under way in one gateway.")
    most_waiting: int = Field(default=32, ge=0, le=10_000, description="Copies that wait there; more are dropped.")
    most_bytes: int = Field(
        default=256 * 1024, ge=1024, le=8 * 1024 * 1024, description="Longest request, and longest answer, in bytes."
    )
    seconds: float = Field(default=120.0, gt=0, le=3600, description="A copy that takes longer has failed.")
