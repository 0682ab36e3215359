"""The keys of outside providers, of their models, and of routing.

Names, bounds and descriptions are those of the gateway's own settings. What differs here: keys are camelCase, all of
them must be written, and nothing names a file of the pod, for the program puts these there.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticUndefined

from app.gateway import config as gateway
from app.gateway.providers.config import ProviderShape
from app.gateway.routing import config as routing
from app.gateway.strict import Name
from infra.settings.gateway import Limits
from infra.settings.kinds import Strict, Truth


class Stated(BaseModel):
    """Makes a class of the gateway's one of a stack file: a default there is no default here."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for info in cls.model_fields.values():
            info.default, info.default_factory = PydanticUndefined, None
        cls.model_rebuild(force=True)


class Provider(Stated, ProviderShape):
    api_key: Truth = Field(
        description="A secret for its key is made in Secrets Manager, and `penstock provider key` writes it. Bedrock "
        "without one is asked with the gateways' own role."
    )


class OutsideModel(Stated, gateway.OutsideModel):
    limits: Limits | None = Field(  # ty: ignore[incompatible-attribute-override] - the same keys, camelCase
        description="What all clients together may use of this model."
    )


class Rule(Stated, routing.Rule):
    pass


class Task(Stated, routing.Task):
    pass


class When(Stated, routing.When):
    pass


class Route(Stated, routing.Route):
    when: tuple[When, ...] = Field(max_length=40, description="Models by intent (gateway.intents).")
    rules: tuple[Rule, ...] = Field(max_length=200, description="Answers without any model.")
    tasks: tuple[Task, ...] = Field(max_length=50, description="Models by task.")


class Breaker(Stated, routing.BreakerSettings):
    pass


Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class Entry(Strict):
    """One answer for when no model can be had."""

    phrases: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        min_length=1, max_length=100, description="It fits when all words of one of these are in the question."
    )
    answer: Text


class Routing(Strict):
    routes: tuple[Route, ...] = Field(max_length=200, description="Names with rules and chains of models.")
    templates: dict[Name, Text] = Field(
        max_length=200, description="Texts by name. {model} and a rule's named groups are filled in."
    )
    knowledge: tuple[Entry, ...] = Field(max_length=1000, description="Answers for routes with `knowledge: true`.")
    breaker: Breaker = Field(description="When a model is passed over for the next one of a chain.")
