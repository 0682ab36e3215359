"""The gateways' files, from the settings of a stack. Pure."""

from __future__ import annotations

import hashlib

from app.gateway.balance.settings import Balance, Health, HedgeRules, QueueRules, Sticky
from app.gateway.cache.settings import CacheConfig, CachePolicy, SemanticCache
from app.gateway.config import (
    AdminKey,
    ApiKey,
    Colour,
    GatewayConfig,
    Jwt,
    KeyFile,
    Limits,
    ModelRoute,
    Resume,
    Retries,
    Timeouts,
)
from app.gateway.console.settings import ConsoleConfig
from app.gateway.feedback.settings import FeedbackConfig, FeedbackPolicy
from app.gateway.guards.settings import Classifier, GuardConfig, GuardModes, TenantModes, Topic
from app.gateway.shadow.settings import ShadowConfig, ShadowTarget
from app.gateway.trace.settings import TraceConfig
from app.retrieval.config import RetrievalConfig
from components import manifests
from components.engines import ENGINES
from infra.budget_actions import budget_actions
from infra.jobs_config import jobs_config
from infra.outside_config import outside_models, providers, routing
from infra.pipelines_config import intents, pipelines
from infra.settings import Settings
from infra.settings import gateway as shapes
from infra.settings.model import ColourRelease
from infra.settings.served import Model


def gateway_config(settings: Settings, colour: Colour) -> GatewayConfig:
    """The settings of one colour's gateways: complete at preview, for nothing in it comes from a resource."""
    gateway = settings.gateway
    # Of this colour alone: a change of the other one must not restart these gateways.
    release = settings.release.blue if colour == "blue" else settings.release.green
    return GatewayConfig(
        colour=colour,
        namespace=settings.namespace,
        models=tuple(
            route
            for model in settings.models
            for route in (
                _route(model, colour, model.name, model.aliases),
                # A name of its own: its answers, limits and figures are not those of the model under it.
                *(_route(model, colour, adapter.name, ()) for adapter in model.lora_adapters),
            )
        ),
        providers=providers(settings),
        outside_models=outside_models(settings),
        routing=routing(settings),
        timeouts=Timeouts(**gateway.timeouts.model_dump()),
        retries=Retries(attempts=gateway.retries.attempts, budget_ratio=gateway.retries.budget_percent / 100),
        resume=_resume(gateway.resume),
        health=Health(enabled=False) if gateway.health is None else Health(**gateway.health.model_dump()),
        max_concurrent_requests=gateway.max_concurrent_requests,
        max_body_bytes=gateway.max_body_mib * 1024 * 1024,
        batch_share=gateway.batch_share,
        cors_origins=gateway.cors_origins,
        limits=_limits(gateway.limits),
        tenant_limits=_limits(gateway.tenant_limits),
        tenants={tenant: Limits(**limits.model_dump()) for tenant, limits in gateway.tenants.items()},
        peers=manifests.selector("gateway", colour),
        jwt=_jwt(gateway.jwt),
        cache=_cache(settings, release),
        guards=_guards(gateway.guards),
        traces=None if gateway.traces is None else TraceConfig(**gateway.traces.model_dump()),
        budget=budget_actions(settings),
        feedback=_feedback(gateway.feedback),
        shadow=_shadow(settings, colour),
        console=None if gateway.console is None else ConsoleConfig(**gateway.console.model_dump()),
        jobs=jobs_config(settings),
        retrieval=_retrieval(settings),
        intents=intents(settings),
        pipelines=pipelines(settings),
        drain_seconds=settings.drain.gateway_shutdown_seconds,
    )


def _route(model: Model, colour: Colour, name: str, aliases: tuple[str, ...]) -> ModelRoute:
    return ModelRoute(
        name=name,
        aliases=aliases,
        selector=manifests.selector("engine", colour, model.name),
        port=manifests.ENGINE_PORT,
        usage_in_events=ENGINES[model.engine].usage_in_events,
        context_tokens=model.max_model_len,
        max_output_tokens=model.max_output_tokens,
        input_usd_per_million_tokens=model.input_usd_per_million_tokens,
        output_usd_per_million_tokens=model.output_usd_per_million_tokens,
        limits=_limits(model.limits),
        required=model.required,
        balance=Balance(**model.balance.model_dump()),
        sticky=None if model.sticky is None else Sticky(**model.sticky.model_dump()),
        max_in_flight_per_engine=model.max_in_flight_per_engine,
        slow_start_seconds=model.slow_start_seconds,
        queue=None if model.queue is None else QueueRules(**model.queue.model_dump()),
        hedge=None if model.hedge is None else HedgeRules(**model.hedge.model_dump()),
    )


