"""Rules on models, their engines and the GPUs under them."""

from __future__ import annotations

from collections.abc import Iterator

from components.engines import ENGINES, limits
from components.engines.adapter import GPU_MEMORY_SHARE
from infra.settings import capacity
from infra.settings.accelerators import CAPABILITY_OF, GPU_OF_FAMILY, Gpu, gpu_of
from infra.settings.errors import Problem
from infra.settings.model import Shape
from infra.settings.served import WEIGHTS_SCHEME, Model


def gpu_types(shape: Shape) -> dict[str, tuple[str, ...]]:
    """Instance types that engines may run on, by the key that names them; types without a known GPU are left out."""
    wanted = shape.controllers.karpenter
    found = {
        "nodeGroups.gpu": shape.node_groups.gpu.instance_types,
        "nodeGroups.gpuSpot": shape.node_groups.gpu_spot.instance_types,
        **({"controllers.karpenter": wanted.instance_types} if wanted.enabled else {}),
        **{
            f"nodeGroups.reservations[{index}]": (reservation.instance_type,)
            for index, reservation in enumerate(shape.node_groups.reservations)
        },
    }
    return {
        key: tuple(each for each in types if each.partition(".")[0] in GPU_OF_FAMILY) for key, types in found.items()
    }


def usable(shape: Shape, model: Model) -> list[tuple[str, str, Gpu]]:
    """Where a model's engines may land: key, instance type, GPU."""
    return [
        (key, each, gpu_of(each))
        for key, types in gpu_types(shape).items()
        for each in types
        if model.gpu_type in (None, gpu_of(each).name)
    ]


def the_gpu_exists(shape: Shape) -> Iterator[Problem]:
    there = sorted({gpu_of(each).name for types in gpu_types(shape).values() for each in types})
    for index, model in enumerate(shape.models):
        if model.gpu_type and model.gpu_type not in there:
            yield Problem(
                f"models[{index}].gpuType",
                f"no node has {model.gpu_type}; allowed: null, or one of {', '.join(there)}, or other instanceTypes",
            )


