"""The guards' part of the gateway's settings. Everything is off by default."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict

Mode = Literal["off", "flag", "mask", "refuse"]
Judgement = Literal["off", "flag", "refuse"]
"""For guards that find nothing that could be masked."""
PiiKind = Literal["email", "phone", "iban", "credit_card", "us_ssn", "ip_address", "secret"]
PII_KINDS: tuple[PiiKind, ...] = get_args(PiiKind)


class GuardModes(Strict):
    """What each guard does with a finding: nothing (off), tell (flag), take it out (mask), refuse the request."""

    pii_input: Mode = Field(default="off", description="Personal data and secrets in requests.")
    pii_output: Mode = Field(default="off", description="Personal data and secrets in answers, streams too.")
    injection: Mode = Field(default="off", description="Prompt injection; mask takes out the whole text that holds it.")
    topics: Mode = Field(default="off", description="The words and patterns of `topics` in requests.")
    lengths: Judgement = Field(default="off", description="max_messages, max_characters and max_turns.")
    classifier: Judgement = Field(default="off", description="The classifier; refuse waits for it, flag does not.")


class TenantModes(Strict):
    """One tenant's modes; what is not set is as for all."""

    pii_input: Mode | None = None
    pii_output: Mode | None = None
    injection: Mode | None = None
    topics: Mode | None = None
    lengths: Judgement | None = None
    classifier: Judgement | None = None


class Topic(Strict):
    """A topic that is not wanted."""

    name: Name = Field(description="Shown in header, metric and refusal.")
    words: tuple[Annotated[str, Field(min_length=2, max_length=100)], ...] = Field(
        default=(), max_length=1000, description="Words and phrases, in any case; they match whole words."
    )
    patterns: tuple[Annotated[str, Field(min_length=1, max_length=500)], ...] = Field(
        default=(), max_length=100, description="Regular expressions in RE2's syntax, in any case."
    )

    @model_validator(mode="after")
    def it_has_usable_patterns(self) -> Self:
        if not self.words and not self.patterns:
            raise ValueError(f"the topic {self.name} has neither words nor patterns")
        if self.patterns:
            import re2  # only where patterns are given: the Pulumi program reads these settings too

            for pattern in self.patterns:
                try:
                    re2.compile(pattern)
                except re2.error as error:
                    raise ValueError(f"the pattern {pattern!r} is not valid in RE2: {error}") from None
        return self


class Classifier(Strict):
    """A service that judges text, asked as OpenAI's moderation API is: POST {"input": ...}."""

    url: str = Field(
        pattern=r"^https?://[^\s]+$", max_length=500, description="For example http://judge:8000/v1/moderations."
    )
    model: str | None = Field(default=None, max_length=100, description="Sent as `model`.")
    timeout_seconds: float = Field(default=0.5, gt=0, le=30, description="For one judgement, its wait for a turn too.")
    on_failure: Literal["allow", "refuse"] = Field(
        default="allow", description="What a time-out or an error means where the mode is refuse."
    )
    sample_ratio: float = Field(default=1.0, gt=0, le=1, description="Share of requests judged where the mode is flag.")
    connections: int = Field(default=8, ge=1, le=256, description="Judgements at the same time.")
    most_waiting: int = Field(default=100, ge=1, le=10_000, description="Judgements under way or waiting; more fail.")
    max_characters: int = Field(default=8000, ge=100, le=200_000, description="Of the text sent; its end is kept.")


class GuardConfig(Strict):
    modes: GuardModes = GuardModes()
    tenants: dict[Name, TenantModes] = Field(default={}, description="Other modes for single tenants.")
    pii_kinds: tuple[PiiKind, ...] = Field(default=PII_KINDS, min_length=1, description="What counts as personal data.")
    injection_threshold: int = Field(
        default=5, ge=1, le=100, description="Score from which a text counts as prompt injection."
    )
    topics: tuple[Topic, ...] = Field(default=(), max_length=50)
    max_messages: int | None = Field(default=None, ge=1, description="Messages of one chat request.")
    max_turns: int | None = Field(default=None, ge=1, description="Messages of the user in one chat request.")
    max_characters: int | None = Field(default=None, ge=1, description="Characters of all texts of one request.")
    max_held_characters: int = Field(
        default=256, ge=64, le=4096, description="Longest end of a stream that is held back while a match may be open."
    )
    classifier: Classifier | None = None

    @model_validator(mode="after")
    def modes_have_what_they_need(self) -> Self:
        names = [topic.name for topic in self.topics]
        if len(set(names)) != len(names):
            raise ValueError("topics: a name is given more than once")
        modes = [self.modes, *self.tenants.values()]
        if self.classifier is None and any(mode.classifier not in (None, "off") for mode in modes):
            raise ValueError("modes.classifier is on, but no `classifier` is given")
        return self

    def of_tenant(self, tenant: str) -> GuardModes:
        """The modes of one tenant."""
        own = self.tenants.get(tenant)
        if own is None:
            return self.modes
        return self.modes.model_copy(update={name: mode for name, mode in own if mode is not None})
