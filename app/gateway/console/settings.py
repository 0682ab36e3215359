"""Settings of the console. Without them there is nothing under /console."""

from __future__ import annotations

from pydantic import Field

from app.gateway.strict import Strict


class ConsoleConfig(Strict):
    session_minutes: int = Field(default=60, ge=1, le=720, description="A sign-in ends after this, in minutes.")
    most_viewers: int = Field(default=20, ge=1, le=200, description="Open pages that one gateway feeds.")
