"""Rules about pipelines and intents: what a gateway would refuse is refused at preview, with the key's path."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from app.gateway.intent.classifier import load
from app.gateway.intent.settings import BUILT_IN, OTHER
from app.gateway.routing.config import unknown_intents
from app.pipelines.config import CallOut
from app.pipelines.plan import Around, problems
from infra.settings.errors import Problem
from infra.settings.model import Shape

CHECKOUT = Path(__file__).resolve().parents[2]


def pipelines_fit(shape: Shape) -> Iterator[Problem]:
    models = {
        *(name for model in shape.models for name in model.names),
        *(name for model in shape.outside_models for name in (model.name, *model.aliases)),
        *(route.name for route in shape.routing.routes),
    }
    pipelines = shape.pipelines
    around = Around(
        models,
        retrieval=shape.retrieval.enabled,
        intents=shape.gateway.intents is not None,
        hosts=pipelines.call_out_hosts,
        networks=tuple(ip_network(cidr) for cidr in pipelines.call_out_cidrs),
    )
    for path, why in problems(pipelines.names, pipelines.prompts, around):
        yield Problem(f"pipelines.{_keys(path.replace('pipelines.', 'names.', 1))}", why)
    for at, pipeline in enumerate(pipelines.names):
        for number, step in enumerate(pipeline.steps):
            if isinstance(step, CallOut) and not shape.jobs.enabled:
                yield Problem(
                    f"pipelines.names[{at}].steps[{number}]",
                    "is signed with the secret of jobs, and jobs.enabled is false; allowed: true, or no such step",
                )
            if isinstance(step, CallOut) and not pipelines.call_out_cidrs and (urlsplit(step.url).port or 443) != 443:
                yield Problem(
                    f"pipelines.names[{at}].steps[{number}].url",
                    f"the port {urlsplit(step.url).port} is closed to gateways; allowed: 443",
                )
        if pipeline.name in ("none", "other"):
            yield Problem(f"pipelines.names[{at}].name", f"{pipeline.name!r} stands for no model in metrics")


def intents_are_known(shape: Shape) -> Iterator[Problem]:
    intents = shape.gateway.intents
    labels: Collection[str] | None = None
    if intents is not None:
        own = [one.name for one in intents.classes]
        taken = (OTHER, *(BUILT_IN if intents.built_in else ()))
        for at, name in enumerate(own):
            if name in taken or own.index(name) != at:
                yield Problem(f"gateway.intents.classes[{at}].name", f"{name!r} is taken; each label may stand once")
        if not intents.built_in and not own and intents.model_file is None:
            yield Problem("gateway.intents.builtIn", "false leaves nothing to tell by; allowed: true, or classes")
        labels = (*taken, *own)
        if intents.model_file is not None:
            try:
                labels = (*labels, *load(CHECKOUT / intents.model_file).labels)
            except ValueError as error:
                yield Problem("gateway.intents.modelFile", str(error).removeprefix("intents.model_file: "))
    for path, why in unknown_intents(shape.routing.routes, labels):
        yield Problem(_keys(path), why)


def _keys(field: str) -> str:
    """`tasks.0.to` of the gateway as a stack file's path."""
    return re.sub(r"\.(\d+)", r"[\1]", field)


PIPELINE_RULES = (pipelines_fit, intents_are_known)
