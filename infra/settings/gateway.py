"""The keys of the gateways: size, limits, times, ledger."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.gateway.cache.settings import Guard, Sampled
from app.gateway.config import Algorithm, Name
from app.gateway.guards.settings import Judgement, Mode, PiiKind
from app.gateway.intent.settings import BUILT_IN, MOST_LABELS
from infra.settings.kinds import Decimal, Strict, Truth, Whole

Rate = Annotated[Decimal, Field(ge=0.001, le=1_000_000)]
Money = Annotated[Decimal, Field(ge=0.01, le=1_000_000)]
Seconds = Annotated[Decimal, Field(ge=0.1, le=3600)]
Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]+$")]


class Limits(Strict):
    """What a tenant or a model, or all together, may use; a key that is null limits nothing."""

    requests_per_second: Rate | None
    requests_per_minute: Rate | None
    burst_requests: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        description="Requests that may come at once; null: those of one second, or of ten under a minute's rate."
    )
    tokens_per_minute: Annotated[Whole, Field(ge=1, le=10_000_000_000)] | None = Field(
        description="Prompt and output tokens."
    )
    concurrent_requests: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(description="Requests under way.")
    usd_per_day: Money | None = Field(description="At the models' prices, by UTC calendar.")
    usd_per_month: Money | None = Field(description="At the models' prices, by UTC calendar.")


class Timeouts(Strict):
    connect_seconds: Seconds = Field(description="To open a connection to an engine.")
    first_byte_seconds: Seconds = Field(description="From the request to an engine's first byte.")
    answer_seconds: Seconds | None = Field(
        description="To an answer that is not streamed; null: totalSeconds alone holds."
    )
    between_bytes_seconds: Seconds = Field(description="Longest silence of an engine inside an answer.")
    total_seconds: Seconds = Field(description="For one request, tries at other engines included.")


class Retries(Strict):
    """Other engines before the first byte of an answer."""

    attempts: Whole = Field(ge=1, le=10, description="Engines tried for one request.")
    budget_percent: Decimal = Field(
        ge=0, le=100, description="Retries allowed, of recent requests, so that an outage is not multiplied."
    )


class Resume(Strict):
    """A stream whose engine is lost goes on at another one."""

    attempts: Whole = Field(ge=1, le=10, description="Engines asked to go on with one stream, in all.")
    max_kept_kib: Whole = Field(ge=1, le=16 * 1024, description="A longer answer cannot go on.")


class Health(Strict):
    """An engine that has requests and is silent is asked whether it lives."""

    silence_seconds: Decimal = Field(ge=0.1, le=60, description="Silence that calls for a probe.")
    timeout_seconds: Decimal = Field(ge=0.1, le=60, description="For the answer to one probe.")
    attempts: Whole = Field(ge=1, le=10, description="Failed probes in a row that mean: it hangs.")


class Ledger(Strict):
    keep_days: Whole = Field(ge=2, le=3650, description="Rows of usage are kept so long.")
    spool_mib: Whole = Field(
        ge=1, le=10_240, description="Disk in each gateway pod for rows that wait for the database."
    )


class Jwt(Strict):
    """Tokens of an OpenID Connect issuer, taken beside API keys."""

    issuer: str = Field(pattern=r"^https?://\S+$", description="The `iss` that tokens must have, to the letter.")
    audience: tuple[str, ...] = Field(min_length=1, max_length=20, description="`aud` must have one of these.")
    jwks_url: str = Field(pattern=r"^https?://\S+$", description="Where the issuer publishes its public keys.")
    algorithms: tuple[Algorithm, ...] = Field(min_length=1, max_length=10, description="Signatures that are taken.")
    subject_claim: str = Field(min_length=1, description="Who asks, mostly `sub`; limits count for each.")
    tenant_claim: str = Field(min_length=1, description="Where the tenant's name stands.")
    default_tenant: Name | None = Field(description="Of tokens without that claim; null: they are refused.")
    scopes_claim: str = Field(
        min_length=1, description="Scopes, mostly `scope`: `model:NAME` and `route:NAME` narrow a token to these."
    )
    required_scope: Annotated[str, Field(min_length=1)] | None = Field(description="A scope that each token must have.")
    priority_claim: Annotated[str, Field(min_length=1)] | None = Field(
        description="Claim with `interactive` or `batch`; null: all are interactive."
    )
    limits: Limits | None = Field(description="What each subject may use.")
    clock_skew_seconds: Whole = Field(ge=0, le=300, description="By how much the issuer's clock may differ.")
    refresh_seconds: Whole = Field(ge=1, le=86_400, description="Between two reads of `jwksUrl`.")


Ttl = Annotated[Whole, Field(ge=1, le=30 * 86400)]


class CachePolicy(Strict):
    """What a model or tenant may have from the cache; null follows the wider rule."""

    exact: Truth | None = Field(description="Answers are kept and used again.")
    sampled: Sampled | None = Field(description="Those of a temperature above 0, as above.")
    tools: Truth | None = Field(description="Those that end in tool calls.")
    semantic: Truth | None = Field(description="Answers to questions that mean the same.")
    ttl_seconds: Ttl | None = Field(description="How long one is kept.")


class SemanticCache(Strict):
    """Answers to questions that mean the same, in PostgreSQL with pgvector."""

    model: Name = Field(description="The model of this stack that makes embeddings.")
    everywhere: Truth = Field(description="False: only for models and tenants that `semantic` names.")
    threshold: Decimal = Field(ge=0.5, le=1, description="Least cosine similarity of two questions.")
    guard: Guard = Field(
        description="What two questions must share: `facts` (numbers, dates, names, negations), `words` or `strict`."
    )
    lookup_seconds: Decimal = Field(ge=0.01, le=5, description="For embedding and look-up; beyond it: an engine.")
    ttl_seconds: Ttl = Field(description="How long an answer is kept.")
    max_answers: Whole = Field(ge=1, le=100_000, description="Of one tenant, model and conversation before it.")


class Cache(Strict):
    """Answers that are used again, by one tenant alone."""

    enabled: Truth = Field(description="False: every request goes to an engine.")
    sampled: Sampled = Field(description="Answers of a temperature above 0: never, where the client asks, or always.")
    tools: Truth = Field(description="Answers that end in tool calls are kept too.")
    ttl_seconds: Ttl = Field(description="How long an answer is kept.")
    stale_seconds: Whole = Field(
        ge=0, le=30 * 86400, description="Kept so much longer for routes that fall back to a kept answer."
    )
    max_followers: Whole = Field(
        ge=0, le=10_000, description="Identical requests that share one under way; 0: each goes alone."
    )
    max_memory_percent: Whole = Field(
        ge=1, le=100, description="Nothing is kept while the Redis of the limits is fuller than this."
    )
    lookup_seconds: Decimal = Field(
        ge=0.001, le=1, description="For Redis to answer; beyond it the request goes to an engine."
    )
    max_request_kib: Whole = Field(ge=1, le=8192, description="A longer request is not looked up.")
    max_answer_kib: Whole = Field(ge=1, le=8192, description="A longer answer is not kept.")
    models: dict[Name, CachePolicy] = Field(max_length=100, description="By model's name.")
    tenants: dict[Name, CachePolicy] = Field(max_length=10_000, description="By tenant's name; over the model's.")
    semantic: SemanticCache | None = Field(description="null: no answers by meaning.")


class TenantGuards(Strict):
    """One tenant's modes; null follows `guards`."""

    pii_input: Mode | None
    pii_output: Mode | None
    injection: Mode | None
    topics: Mode | None
    lengths: Judgement | None
    classifier: Judgement | None


