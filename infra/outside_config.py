"""Outside providers, their models and routing as the gateways take them, from the settings of a stack. Pure."""

from __future__ import annotations

import json

from app.gateway.config import Limits, OutsideModel
from app.gateway.providers.config import Provider
from app.gateway.routing.config import BreakerSettings, Route, Routing
from components.manifests import CONFIG_FOLDER
from infra.pipelines_config import intent_files
from infra.settings import Settings

KNOWLEDGE = "knowledge.json"


def providers(settings: Settings) -> tuple[Provider, ...]:
    return tuple(
        Provider(**provider.model_dump(exclude={"api_key"}), key_secret=provider.api_key)
        for provider in settings.providers
    )


def outside_models(settings: Settings) -> tuple[OutsideModel, ...]:
    return tuple(
        OutsideModel(
            **model.model_dump(exclude={"limits"}),
            limits=None if model.limits is None else Limits(**model.limits.model_dump()),
        )
        for model in settings.outside_models
    )


def routing(settings: Settings) -> Routing:
    shape = settings.routing
    return Routing(
        routes=tuple(Route(**route.model_dump()) for route in shape.routes),
        templates=shape.templates,
        knowledge_file=f"{CONFIG_FOLDER}/{KNOWLEDGE}" if shape.knowledge else None,
        breaker=BreakerSettings(**shape.breaker.model_dump()),
    )


def gateway_files(settings: Settings) -> dict[str, str]:
    """What lies beside the gateways' configuration, by file name."""
    files = intent_files(settings)
    if not settings.routing.knowledge:
        return files
    return files | {KNOWLEDGE: json.dumps({"entries": [entry.model_dump() for entry in settings.routing.knowledge]})}
