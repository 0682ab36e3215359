"""What clients send as feedback."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.gateway.feedback.privacy import HIGHEST, LOWEST
from app.gateway.strict import Strict

MOST_TAGS = 10
Tag = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Text = Annotated[str, Field(max_length=20_000)]


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text


class Evaluation(Strict):
    """A request and its answer, given to measure models by. Nothing of it is kept by the gateway otherwise."""

    consent: Literal[True] = Field(description="The person whose words these are agrees.")
    input: tuple[Message, ...] = Field(min_length=1, max_length=200)
    output: Text


class NewFeedback(Strict):
    request_id: str = Field(pattern=r"^[\x21-\x7e]{1,128}$", description="`x-request-id` of the answer.")
    rating: int = Field(ge=LOWEST, le=HIGHEST, description="1 is worst, 5 is best.")
    comment: str = Field(default="", max_length=2000, pattern=r"^[^\x00]*$")
    tags: tuple[Tag, ...] = Field(default=(), max_length=MOST_TAGS)
    trace: Annotated[str, Field(pattern=r"^[0-9a-f]{32}(-[0-9a-f]{16})?$")] | None = Field(
        default=None, description="`x-penstock-trace` of the answer: the score is put there too."
    )
    evaluation: Evaluation | None = None
