"""Rules about outside providers, their models, and routing: what a gateway would refuse is refused at preview."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from pydantic.alias_generators import to_camel

from app.gateway.providers import families
from infra.settings.errors import Problem
from infra.settings.model import Shape

RESERVED = ("none", "other")
"""They stand for no model in metrics and ledger."""
BEDROCK_ID = re.compile(r"[a-z0-9][a-z0-9.:-]*")
HTTPS_PORT = 443
CONFIG_BYTES = 700_000
"""Of routing's texts. A ConfigMap holds 1 MiB, and the models stand there too."""


def something_answers(shape: Shape) -> Iterator[Problem]:
    if not shape.models and not shape.outside_models:
        yield Problem("models", "is empty, and outsideModels is too: nothing would answer; allowed: a model in either")


def names_of_models_are_unique(shape: Shape) -> Iterator[Problem]:
    taken = {
        name: f"models[{index}]" for index, model in enumerate(shape.models) for name in (model.name, *model.aliases)
    }
    for index, model in enumerate(shape.outside_models):
        named = [("name", model.name), *((f"aliases[{at}]", alias) for at, alias in enumerate(model.aliases))]
        for field, name in named:
            path = f"outsideModels[{index}].{field}"
            if name in taken:
                yield Problem(path, f"{name!r} is taken by {taken[name]}; each name may stand once")
            taken.setdefault(name, path)
    routes = ((f"routing.routes[{at}].name", route.name) for at, route in enumerate(shape.routing.routes))
    for path, name in (*((path, name) for name, path in taken.items()), *routes):
        if name in RESERVED:
            yield Problem(path, f"{name!r} stands for no model in metrics; allowed: another name")


def outside_models_fit(shape: Shape) -> Iterator[Problem]:
    providers = {provider.name: provider for provider in shape.providers}
    for index, model in enumerate(shape.outside_models):
        path = f"outsideModels[{index}]"
        provider = providers.get(model.provider)
        if provider is None:
            yield Problem(f"{path}.provider", f"there is no provider {model.provider!r}; {_allowed(providers)}")
        elif provider.kind == "bedrock" and not BEDROCK_ID.fullmatch(model.upstream):
            yield Problem(
                f"{path}.upstream",
                f"{model.upstream!r} is not allowed; allowed: the id of a foundation model or of an inference profile, "
                "such as eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            )
        else:
            for field, why in families.faults(provider.kind, model.upstream, model.embedding_dimensions):
                yield Problem(f"{path}.{to_camel(field)}", why)
        if model.max_output_tokens > model.context_tokens:
            yield Problem(
                f"{path}.maxOutputTokens",
                f"{model.max_output_tokens} is too large; allowed: contextTokens, {model.context_tokens}, or less",
            )


def providers_are_complete(shape: Shape) -> Iterator[Problem]:
    names: set[str] = set()
    for index, provider in enumerate(shape.providers):
        path = f"providers[{index}]"
        if provider.name in names:
            yield Problem(f"{path}.name", f"{provider.name!r} is given twice; each name may stand once")
        names.add(provider.name)
        for field, why in provider.faults():
            yield Problem(f"{path}.{to_camel(field)}", why)
        if provider.kind in ("openai", "anthropic") and not provider.api_key:
            yield Problem(f"{path}.apiKey", f"false leaves a provider of the kind {provider.kind} without a key")


def providers_can_be_reached(shape: Shape) -> Iterator[Problem]:
    """Prompts go where a provider is: Bedrock's regions are among those that hold data, and others need a way out."""
    private = shape.network.nat_gateways == "none"
    for index, provider in enumerate(shape.providers):
        path = f"providers[{index}]"
        if provider.region is not None and provider.region not in shape.aws.allowed_regions:
            yield Problem(
                f"{path}.region",
                f"{provider.region} is not allowed; allowed: {', '.join(shape.aws.allowed_regions)} "
                "(aws.allowedRegions)",
            )
        port = _port(provider.url)
        if port != HTTPS_PORT and not any(provider.faults()):
            yield Problem(
                f"{path}.baseUrl", f"the port {port} is closed to gateways; allowed: {HTTPS_PORT}, and no other outside"
            )
        at_home = provider.kind == "bedrock" and provider.base_url is None and provider.region == shape.aws.region
        if private and not at_home:
            yield Problem(
                path,
                f"{provider.name!r} is outside, and network.natGateways is none; allowed: Bedrock in aws.region, "
                f"{shape.aws.region}, which has an endpoint inside",
            )


def routes_name_what_there_is(shape: Shape) -> Iterator[Problem]:
    models = [model.name for model in (*shape.models, *shape.outside_models)]
    aliases = {alias for model in (*shape.models, *shape.outside_models) for alias in model.aliases}
    seen: set[str] = set()
    for index, route in enumerate(shape.routing.routes):
        path = f"routing.routes[{index}]"
        if route.name in seen:
            yield Problem(f"{path}.name", f"{route.name!r} is given twice; each name may stand once")
        if route.name in aliases:
            yield Problem(f"{path}.name", f"{route.name!r} is an alias of a model; allowed: its own name, or a new one")
        seen.add(route.name)
        for field, name in route.models():
            if name not in models:
                yield Problem(f"{path}.{_keys(field)}", f"there is no model {name!r}; {_allowed(models)}")
        for field, name in route.templates():
            if name not in shape.routing.templates:
                yield Problem(
                    f"{path}.{_keys(field)}", f"there is no template {name!r}; {_allowed(shape.routing.templates)}"
                )
        if route.knowledge and not shape.routing.knowledge:
            yield Problem(f"{path}.knowledge", "true is not allowed while routing.knowledge is empty; allowed: false")


def routing_fits_a_gateway(shape: Shape) -> Iterator[Problem]:
    routing = shape.routing
    written = sum(len(text.encode()) for text in routing.templates.values())
    written += sum(len(entry.model_dump_json().encode()) for entry in routing.knowledge)
    if written > CONFIG_BYTES:
        yield Problem("routing", f"its texts have {written} bytes; allowed: {CONFIG_BYTES} or fewer")
    patterns = [
        (f"routing.routes[{at}].rules[{number}].pattern", rule.pattern)
        for at, route in enumerate(routing.routes)
        for number, rule in enumerate(route.rules)
        if rule.pattern is not None
    ]
    if patterns:
        from app.gateway.routing.rules import compiled  # RE2 takes 5 MB

        for path, pattern in patterns:
            try:
                compiled(pattern)
            except ValueError as problem:
                yield Problem(path, str(problem))


def idle_gpus_are_not_paid(shape: Shape) -> Iterator[Problem]:
    if shape.models:
        return
    groups = shape.node_groups
    for path, wanted in (
        ("nodeGroups.gpu.desiredNodes", groups.gpu.desired_nodes),
        ("nodeGroups.gpuSpot.desiredNodesPerZone", groups.gpu_spot.desired_nodes_per_zone),
    ):
        if wanted:
            yield Problem(path, f"{wanted} would stand idle, for models is empty; allowed: 0")


def _keys(field: str) -> str:
    """`tasks.0.to` of the gateway as a stack file's path."""
    return re.sub(r"\.(\d+)", r"[\1]", field)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _allowed(names: object) -> str:
    found = sorted(str(name) for name in names) if isinstance(names, list | dict) else []
    return f"allowed: {', '.join(found[:20])}" if found else "there are none"


OUTSIDE_RULES = (
    something_answers,
    names_of_models_are_unique,
    outside_models_fit,
    providers_are_complete,
    providers_can_be_reached,
    routes_name_what_there_is,
    routing_fits_a_gateway,
    idle_gpus_are_not_paid,
)
