"""Rules on what scales: models' engines and the workers of jobs."""

from __future__ import annotations

from collections.abc import Iterator

from infra.settings.errors import Problem
from infra.settings.model import Shape

FIRST_KEDA = (2, 20, 0)


def scaling_has_what_it_needs(shape: Shape) -> Iterator[Problem]:
    for index, model in enumerate(shape.models):
        scaling, path = model.scaling, f"models[{index}].scaling"
        if scaling is None:
            continue
        yield from _needs_keda(shape, path)
        for colour, release in (("blue", shape.release.blue), ("green", shape.release.green)):
            floor = release.engine_replicas.get(model.name, 0)
            if floor > scaling.max_replicas:
                yield Problem(
                    f"{path}.maxReplicas",
                    f"{scaling.max_replicas} is below release.{colour}.engineReplicas.{model.name}, the floor; "
                    f"allowed: {floor} or more",
                )
        if scaling.to_zero and (model.queue is None or not model.queue.from_zero):
            yield Problem(
                f"{path}.toZero",
                "true would answer 503 while there is no engine; allowed: false, or a queue with fromZero: true",
            )
        if scaling.to_zero and model.spot_share not in (None, 100):
            yield Problem(
                f"{path}.toZero",
                f"true has no floor, and spotShare {model.spot_share} keeps one on demand; allowed: false, or "
                "spotShare null or 100",
            )


def workers_have_room_to_scale(shape: Shape) -> Iterator[Problem]:
    scaling = shape.jobs.scaling
    if scaling is None or not shape.jobs.enabled:
        return
    yield from _needs_keda(shape, "jobs.scaling")
    if scaling.max_workers < shape.jobs.workers:
        yield Problem(
            "jobs.scaling.maxWorkers",
            f"{scaling.max_workers} is below jobs.workers, the floor; allowed: {shape.jobs.workers} or more",
        )


def _needs_keda(shape: Shape, path: str) -> Iterator[Problem]:
    keda = shape.controllers.keda
    if not keda.enabled:
        yield Problem(path, "needs KEDA; allowed: null, or controllers.keda.enabled: true")
    if tuple(map(int, keda.version.split("."))) < FIRST_KEDA:
        yield Problem(
            "controllers.keda.version",
            f"{keda.version} adds up the metrics of all services of the namespace; allowed beside {path}: "
            f"{'.'.join(map(str, FIRST_KEDA))} or newer",
        )


SCALING_RULES = (scaling_has_what_it_needs, workers_have_room_to_scale)
