"""Rules about the gateways' limits and times."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.gateway import Limits
from infra.settings.model import Shape


def _limits(shape: Shape) -> Iterator[tuple[str, Limits]]:
    gateway = shape.gateway
    named = [
        ("gateway.limits", gateway.limits),
        ("gateway.tenantLimits", gateway.tenant_limits),
        *((f"gateway.tenants.{tenant}", limits) for tenant, limits in gateway.tenants.items()),
        *((f"models[{index}].limits", model.limits) for index, model in enumerate(shape.models)),
        *((f"outsideModels[{index}].limits", model.limits) for index, model in enumerate(shape.outside_models)),
    ]
    yield from ((path, limits) for path, limits in named if limits is not None)


def a_burst_has_a_rate(shape: Shape) -> Iterator[Problem]:
    for path, limits in _limits(shape):
        if limits.burst_requests is not None and not (limits.requests_per_second or limits.requests_per_minute):
            yield Problem(
                f"{path}.burstRequests", "has no rate to fill it; allowed: null, or requestsPerSecond or -Minute"
            )


def a_month_is_no_less_than_a_day(shape: Shape) -> Iterator[Problem]:
    for path, limits in _limits(shape):
        day, month = limits.usd_per_day, limits.usd_per_month
        if day is not None and month is not None and month < day:
            yield Problem(
                f"{path}.usdPerMonth", f"{month:g} is too small; allowed: {day:g} (usdPerDay) or more, in USD"
            )


def a_request_of_the_largest_size_can_pass(shape: Shape) -> Iterator[Problem]:
    """A limit below one request's reservation would refuse that request for ever."""
    every = [
        *((f"models[{index}].limits", model) for index, model in enumerate(shape.models)),
        *((f"outsideModels[{index}].limits", model) for index, model in enumerate(shape.outside_models)),
    ]
    for own, model in every:
        for path, limits in _limits(shape):
            if path.startswith(("models[", "outsideModels[")) and path != own:
                continue
            tokens = limits.tokens_per_minute
            if tokens is not None and tokens < model.max_output_tokens:
                yield Problem(
                    f"{path}.tokensPerMinute",
                    f"{tokens} is too small; allowed: {model.max_output_tokens} or more, the maxOutputTokens of "
                    f"{model.name}",
                )


def times_fit_each_other(shape: Shape) -> Iterator[Problem]:
    times = shape.gateway.timeouts
    for key, seconds in (
        ("connectSeconds", times.connect_seconds),
        ("firstByteSeconds", times.first_byte_seconds),
        ("betweenBytesSeconds", times.between_bytes_seconds),
        ("answerSeconds", times.answer_seconds or 0.0),
    ):
        if seconds > times.total_seconds:
            yield Problem(
                f"gateway.timeouts.{key}",
                f"{seconds:g} is too large; allowed: totalSeconds, {times.total_seconds:g}, or less, in seconds",
            )
    idle = shape.edge.idle_timeout_seconds
    for key, seconds in (
        ("firstByteSeconds", times.first_byte_seconds),
        ("betweenBytesSeconds", times.between_bytes_seconds),
    ):
        if seconds >= idle:
            yield Problem(
                f"gateway.timeouts.{key}",
                f"{seconds:g} is too large; allowed: less than edge.idleTimeoutSeconds, {idle}: the load balancer "
                "would end the answer first",
            )


def caches_name_models_of_the_stack(shape: Shape) -> Iterator[Problem]:
    cache = shape.gateway.cache
    own = [model.name for model in shape.models]
    every = [*own, *(model.name for model in shape.outside_models)]
    names = [*own, *(model.name for model in shape.outside_models if model.makes_embeddings)]
    allowed = f"allowed: {', '.join(names)}"
    for name in cache.models:
        if name not in every:
            yield Problem(f"gateway.cache.models.{name}", f"is no model of this stack; allowed: {', '.join(every)}")
    if cache.semantic is not None and cache.semantic.model not in names:
        yield Problem("gateway.cache.semantic.model", f"{cache.semantic.model} is no model of this stack; {allowed}")
    if cache.semantic is None:
        for kind, policies in (("models", cache.models), ("tenants", cache.tenants)):
            for name, policy in policies.items():
                if policy.semantic:
                    yield Problem(
                        f"gateway.cache.{kind}.{name}.semantic",
                        "is true, but gateway.cache.semantic is null; allowed: false or null, or give the latter",
                    )


def retrieval_has_a_model(shape: Shape) -> Iterator[Problem]:
    wanted = shape.retrieval
    outside = [model for model in shape.outside_models if model.makes_embeddings]
    names = [
        *(name for model in (*shape.models, *outside) for name in (model.name, *model.aliases)),
        *(route.name for route in shape.routing.routes),
    ]
    if wanted.enabled and wanted.model not in names:
        chats = {name for model in shape.outside_models for name in (model.name, *model.aliases)}
        given = "is null" if wanted.model is None else f"{wanted.model} is no model of this stack"
        if wanted.model in chats:
            given = f"{wanted.model} makes no embeddings (its embeddingDimensions is null)"
        yield Problem("retrieval.model", f"{given}; allowed: {', '.join(names)}")
    if wanted.overlap_tokens * 2 > wanted.chunk_tokens:
        most = wanted.chunk_tokens // 2
        yield Problem(
            "retrieval.overlapTokens",
            f"{wanted.overlap_tokens} is too large; allowed: half of chunkTokens, {most}, or less",
        )


GATEWAY_RULES = (
    retrieval_has_a_model,
    caches_name_models_of_the_stack,
    a_burst_has_a_rate,
    a_month_is_no_less_than_a_day,
    a_request_of_the_largest_size_can_pass,
    times_fit_each_other,
)
