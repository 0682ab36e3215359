"""Settings of pipelines. What needs the names of models and prompts is checked in `plan.py`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import Field

from app.gateway.strict import Name, Strict

END = "end"
MOST_STEPS = 20
Text = Annotated[str, Field(max_length=20_000)]
Template = Annotated[str, Field(min_length=1, max_length=20_000)]
Host = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Then = Annotated[Name | None, Field(description="The step that follows, a later one, or `end`; null: the next one.")]


class StepBase(Strict):
    name: Name = Field(description="Unique in the pipeline; `{{name}}` in later templates is what the step gave.")
    seconds: float = Field(default=60.0, gt=0, le=600, description="Longest time of this step.")
    then: Then = None


class MayFail(StepBase):
    otherwise: Then = Field(default=None, description="Where it fails: a later step, or `end`; null: an error.")


class Class(Strict):
    name: Name = Field(description="What the step gives where it fits.")
    words: tuple[Annotated[str, Field(min_length=1, max_length=80)], ...] = Field(
        min_length=1, max_length=200, description="Words and phrases that tell it; the class with most of them wins."
    )


class Classify(StepBase):
    """Gives the name of a class, or `other`."""

    kind: Literal["classify"]
    of: Template = Field(default="{{input}}", description="What is classified, a template.")
    classes: tuple[Class, ...] = Field(
        default=(), max_length=50, description="Classes by words; none: the intents of the gateway."
    )


class Retrieve(MayFail):
    """Gives numbered passages of documents; the reply gets their citations."""

    kind: Literal["retrieve"]
    collections: tuple[Name, ...] = Field(
        min_length=1, max_length=5, description="The tenant's collections, searched in turn."
    )
    query: Template = Field(default="{{input}}", description="What is searched for, a template.")
    k: int = Field(default=5, ge=1, le=50, description="Most passages in all.")
    mode: Literal["hybrid", "meaning", "words"] = Field(default="hybrid", description="As of /v1/retrieval/search.")


class Prompt(StepBase):
    """Fills a version of a prompt. Gives its user text; a model step sends the system text with it."""

    kind: Literal["prompt"]
    prompt: Name = Field(description="One of `prompts`.")
    version: int = Field(ge=1, le=9999, description="Its version.")


class Model(MayFail):
    """Asks a model, a route, or another pipeline. Gives the answer's text."""

    kind: Literal["model"]
    model: Name = Field(description="A model, alias, route or pipeline.")
    prompt: Name | None = Field(default=None, description="A prompt step; null: the client's messages as they are.")
    conversation: bool = Field(default=False, description="With a prompt: the client's earlier messages go before it.")
    max_tokens: int = Field(ge=1, le=1_000_000, description="Ceiling of the output, in tokens; a client may ask less.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="null: the client's.")
    cached: bool = Field(default=True, description="The exact cache may answer, at any temperature.")


class Validate(MayFail):
    """Tests what a step gave. Gives it on where it is right."""

    kind: Literal["validate"]
    of: Name = Field(description="An earlier step.")
    json_schema: dict[str, Any] | None = Field(default=None, description="A JSON Schema, of the keywords in the docs.")
    pattern: Annotated[str, Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="RE2 expression for the whole text."
    )
    min_characters: int = Field(default=0, ge=0, le=1_000_000)
    max_characters: int = Field(default=1_000_000, ge=1, le=1_000_000)
    retries: int = Field(default=0, ge=0, le=3, description="So often the model step `of` is asked again.")


class Case(Strict):
    equals: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        min_length=1, max_length=50, description="Texts, compared without case and outer spaces."
    )
    to: Name = Field(description="A later step, or `end`.")


class Branch(StepBase):
    """Chooses what follows. `then` is for all other texts. Gives the text that it compared."""

    kind: Literal["branch"]
    of: Template = Field(description="What is compared, a template such as {{kind}}.")
    cases: tuple[Case, ...] = Field(min_length=1, max_length=50)


class CallOut(MayFail):
    """Posts a text to a host that the operator named. Gives the reply's text."""

    kind: Literal["callOut"]
    url: Annotated[str, Field(max_length=2000)] = Field(description="https://, of one of `call_out_hosts`.")
    send: Template = Field(default="{{input}}", description="What is sent as `data.text`, a template.")
    max_bytes: int = Field(default=64 * 1024, ge=1, le=4 * 1024 * 1024, description="Longest reply, in bytes.")
    seconds: float = Field(default=10.0, gt=0, le=120, description="Longest time of this step.")


class Fixed(StepBase):
    """Gives a text without a model."""

    kind: Literal["text"]
    text: Template = Field(description="A template.")


Step = Annotated[
    Classify | Retrieve | Prompt | Model | Validate | Branch | CallOut | Fixed, Field(discriminator="kind")
]


class PromptVersion(Strict):
    name: Name
    version: int = Field(ge=1, le=9999, description="A changed text gets a new number, so that reports can tell.")
    system: Text = Field(default="", description="A template of the system message; empty: the client's own.")
    user: Template = Field(description="A template of the user's message.")


class Pipeline(Strict):
    """What the client gets is the text of the last model, text or callOut step that ran."""

    name: Name = Field(description="What clients send as `model`.")
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MOST_STEPS, description="In their order.")
    max_seconds: float = Field(default=120.0, gt=0, le=3600, description="Longest time of one run.")
    max_tokens: int = Field(default=8192, ge=1, le=10_000_000, description="Of all its models in one run, in and out.")
    max_at_once: int = Field(default=200, ge=1, le=100_000, description="Runs under way in one gateway; then 503.")
    progress: bool = Field(default=True, description="Streams tell of each step, by comments of server-sent events.")


class PipelinesConfig(Strict):
    pipelines: tuple[Pipeline, ...] = Field(default=(), max_length=100, description="Names with steps.")
    prompts: tuple[PromptVersion, ...] = Field(default=(), max_length=500, description="Prompt templates.")
    call_out_hosts: tuple[Host, ...] = Field(
        default=(), max_length=50, description="Hosts that callOut steps may name; none by default."
    )
    call_out_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), max_length=50, description="Private networks in which these hosts may be, over HTTP as well."
    )
