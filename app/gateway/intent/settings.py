"""Settings of the classifier of traffic."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.gateway.strict import Name, Strict

BUILT_IN = ("code", "maths", "translate", "summarise", "extract", "write", "question", "chat")
"""Labels that the gateway has words for; see words.py."""
OTHER = "other"
MOST_LABELS = 40
Phrase = Annotated[str, Field(min_length=1, max_length=80)]


class IntentClass(Strict):
    name: Name = Field(description="A label of your own.")
    phrases: dict[Phrase, Annotated[float, Field(gt=0, le=10)]] = Field(
        min_length=1,
        max_length=500,
        description="Words and phrases that tell it, each with its weight; 1 tells it alone.",
    )


class IntentConfig(Strict):
    """Every request gets one label, or `other`; their number is bounded, as they are labels of metrics too."""

    built_in: bool = Field(default=True, description=f"The labels {', '.join(BUILT_IN)}, by English words.")
    classes: tuple[IntentClass, ...] = Field(
        default=(), max_length=MOST_LABELS - len(BUILT_IN), description="More labels."
    )
    model_file: str | None = Field(default=None, description="A file of `python -m app.gateway.intent train`.")
    least_score: float = Field(default=0.7, gt=0, le=100, description="Below it rules alone tell nothing.")
    least_probability: float = Field(default=0.4, gt=0, lt=1, description="Below it rules and model tell nothing.")

    @model_validator(mode="after")
    def labels_are_unique(self) -> Self:
        names = [one.name for one in self.classes]
        taken = {OTHER, *(BUILT_IN if self.built_in else ())}
        twice = sorted({name for name in names if names.count(name) > 1 or name in taken})
        if twice:
            raise ValueError(f"intents.classes: {', '.join(twice)} is taken; each label may stand once")
        if not self.built_in and not self.classes and self.model_file is None:
            raise ValueError("intents: nothing to tell by; allowed: built_in, classes or model_file")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the rules. A trained model may bring more."""
        return (*(BUILT_IN if self.built_in else ()), *(one.name for one in self.classes))
