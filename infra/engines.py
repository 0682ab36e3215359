"""Models of the settings, as the components want them."""

from __future__ import annotations

from typing import cast

import pulumi
import pulumi_kubernetes as k8s

from components import engine_manifests
from components.engines.shape import EngineShape
from infra.foundation import Foundation
from infra.settings import Settings, model_slug
from infra.settings.accelerators import types_with
from infra.settings.model import ColourRelease
from infra.settings.served import WEIGHTS_SCHEME, Model
from infra.settings.starting import cooldown_seconds, expected_seconds, limit_seconds, stabilisation_seconds


def engine_shape(model: Model, release: ColourRelease, settings: Settings, foundation: Foundation) -> EngineShape:
    """One model's engines in one colour."""
    model = release.carried(model)
    prefix = model.source.removeprefix(WEIGHTS_SCHEME)
    bucket = foundation.weights_bucket
    shape: EngineShape = {
        "model": model.name,
        "slug": model_slug(model.name),
        "aliases": model.aliases,
        "kind": model.engine,
        "source": pulumi.Output.concat("s3://", bucket, "/", prefix) if model.streamed else model.source,
        "streamed": model.streamed,
        "max_model_len": model.max_model_len,
        "quantisation": model.quantisation,
        "prefix_caching": model.prefix_caching,
        "chunked_prefill": model.chunked_prefill,
        "gpus": model.gpus,
        "tensor_parallel": model.tensor_parallel,
        "nodes": model.nodes,
        "instance_types": types_with(model.gpu_type) if model.gpu_type else (),
        "lora_adapters": [
            {"name": adapter.name, "source": adapter.source, "rank": adapter.rank} for adapter in model.lora_adapters
        ],
        "arguments": model.arguments,
        "cpu_millicores": model.cpu_millicores,
        "memory_mib": model.memory_mib,
        "shared_memory_mib": model.shared_memory_mib,
        "compile_cache_mib": model.compile_cache_mib,
        "batch": model.priority == "batch",
        "startup_seconds": limit_seconds(
            settings.probes.engine_startup_seconds, model.weights_gib, streamed=model.streamed
        ),
        "replicas": release.engine_replicas[model.name],
    }
    if any(adapter.source.startswith(WEIGHTS_SCHEME) for adapter in model.lora_adapters):
        shape["lora_bucket"] = bucket
    if settings.controllers.karpenter.per_colour:
        shape["own_nodes"] = True
    if model.name in release.engine_images:
        shape["image"] = image(foundation.image_urls["engine"], release.engine_images[model.name])
    if model.spot_share is not None:
        shape["spot_share"] = model.spot_share
    if model.scaling is not None:
        start = expected_seconds(model.weights_gib, streamed=model.streamed)
        shape["scaling"] = {
            "max_replicas": model.scaling.max_replicas,
            "target_per_replica": model.scaling.target_per_replica,
            "to_zero": model.scaling.to_zero,
            "cooldown_seconds": cooldown_seconds(start),
            "stabilisation_seconds": stabilisation_seconds(start),
        }
    return shape


def groups(settings: Settings, provider: pulumi.ProviderResource) -> list[pulumi.Resource]:
    """The type of engines that stretch over several nodes, where a model does. Its controller is not installed here."""
    if all(model.nodes == 1 for model in settings.models):
        return []
    return [
        k8s.apiextensions.v1.CustomResourceDefinition(
            "leader-worker-sets",
            metadata={"name": f"leaderworkersets.{engine_manifests.GROUP}"},
            spec=cast("k8s.apiextensions.v1.CustomResourceDefinitionSpecArgsDict", engine_manifests.group_definition()),
            opts=pulumi.ResourceOptions(provider=provider),
        )
    ]


def image(url: pulumi.Output[str], reference: str) -> pulumi.Output[str]:
    """`url@sha256:...` for a digest, `url:tag` for a tag."""
    return pulumi.Output.concat(url, "@" if reference.startswith("sha256:") else ":", reference)
