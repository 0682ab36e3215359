"""The keys of pipelines. As in `outside.py`: names and bounds are the gateway's own, and every key must be written."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.pipelines import config
from app.pipelines.config import Host
from infra.settings.kinds import Cidr, Strict
from infra.settings.outside import Stated


class Class(Stated, config.Class):
    pass


class Classify(Stated, config.Classify):
    classes: tuple[Class, ...] = Field(max_length=50, description="Classes by words; none: the intents of the gateway.")


class Retrieve(Stated, config.Retrieve):
    pass


class Prompt(Stated, config.Prompt):
    pass


class Model(Stated, config.Model):
    pass


class Validate(Stated, config.Validate):
    pass


class Case(Stated, config.Case):
    pass


class Branch(Stated, config.Branch):
    cases: tuple[Case, ...] = Field(min_length=1, max_length=50, description="What follows, by what was given.")


class CallOut(Stated, config.CallOut):
    pass


class Fixed(Stated, config.Fixed):
    pass


Step = Annotated[
    Classify | Retrieve | Prompt | Model | Validate | Branch | CallOut | Fixed, Field(discriminator="kind")
]


class Pipeline(Stated, config.Pipeline):
    steps: tuple[Step, ...] = Field(
        min_length=1, max_length=config.MOST_STEPS, description="In their order, each of a kind (docs/pipelines.md)."
    )


class PromptVersion(Stated, config.PromptVersion):
    pass


class Pipelines(Strict):
    names: tuple[Pipeline, ...] = Field(max_length=100, description="Names with steps, asked like models.")
    prompts: tuple[PromptVersion, ...] = Field(max_length=500, description="Prompt templates.")
    call_out_hosts: tuple[Host, ...] = Field(max_length=50, description="Hosts that callOut steps may name.")
    call_out_cidrs: tuple[Cidr, ...] = Field(
        max_length=50, description="Private networks in which these hosts may be, over HTTP as well."
    )
