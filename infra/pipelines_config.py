"""Pipelines and intents as gateways take them, from a stack's settings. Pure, but for the model file of intents."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from app.gateway.intent.settings import IntentClass, IntentConfig
from app.pipelines.config import Pipeline, PipelinesConfig, PromptVersion
from components.manifests import CONFIG_FOLDER
from infra.settings import Settings

INTENTS = "intents.json"
CHECKOUT = Path(__file__).resolve().parents[1]


def pipelines(settings: Settings) -> PipelinesConfig:
    shape = settings.pipelines
    return PipelinesConfig(
        pipelines=tuple(Pipeline.model_validate(one.model_dump()) for one in shape.names),
        prompts=tuple(PromptVersion(**one.model_dump()) for one in shape.prompts),
        call_out_hosts=shape.call_out_hosts,
        call_out_networks=tuple(ip_network(cidr) for cidr in shape.call_out_cidrs),
    )


def intents(settings: Settings) -> IntentConfig | None:
    shape = settings.gateway.intents
    if shape is None:
        return None
    return IntentConfig(
        built_in=shape.built_in,
        classes=tuple(IntentClass(**one.model_dump()) for one in shape.classes),
        model_file=None if shape.model_file is None else f"{CONFIG_FOLDER}/{INTENTS}",
        least_score=shape.least_score,
        least_probability=shape.least_probability,
    )


def intent_files(settings: Settings) -> dict[str, str]:
    """What lies beside the gateways' configuration, by file name. Raises OSError."""
    shape = settings.gateway.intents
    if shape is None or shape.model_file is None:
        return {}
    return {INTENTS: (CHECKOUT / shape.model_file).read_text(encoding="utf-8")}