def the_gpu_can_compute_it(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        if model.quantisation == "none":
            continue
        least = CAPABILITY_OF[model.quantisation]
        for key, instance_type, gpu in usable(shape, model):
            if gpu.capability < least:
                able = sorted({each.name for each in GPU_OF_FAMILY.values() if each.capability >= least})
                yield Problem(
                    f"models[{index}].quantisation",
                    f"{model.quantisation} needs compute capability {_dotted(least)} or newer, and {instance_type} of "
                    f"{key} has {gpu.name} with {_dotted(gpu.capability)}; allowed: none, or a gpuType that can "
                    f"({', '.join(able)})",
                )
                break


def the_weights_fit(shape: Shape) -> Iterator[Problem]:
    """Weights alone; what is left of the share is the key-value cache."""
    for index, model in enumerate(shape.models):
        found = usable(shape, model)
        if not found:
            continue
        key, instance_type, gpu = min(found, key=lambda each: each[2].memory_gib)
        count = model.gpus * model.nodes
        room = gpu.memory_gib * GPU_MEMORY_SHARE * count
        if model.weights_gib >= room:
            yield Problem(
                f"models[{index}].weightsGib",
                f"{model.weights_gib:g} does not fit {count} x {gpu.name} of {instance_type} ({key}): "
                f"{count} x {gpu.memory_gib:g} GiB x {GPU_MEMORY_SHARE:g} = {room:.1f}; allowed: less, more gpus or "
                "nodes, or a larger gpuType",
            )


def parallel_sizes_divide(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        total = model.gpus * model.nodes
        engine = ENGINES[model.engine]
        divisors = [size for size in range(1, total + 1) if total % size == 0]
        allowed = divisors if engine.takes("pipeline") else [total]
        if model.tensor_parallel not in allowed:
            yield Problem(
                f"models[{index}].tensorParallel",
                f"{model.tensor_parallel} does not fit gpus {model.gpus} x nodes {model.nodes} = {total} with "
                f"{model.engine}; allowed: {', '.join(map(str, allowed))}",
            )


def engines_can_do_it(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        found = limits.refused(
            model.engine,
            aliases=model.aliases,
            lora_adapters=model.lora_adapters,
            prefix_caching=model.prefix_caching,
            chunked_prefill=model.chunked_prefill,
            quantisation=model.quantisation,
            streamed=model.streamed,
            nodes=model.nodes,
            scaled=model.scaling is not None,
            arguments=model.arguments,
        )
        for key, why in found:
            yield Problem(f"models[{index}].{'source' if key == 'streamed' else key}", why)


def memory_holds_the_shared_part(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        if model.shared_memory_mib >= model.memory_mib:
            yield Problem(
                f"models[{index}].sharedMemoryMib",
                f"{model.shared_memory_mib} leaves nothing of memoryMib {model.memory_mib}, of which it is a part; "
                f"allowed: {model.memory_mib - 1} or less, in MiB",
            )


def engines_end_in_their_time(shape: Shape) -> Iterator[Problem]:
    """An engine with a time-out of its own that is shorter than the contract's would cut what the contract keeps."""
    wanted = shape.drain.engine_shutdown_seconds
    for index, model in enumerate(shape.models):
        fixed = ENGINES[model.engine].drain.fixed_seconds
        if fixed is not None and wanted > fixed:
            yield Problem(
                f"models[{index}].engine",
                f"{model.engine} ends requests {fixed} s after SIGTERM and has no flag for it, and "
                f"drain.engineShutdownSeconds promises {wanted}; allowed: another engine, or {fixed} or less there",
            )


def spot_has_a_pool(shape: Shape) -> Iterator[Problem]:
    most_spot = shape.node_groups.gpu_spot.max_nodes_per_zone
    for index, model in enumerate(shape.models):
        if model.spot_share and model.nodes > 1:
            yield Problem(
                f"models[{index}].spotShare",
                f"{model.spot_share}: one lost node ends an engine of {model.nodes} nodes; allowed: null or 0",
            )
        if model.spot_share and not most_spot and not shape.controllers.karpenter.enabled:
            yield Problem(
                f"models[{index}].spotShare", f"{model.spot_share}: no spot node may exist; allowed: null or 0"
            )


def the_floor_fits_on_demand(shape: Shape) -> Iterator[Problem]:
    """What may not be on spot must find a node that is not, with both colours up."""
    try:
        pools = [pool for pool in capacity.gpu_pools(shape) if pool.capacity != "spot"]
    except ValueError:
        return  # another rule names the type
    room = sum(pool.gpus * pool.most for pool in pools)
    parts = []
    for demand in capacity.demands(shape):
        model = next(model for model in shape.models if model.name == demand.model)
        if model.spot_share is None or model.spot_share == 100:
            continue
        replicas = getattr(shape.release, demand.colour).engine_replicas.get(model.name, 0)
        # With no share at all every engine that scaling adds is on demand, too.
        pods = demand.pods if model.spot_share == 0 else replicas - replicas * model.spot_share // 100
        parts.append((pods * demand.gpus, f"{pods} x {demand.gpus} ({demand.colour} {model.name})"))
    wanted = sum(gpus for gpus, _ in parts)
    if wanted > room:
        named = " + ".join(f"{pool.name} {pool.most} x {pool.gpus}" for pool in pools)
        yield Problem(
            "models",
            f"by their spotShare {' + '.join(text for _, text in parts)} = {wanted} GPUs may not be on spot, and on "
            f"demand there are {named} = {room}; allowed: a larger spotShare, fewer engineReplicas, or more maxNodes",
        )


def engine_images_name_models(shape: Shape) -> Iterator[Problem]:
    names = [model.name for model in shape.models]
    for colour, release in (("blue", shape.release.blue), ("green", shape.release.green)):
        path = f"release.{colour}.engineImages"
        for name, image in release.engine_images.items():
            if name not in names:
                yield Problem(f"{path}.{name}", f"no such model; allowed here: {', '.join(names)}")
            elif shape.protected and not image.startswith("sha256:"):
                yield Problem(f"{path}.{name}", "does not fit protected: true; allowed: a digest, sha256:...")
        kinds = {model.engine for model in shape.models if model.name not in release.engine_images}
        if len(kinds) > 1:
            yield Problem(
                path,
                f"engines of {' and '.join(sorted(kinds))} would share the image {release.engine_image}; allowed: an "
                "image for each model whose engine is another",
            )


def adapters_lie_in_the_bucket(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        for at, adapter in enumerate(model.lora_adapters):
            if adapter.source == WEIGHTS_SCHEME:
                yield Problem(
                    f"models[{index}].loraAdapters[{at}].source",
                    f"{adapter.source!r} names the whole bucket; allowed: {WEIGHTS_SCHEME}<prefix>",
                )


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


ENGINE_RULES = (
    the_gpu_exists,
    the_gpu_can_compute_it,
    the_weights_fit,
    parallel_sizes_divide,
    engines_can_do_it,
    memory_holds_the_shared_part,
    engines_end_in_their_time,
    spot_has_a_pool,
    the_floor_fits_on_demand,
    engine_images_name_models,
    adapters_lie_in_the_bucket,
)