class Topic(Strict):
    name: Name = Field(description="Shown in header, metric and refusal.")
    words: tuple[str, ...] = Field(max_length=1000, description="Words and phrases, in any case, whole.")
    patterns: tuple[str, ...] = Field(max_length=100, description="Regular expressions in RE2's syntax.")


class Classifier(Strict):
    url: str = Field(pattern=r"^https?://\S+$", description="Asked as OpenAI's moderation API is.")
    model: Annotated[str, Field(min_length=1)] | None = Field(description="Sent as `model`.")
    timeout_seconds: Decimal = Field(ge=0.01, le=30, description="For one judgement.")
    on_failure: Literal["allow", "refuse"] = Field(description="What a time-out or an error means.")
    sample_ratio: Decimal = Field(ge=0.0001, le=1, description="Share of requests judged where the mode is flag.")


class Guards(Strict):
    """What is told (flag), taken out (mask) or refused; write "off" with quotes, as YAML takes it for false."""

    pii_input: Mode = Field(description="Personal data and secrets in requests.")
    pii_output: Mode = Field(description="Personal data and secrets in answers, streams too.")
    pii_kinds: tuple[PiiKind, ...] = Field(min_length=1, max_length=7, description="What counts as personal data.")
    injection: Mode = Field(description="Prompt injection; mask takes out the whole text that holds it.")
    injection_threshold: Whole = Field(ge=1, le=100, description="Score from which a text counts as injection.")
    topics_mode: Mode = Field(description="What `topics` does.")
    topics: tuple[Topic, ...] = Field(max_length=50, description="Topics that are not wanted.")
    lengths: Judgement = Field(description="What the three bounds below do.")
    max_messages: Annotated[Whole, Field(ge=1)] | None = Field(description="Messages of one chat request.")
    max_turns: Annotated[Whole, Field(ge=1)] | None = Field(description="Messages of the user in one chat request.")
    max_characters: Annotated[Whole, Field(ge=1)] | None = Field(description="All texts of one request together.")
    classifier_mode: Judgement = Field(description="refuse waits for the classifier, flag does not.")
    classifier: Classifier | None = Field(description="A service that judges text; null: none.")
    tenants: dict[Name, TenantGuards] = Field(max_length=10_000, description="Other modes for single tenants.")