def _shadow(settings: Settings, colour: Colour) -> ShadowConfig | None:
    """To the other colour's engines, whichever has the traffic: a shift changes no gateway."""
    shape = settings.release.shadow
    if not shape.percent or not settings.models:
        return None
    other: Colour = "green" if colour == "blue" else "blue"
    return ShadowConfig(
        share_percent=shape.percent,
        text=shape.text,
        tenants_left_out=shape.leave_out_tenants,
        targets=tuple(
            ShadowTarget(
                model=name, selector=manifests.selector("engine", other, model.name), port=manifests.ENGINE_PORT
            )
            for model in settings.models
            for name in (model.name, *(adapter.name for adapter in model.lora_adapters))
        ),
    )


def _revisions(settings: Settings, release: ColourRelease) -> dict[str, str]:
    """What an answer depends on beside the request: a release with other engines or weights begins anew."""
    found = {model.name: f"{model.provider} {model.upstream}" for model in settings.outside_models}
    for model in map(release.carried, settings.models):
        own = f"{release.engine_images.get(model.name, release.engine_image)} {model.source} {model.max_model_len}"
        if model.quantisation != "none":
            own += f" {model.quantisation}"
        found[model.name] = own
        found |= {adapter.name: f"{own} {adapter.source}" for adapter in model.lora_adapters}
    return found


def _cache(settings: Settings, release: ColourRelease) -> CacheConfig:
    shape = settings.gateway.cache
    semantic = shape.semantic
    return CacheConfig(
        **shape.model_dump(
            include={"enabled", "sampled", "tools", "ttl_seconds", "stale_seconds", "max_followers", "lookup_seconds"}
        ),
        max_request_bytes=shape.max_request_kib * 1024,
        max_answer_bytes=shape.max_answer_kib * 1024,
        max_memory_share=shape.max_memory_percent / 100,
        models={name: CachePolicy(**policy.model_dump()) for name, policy in shape.models.items()},
        tenants={name: CachePolicy(**policy.model_dump()) for name, policy in shape.tenants.items()},
        revisions=_revisions(settings, release),
        semantic=semantic is not None and semantic.everywhere,
        semantic_cache=None if semantic is None else SemanticCache(**semantic.model_dump(exclude={"everywhere"})),
    )


def _resume(shape: shapes.Resume | None) -> Resume:
    if shape is None:
        return Resume(enabled=False)
    return Resume(attempts=shape.attempts, max_kept_bytes=shape.max_kept_kib * 1024)


def _feedback(shape: shapes.Feedback | None) -> FeedbackConfig | None:
    if shape is None:
        return None
    tenants = {name: FeedbackPolicy(**policy.model_dump()) for name, policy in shape.tenants.items()}
    return FeedbackConfig(**shape.model_dump(exclude={"tenants"}), tenants=tenants)


def _guards(shape: shapes.Guards | None) -> GuardConfig | None:
    if shape is None:
        return None
    modes = shape.model_dump(include={"pii_input", "pii_output", "injection", "lengths"})
    bounds = {"pii_kinds", "injection_threshold", "max_messages", "max_turns", "max_characters"}
    return GuardConfig(
        modes=GuardModes(**modes, topics=shape.topics_mode, classifier=shape.classifier_mode),
        topics=tuple(Topic(**topic.model_dump()) for topic in shape.topics),
        classifier=None if shape.classifier is None else Classifier(**shape.classifier.model_dump()),
        tenants={name: TenantModes(**modes.model_dump()) for name, modes in shape.tenants.items()},
        **shape.model_dump(include=bounds),
    )


def _retrieval(settings: Settings) -> RetrievalConfig | None:
    wanted = settings.retrieval
    if not wanted.enabled or wanted.model is None:
        return None
    return RetrievalConfig(
        max_document_bytes=wanted.max_document_mib * 1024 * 1024,
        **wanted.model_dump(exclude={"enabled", "max_document_mib"}),
    )


def _limits(shape: shapes.Limits | None) -> Limits | None:
    return None if shape is None else Limits(**shape.model_dump())


def _jwt(shape: shapes.Jwt | None) -> Jwt | None:
    return None if shape is None else Jwt(**shape.model_dump(exclude={"limits"}), limits=_limits(shape.limits))


def key_file(api_key: str, admin_key: str) -> str:
    """keys.json of the first client and the first admin: the keys' hashes, never a key."""
    return KeyFile(
        keys=(ApiKey(id="first", sha256=_digest(api_key)),), admins=(AdminKey(id="first", sha256=_digest(admin_key)),)
    ).model_dump_json(exclude_defaults=True)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
