"""What a release's steps are, and what a colour must show at each of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.gateway.strict import Name
from infra.settings.kinds import Decimal, Strict, Truth, Whole

SuiteFile = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]*\.yaml$")]
Shares = Annotated[tuple[Annotated[Whole, Field(ge=1, le=100)], ...], Field(min_length=1, max_length=20)]


class Gate(Strict):
    """What a colour must show before it gets more traffic. Docs: releases.md."""

    error_points: Decimal = Field(
        ge=0, le=50, description="So many more requests in a hundred may fail than with the other colour."
    )
    slow_points: Decimal = Field(
        ge=0.1, le=50, description="So many more in a hundred may be slower than the other colour's 95th percentile."
    )
    min_requests: Whole = Field(ge=1, le=1_000_000, description="Of each colour, at each step.")
    min_streams: Whole = Field(ge=1, le=1_000_000, description="Of each colour, at each step.")
    wait_seconds: Whole = Field(ge=1, le=86_400, description="Without enough samples after this the release is held.")
    false_alarm_percent: Decimal = Field(
        ge=0.001, le=20, description="How probable it may be that a whole release of an equal colour is taken back."
    )


class Shadow(Strict):
    """Copies of requests to the other colour, whose answers are compared and thrown away. Docs: shadow.md."""

    percent: Decimal = Field(
        ge=0, le=100, description="So many of a hundred answered requests are copied to the other colour; 0: none."
    )
    text: Truth = Field(description="Compare the texts too, of requests at temperature 0.")
    text_points: Decimal = Field(
        ge=0, le=100, description="So many texts in a hundred may differ before a colour may not have traffic."
    )
    min_copies: Whole = Field(
        ge=0, le=1_000_000, description="Compared before a colour gets its first traffic; 0: that is not a gate."
    )
    min_texts: Whole = Field(
        ge=0,
        le=1_000_000,
        description="So many of these must have had texts to compare; 0: texts are judged where there are any.",
    )
    leave_out_tenants: tuple[Name, ...] = Field(max_length=1000, description="Of these tenants nothing is copied.")


class Validation(Strict):
    """What a version of the registry must show before it gets traffic. Docs: registry.md."""

    required: Truth = Field(
        description="No colour gets traffic with weights:// that are no validated version of the registry."
    )
    suite: SuiteFile = Field(description="The evaluation suite, as a path in the checkout.")
    suites: dict[str, SuiteFile] = Field(max_length=50, description="By model's or adapter's name, in place of suite.")
    max_age_days: Whole = Field(ge=1, le=3650, description="An older evaluation record counts no more.")