class Traces(Strict):
    endpoint: str | None = Field(
        description="Collector for OTLP over HTTP, such as https://otlp.example.com; null: only ids are passed on."
    )
    ratio: Decimal = Field(ge=0, le=1, description="Share of requests traced; each that fails on our side is, too.")


class FeedbackTenant(Strict):
    """What differs for one tenant; null follows `feedback`."""

    keep_days: Annotated[Whole, Field(ge=1, le=3650)] | None
    evaluation_percent: Annotated[Decimal, Field(ge=0, le=100)] | None


class Feedback(Strict):
    keep_days: Whole = Field(ge=1, le=3650, description="Feedback is kept so long.")
    evaluation_percent: Decimal = Field(
        ge=0, le=100, description="Share of requests given with consent that is kept, masked, to measure models by."
    )
    epsilon_per_month: Decimal = Field(
        ge=0, le=1000, description="Epsilon that private reports may spend on one tenant in a month; then they end."
    )
    masked: tuple[PiiKind, ...] = Field(description="Personal data that is masked before anything is stored.")
    tenants: dict[Name, FeedbackTenant] = Field(description="What differs for single tenants.")


class IntentLabel(Strict):
    name: Name = Field(description="A label of your own.")
    phrases: dict[Annotated[str, Field(min_length=1, max_length=80)], Annotated[Decimal, Field(gt=0, le=10)]] = Field(
        min_length=1, max_length=500, description="Words and phrases with their weights; 1 tells it alone."
    )


class Intents(Strict):
    built_in: Truth = Field(description=f"The labels {', '.join(BUILT_IN)}, by English words.")
    classes: tuple[IntentLabel, ...] = Field(max_length=MOST_LABELS - len(BUILT_IN), description="More labels.")
    model_file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*\.json$")] | None = Field(
        description="A file in this repository, made by `python -m app.gateway.intent train`; null: rules alone."
    )
    least_score: Decimal = Field(gt=0, le=100, description="Below it rules alone tell nothing.")
    least_probability: Decimal = Field(gt=0, lt=1, description="Below it rules and model tell nothing.")


class Console(Strict):
    session_minutes: Whole = Field(ge=1, le=720, description="A sign-in ends after this.")
    most_viewers: Whole = Field(ge=1, le=200, description="Open pages that one gateway feeds.")


class Gateway(Strict):
    cpu_millicores: Whole = Field(ge=50, le=64_000, description="CPU request of one gateway pod.")
    memory_mib: Whole = Field(ge=64, le=65_536, description="Memory request and limit of one gateway pod.")
    max_concurrent_requests: Whole = Field(
        ge=1, le=100_000, description="Requests under way in one gateway; beyond it clients get 503 and Retry-After."
    )
    max_body_mib: Whole = Field(ge=1, le=256, description="Largest request body.")
    batch_share: Decimal = Field(
        ge=0.01, le=1, description="Share of a concurrency limit that batch keys may fill; the rest is interactive."
    )
    cors_origins: tuple[Origin, ...] = Field(
        max_length=100, description="Origins (scheme://host[:port]) whose pages may call from a browser."
    )
    timeouts: Timeouts
    retries: Retries
    resume: Resume | None = Field(description="null: such a stream ends with an error event.")
    health: Health | None = Field(description="Probes of silent engines; null: time-outs alone find one that hangs.")
    limits: Limits | None = Field(description="What all clients together may use; null: as much as there is.")
    tenant_limits: Limits | None = Field(description="For each tenant that `tenants` does not name.")
    tenants: dict[Name, Limits] = Field(max_length=10_000, description="Limits of single tenants, by name.")
    jwt: Jwt | None = Field(description="Tokens of an OpenID Connect issuer beside API keys; null: keys alone.")
    cache: Cache = Field(description="Answers that are used again.")
    feedback: Feedback | None = Field(description="Whether clients may rate answers; null: they may not.")
    intents: Intents | None = Field(description="What requests are after, for reports and routes; null: not asked.")
    guards: Guards | None = Field(description="What is masked or refused; null: nothing.")
    traces: Traces | None = Field(description="OpenTelemetry traces; null: none.")
    console: Console | None = Field(description="The operator's page at /console, for edge.adminCidrs; null: none.")
    ledger: Ledger = Field(description="The ledger of usage in the database.")
