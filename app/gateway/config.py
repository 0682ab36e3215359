"""The gateway's settings: the one definition. The Pulumi program builds this very object and renders it to a ConfigMap.

Secrets are not in here. The keys file (`KeyFile`) comes from a Kubernetes Secret and holds hashes only.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from app.gateway.balance.settings import Balance, Health, HedgeRules, QueueRules, Sticky
from app.gateway.budget.settings import BudgetActions
from app.gateway.cache.settings import CacheConfig
from app.gateway.console.settings import ConsoleConfig
from app.gateway.feedback.settings import FeedbackConfig
from app.gateway.guards.settings import GuardConfig
from app.gateway.intent.settings import OTHER, IntentConfig
from app.gateway.providers import families
from app.gateway.providers.config import Provider
from app.gateway.routing.config import Routing, unknown_intents
from app.gateway.shadow.settings import ShadowConfig
from app.gateway.strict import Name, Strict
from app.gateway.trace.settings import TraceConfig
from app.jobs.config import JobsConfig
from app.pipelines.config import PipelinesConfig
from app.pipelines.plan import pipeline_problems
from app.retrieval.config import RetrievalConfig

Colour = Literal["blue", "green"]
Priority = Literal["interactive", "batch"]
Route = Literal[
    "chat", "completions", "responses", "embeddings", "tokenize", "detokenize", "files", "batches", "jobs", "retrieval"
]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]
"""Signatures by a private key alone: with a shared secret (HS*) whoever can check a token could make one."""


class Limits(Strict):
    """What one key, tenant or model, or all together, may use. What is not set is not limited."""

    requests_per_second: float | None = Field(default=None, gt=0, le=1_000_000, description="Requests a second.")
    requests_per_minute: float | None = Field(default=None, gt=0, le=60_000_000, description="Requests a minute.")
    burst_requests: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Requests that may come at once. Without it: those of one second, or of ten under a minute's rate.",
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000_000, description="Prompt and output tokens a minute, one minute's saved up."
    )
    concurrent_requests: int | None = Field(default=None, ge=1, le=1_000_000, description="Requests under way.")
    usd_per_day: float | None = Field(default=None, gt=0, le=1_000_000, description="Money a day (UTC).")
    usd_per_month: float | None = Field(default=None, gt=0, le=1_000_000, description="Money a calendar month (UTC).")


class ModelRoute(Strict):
    """One model that clients may name, and the engine pods that serve it."""

    name: Name = Field(description="The name that clients send as `model`, and the engines' served model name.")
    aliases: tuple[Name, ...] = Field(default=(), description="Other names for the same model.")
    selector: str = Field(description="Label selector of the engine pods, in the gateway's namespace.")
    port: int = Field(default=8000, ge=1, le=65535, description="The engines' HTTP port.")
    usage_in_events: bool = Field(
        default=True, description="Engines are asked for their usage in each event (`continuous_usage_stats`)."
    )
    context_tokens: int = Field(
        ge=1, description="The engines' --max-model-len: prompt and output together, in tokens."
    )
    max_output_tokens: int = Field(ge=1, description="Ceiling for max_tokens of one request, in tokens.")
    input_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million prompt tokens cost.")
    output_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million output tokens cost.")
    limits: Limits | None = Field(default=None, description="What all clients together may use of this model.")
    required: bool = Field(default=True, description="False: a gateway is ready without an engine of it.")
    balance: Balance = Field(default=Balance(), description="How requests are spread over the engines.")
    sticky: Sticky | None = Field(default=None, description="Sessions stay at one engine; none by default.")
    max_in_flight_per_engine: int | None = Field(
        default=None, ge=1, le=100_000, description="Requests of one gateway at one engine; no bound by default."
    )
    slow_start_seconds: float = Field(
        default=0.0, ge=0, le=3600, description="How long the share of an engine that joins others grows to its full."
    )
    queue: QueueRules | None = Field(default=None, description="Where requests wait for room; 503 at once by default.")
    hedge: HedgeRules | None = Field(default=None, description="A second engine for slow, short requests.")


class OutsideModel(Strict):
    """A model of an outside provider."""

    name: Name = Field(description="The name that clients send as `model`, and that routes use.")
    aliases: tuple[Name, ...] = Field(default=(), description="Other names for the same model.")
    provider: Name = Field(description="One of `providers`.")
    upstream: str = Field(min_length=1, max_length=200, description="The provider's own name of the model.")
    context_tokens: int = Field(ge=1, description="Prompt and output together, in tokens.")
    max_output_tokens: int = Field(ge=1, description="Ceiling for max_tokens of one request, in tokens.")
    input_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million prompt tokens cost.")
    output_usd_per_million_tokens: float = Field(default=0.0, ge=0, description="What a million output tokens cost.")
    embedding_dimensions: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Numbers in a vector of a model that makes embeddings, and nothing else; without it: chats.",
    )
    limits: Limits | None = Field(default=None, description="What all clients together may use of this model.")

    @property
    def makes_embeddings(self) -> bool:
        """Whether it answers embeddings alone."""
        return self.embedding_dimensions is not None


class Timeouts(Strict):
    connect_seconds: float = Field(default=1.0, gt=0, description="To open a connection to an engine.")
    first_byte_seconds: float = Field(default=60.0, gt=0, description="From the request to an engine's first byte.")
    between_bytes_seconds: float = Field(default=30.0, gt=0, description="Longest silence inside an answer.")
    total_seconds: float = Field(default=600.0, gt=0, description="For one request, retries included.")
    answer_seconds: float | None = Field(
        default=None, gt=0, description="To an answer that is not streamed; without it `total_seconds` alone holds."
    )
    idle_connection_seconds: float = Field(
        default=4.0, gt=0, description="Pooled connections are dropped after this; vLLM closes idle ones after 5 s."
    )


class Retries(Strict):
    attempts: int = Field(default=3, ge=1, le=10, description="Engines tried for one request, before the first byte.")
    budget_ratio: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Retries allowed as a share of recent requests, so that an outage is not doubled.",
    )


class Resume(Strict):
    """A stream whose engine is lost goes on at another one."""

    enabled: bool = Field(default=True, description="False: such a stream ends with an error event.")
    attempts: int = Field(default=2, ge=1, le=10, description="Engines asked to go on with one stream, in all.")
    max_kept_bytes: int = Field(
        default=256 * 1024,
        ge=256,
        le=16 * 1024 * 1024,
        description="Longest text of one answer that is kept to go on with, in bytes; a longer answer cannot go on.",
    )


class Jwt(Strict):
    """Tokens of an OpenID Connect issuer, taken beside API keys."""

    issuer: str = Field(pattern=r"^https?://\S+$", description="The `iss` that tokens must have, to the letter.")
    audience: tuple[str, ...] = Field(min_length=1, description="A token's `aud` must have one of these.")
    jwks_url: str = Field(pattern=r"^https?://\S+$", description="Where the issuer publishes its public keys.")
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1, description="Those allowed.")
    subject_claim: str = Field(default="sub", min_length=1, description="Who asks; limits of a key count for each.")
    tenant_claim: str = Field(default="tenant", min_length=1, description="The tenant's name.")
    default_tenant: Name | None = Field(
        default=None, description="Tenant of tokens without that claim; without it they are refused."
    )
    scopes_claim: str = Field(
        default="scope",
        min_length=1,
        description="Scopes, a list or words: `model:NAME` and `route:NAME` narrow a token to what they name.",
    )
    required_scope: str | None = Field(default=None, min_length=1, description="A scope that each token must have.")
    priority_claim: str | None = Field(
        default=None, min_length=1, description="Claim with `interactive` or `batch`; without it all are interactive."
    )
    limits: Limits | None = Field(default=None, description="What each subject may use.")
    clock_skew_seconds: int = Field(default=30, ge=0, le=300, description="By how much clocks may differ.")
    refresh_seconds: float = Field(default=300.0, ge=1, le=86_400, description="Between two reads of `jwks_url`.")
    refresh_floor_seconds: float = Field(
        default=10.0, ge=0.05, le=3600, description="An unknown signing key causes at most one read in this time."
    )


class GatewayConfig(Strict):
    colour: Colour = Field(description="The release colour that this gateway belongs to.")
    namespace: Name = Field(description="The Kubernetes namespace in which engine pods are watched.")
    models: tuple[ModelRoute, ...] = Field(default=(), description="Models of the platform's own engines.")
    providers: tuple[Provider, ...] = Field(default=(), max_length=50, description="Outside providers.")
    outside_models: tuple[OutsideModel, ...] = Field(
        default=(), max_length=200, description="Models at outside providers, asked for by name or behind a route."
    )
    routing: Routing = Routing()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    resume: Resume = Resume()
    health: Health = Health()
    max_concurrent_requests: int = Field(
        default=2000, ge=1, description="Requests under way in one gateway; beyond it clients get 503 and Retry-After."
    )
    batch_share: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="Share of a concurrency limit that batch keys may fill; the rest is kept for interactive ones.",
    )
    limits: Limits | None = Field(default=None, description="What all clients together may use.")
    tenant_limits: Limits | None = Field(default=None, description="For each tenant that `tenants` does not name.")
    tenants: dict[Name, Limits] = Field(default={}, description="Limits of single tenants.")
    replicas: int = Field(
        default=1, ge=1, description="Gateways that share these limits: each enforces its part while Redis is away."
    )
    peers: str | None = Field(
        default=None,
        description="Label selector of the gateways that share these limits, this one too: while pods are watched the "
        "ready ones are counted, and take the place of `replicas`.",
    )
    cors_origins: tuple[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")], ...] = Field(
        default=(), description="Origins (scheme://host[:port]) whose pages may call from a browser; none by default."
    )
    jwt: Jwt | None = Field(default=None, description="Tokens of an OpenID Connect issuer; none by default.")
    cache: CacheConfig = Field(default=CacheConfig(), description="Answers that are used again; off by default.")
    traces: TraceConfig | None = Field(default=None, description="OpenTelemetry traces; off by default.")
    guards: GuardConfig | None = Field(default=None, description="What is masked or refused; nothing by default.")
    feedback: FeedbackConfig | None = Field(default=None, description="Whether clients may rate answers; they may not.")
    budget: BudgetActions | None = Field(default=None, description="What follows when money runs out; nothing yet.")
    shadow: ShadowConfig | None = Field(
        default=None, description="Copies of some requests to the other colour; none by default."
    )
    console: ConsoleConfig | None = Field(default=None, description="The operator's page at /console; off by default.")
    jobs: JobsConfig | None = Field(default=None, description="Files, batches and jobs; off by default.")
    retrieval: RetrievalConfig | None = Field(default=None, description="Documents to search; off by default.")
    intents: IntentConfig | None = Field(default=None, description="What requests are after; not asked by default.")
    pipelines: PipelinesConfig = Field(default=PipelinesConfig(), description="Names with steps; none by default.")
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, description="Largest request body, in bytes.")
    drain_seconds: float = Field(
        default=30.0, ge=0, description="After SIGTERM: how long requests in flight may take before they are cut."
    )

    @model_validator(mode="after")
    def embeddings_have_a_model(self) -> Self:
        semantic = self.cache.semantic_cache
        able = (*self.models, *(model for model in self.outside_models if model.makes_embeddings))
        if semantic is not None and semantic.model not in {
            name for model in able for name in (model.name, *model.aliases)
        }:
            message = f"{semantic.model} is none of `models`, nor an outside one that makes embeddings"
            raise ValueError(f"cache.semantic_cache.model: {message}")
        return self

    @model_validator(mode="after")
    def names_are_unique(self) -> Self:
        everything = (*self.models, *self.outside_models)
        if not everything:
            raise ValueError("models: give at least one model, or one of `outside_models`")
        names = [name for model in everything for name in (model.name, *model.aliases)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"models: the names {', '.join(twice)} are given more than once")
        routes, pipelines = self.routing.routes, self.pipelines.pipelines
        reserved = {"none", "other"} & {*names, *(one.name for one in (*routes, *pipelines))}
        if reserved:
            raise ValueError(f"models: the name `{min(reserved)}` stands for no model in metrics, and is not allowed")
        return self

    @model_validator(mode="after")
    def references_exist(self) -> Self:
        kinds = {provider.name: provider.kind for provider in self.providers}
        providers = [provider.name for provider in self.providers]
        twice = sorted({name for name in providers if providers.count(name) > 1})
        if twice:
            raise ValueError(f"providers: the names {', '.join(twice)} are given more than once")
        for number, model in enumerate(self.outside_models):
            if model.provider not in providers:
                known = ", ".join(sorted(providers)) or "none"
                message = f"there is no provider `{model.provider}`; there are {known}"
                raise ValueError(f"outside_models.{number}.provider: {message}")
            for field, why in families.faults(kinds[model.provider], model.upstream, model.embedding_dimensions):
                raise ValueError(f"outside_models.{number}.{field}: {why}")
        models = {model.name for model in (*self.models, *self.outside_models)}
        unknown = self.routing.unknown_models(models)
        if unknown:
            raise ValueError(unknown)
        own = {model.name for model in self.models}
        for number, shadowed in enumerate(() if self.shadow is None else self.shadow.targets):
            if shadowed.model not in own:
                raise ValueError(f"shadow.targets.{number}.model: there is no model `{shadowed.model}`")
        aliases = {name for model in (*self.models, *self.outside_models) for name in model.aliases}
        if self.budget is not None:
            unknown = self.budget.unknown_names(
                models | aliases | {route.name for route in self.routing.routes}, models
            )
            if unknown:
                raise ValueError(unknown)
        if self.retrieval is not None and self.retrieval.model not in (
            models | aliases | {route.name for route in self.routing.routes}
        ):
            raise ValueError(f"retrieval.model: there is no model `{self.retrieval.model}`")
        for number, route in enumerate(self.routing.routes):
            if route.name in aliases:
                raise ValueError(f"routing.routes.{number}.name: `{route.name}` is an alias of a model")
        labels = None if self.intents is None else (*self.intents.labels, OTHER)
        if self.intents is None or self.intents.model_file is None:  # a trained model brings labels of its own
            for path, why in unknown_intents(self.routing.routes, labels):
                raise ValueError(f"{path}: {why}")
        told = pipeline_problems(
            self.pipelines, models | aliases | {route.name for route in self.routing.routes},
            retrieval=self.retrieval is not None, intents=self.intents is not None,
        )  # fmt: skip
        for path, why in told:
            raise ValueError(f"pipelines.{path}: {why}")
        return self


class Access(Strict):
    """What a client may ask for. What is not set is not narrowed."""

    tenant: Name = Field(default="default", description="Whose requests these are, for limits and reports.")
    priority: Priority = Field(default="interactive", description="Batch is shed first.")
    limits: Limits | None = Field(default=None, description="What this key alone may use.")
    models: tuple[Name, ...] | None = Field(
        default=None, description="Names that may be asked for. A model's own name allows its aliases too."
    )
    routes: tuple[Route, ...] | None = Field(default=None, description="Routes that may be used.")
    max_output_tokens: int | None = Field(default=None, ge=1, description="Ceiling for max_tokens on every model.")
    max_output_tokens_by_model: dict[Name, int] = Field(
        default={}, description="Ceilings on single models, by their own names; the lowest ceiling holds."
    )
    max_usd_per_request: float | None = Field(
        default=None, gt=0, description="Most that one request may cost, by the guessed prompt and the most output."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="From then on the key is refused.")
    enabled: bool = Field(default=True, description="False: refused until it is set again.")

    @model_validator(mode="after")
    def narrows_to_something(self) -> Self:
        if self.models == () or self.routes == ():
            raise ValueError("models and routes: an empty list allows nothing; use null for all, or disable the key")
        wrong = sorted(name for name, ceiling in self.max_output_tokens_by_model.items() if ceiling < 1)
        if wrong:
            raise ValueError(f"max_output_tokens_by_model: {', '.join(wrong)}: the least is 1")
        return self


class ApiKey(Access):
    """One client key. The key itself is never stored: `sha256` is the hex digest of its UTF-8 bytes."""

    id: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class AdminKey(Strict):
    """A key of /admin/v1 and /debug, which no client key opens. `id` is the actor in the audit."""

    id: Name
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class KeyFile(Strict):
    """Keys that work without a database. It is read again within a second of each change."""

    keys: tuple[ApiKey, ...] = Field(default=(), description="Client keys.")
    admins: tuple[AdminKey, ...] = Field(default=(), description="Admin keys; without any there is no admin API.")

    @model_validator(mode="after")
    def opens_something(self) -> Self:
        if not self.keys and not self.admins:
            raise ValueError("neither `keys` nor `admins` has an entry")
        both = {key.sha256 for key in self.keys} & {admin.sha256 for admin in self.admins}
        if both:
            raise ValueError("a key is a client key and an admin key: make two")
        return self
