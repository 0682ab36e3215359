"""How many engines a demand needs, and KEDA's ScaledObject that keeps them, as plain data. Pure functions.

Demand is what waits in the gateways' queues and what runs at engines, as the gateways of a colour count it themselves
(`penstock_demand`). Nothing else knows of requests that found no engine, so nothing else can bring back the first one.
KEDA asks each gateway behind the colour's service and adds up. No Prometheus stands in between: the platform's
`watch.prometheus` is an address to write to, it may be absent, and a scrape would add half a minute to every decision.
"""

import math
from collections.abc import Sequence

import pulumi

from components.engine_manifests import Part
from components.engines.shape import EngineShape, ScalingShape
from components.manifests import GATEWAY_PORT, labels
from components.pods import Manifest

METRIC = "penstock_demand"
PAUSED_AT = "autoscaling.keda.sh/paused-replicas"
"""Annotation: KEDA brings the target to this number and keeps it there."""
POLL_SECONDS = 5
"""How soon the first request of a model without engines is seen. Beyond the first engine Kubernetes asks every 15 s."""
TIMEOUT_MILLISECONDS = "3000"
FAILURES_BEFORE_FALLBACK = 3
UP_PODS, UP_SECONDS = 4, 60
DOWN_PODS, DOWN_SECONDS = 1, 60


def replicas_for(demand: float, target: int, floor: int, ceiling: int, *, to_zero: bool = False) -> int:
    """Engines for so many requests: one for each `target` begun, never under `floor` or over `ceiling`.

    What KEDA and Kubernetes' autoscaler make of the object below, without its tolerance and delays. Engines that still
    start count as engines, so a long start does not bring more and more of them.
    """
    if to_zero and demand <= 0:
        return 0
    return max(floor, min(ceiling, math.ceil(demand / target)))


def beyond_floor(demand: float, target: int, floor: int) -> float:
    """Demand that the engines of a floor of their own leave to the others."""
    return max(0.0, demand - floor * target)


def room(engine: EngineShape, part: Part) -> tuple[int, int]:
    """The fewest and the most pods of the part that scales. Raises KeyError for a model that does not."""
    return part.replicas, engine["scaling"]["max_replicas"] - (engine["replicas"] - part.replicas)


def scaled_object(engine: EngineShape, part: Part, *, namespace: pulumi.Input[str], colour: str) -> Manifest | None:
    """None for what does not scale: a floor of its own, or a part that may have no pod.

    A colour that is down has it too, and is held at zero by it. So the number of pods is KEDA's alone, from the first
    update to the last: it brings a colour up to its floor and takes it down, and no update of the program undoes that.
    """
    if not part.scaled or "scaling" not in engine:
        return None
    scaling = engine["scaling"]
    fewest, most = room(engine, part)
    if most < 1:
        return None
    target = scaling["target_per_replica"]
    kept = (engine["replicas"] - part.replicas) * target
    names = [engine["model"], *(each["name"] for each in engine["lora_adapters"])]
    down = {} if engine["replicas"] else {"annotations": {PAUSED_AT: "0"}}
    floor = {"minReplicaCount": fewest} | ({"idleReplicaCount": 0} if scaling["to_zero"] and fewest else {})
    return {
        "metadata": {
            "name": part.name,
            "namespace": namespace,
            "labels": labels("engine", colour, engine["model"]),
            **down,
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": part.name},
            "pollingInterval": POLL_SECONDS,
            "cooldownPeriod": scaling["cooldown_seconds"],
            **floor,
            "maxReplicaCount": most,
            # Gateways that do not answer are no reason to take engines away.
            "fallback": {
                "failureThreshold": FAILURES_BEFORE_FALLBACK,
                "replicas": fewest,
                "behavior": "currentReplicasIfHigher",
            },
            "advanced": {
                "restoreToOriginalReplicaCount": False,
                "horizontalPodAutoscalerConfig": {"name": part.name, "behavior": _behaviour(scaling)},
                **_modifiers(names, kept, target),
            },
            "triggers": [_trigger(index, name, namespace, colour, target) for index, name in enumerate(names)],
        },
    }


def _trigger(index: int, model: str, namespace: pulumi.Input[str], colour: str, target: int) -> Manifest:
    return {
        "type": "metrics-api",
        "name": f"demand{index}",
        "metricType": "AverageValue",
        "metadata": {
            # KEDA takes service and namespace from the first two labels of the host, with the port of the third.
            "url": address(f"gateway-{colour}", namespace, GATEWAY_PORT),
            "format": "prometheus",
            "valueLocation": f'{METRIC}{{model="{model}"}}',
            "targetValue": str(target),
            "activationTargetValue": "0",
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
            "timeout": TIMEOUT_MILLISECONDS,
        },
    }


def address(service: str, namespace: pulumi.Input[str], port: int) -> pulumi.Input[str]:
    """Where KEDA finds the metrics of all pods behind a service."""
    before, behind = f"http://{service}.", f".svc:{port}/metrics"
    if isinstance(namespace, str):
        return f"{before}{namespace}{behind}"
    return pulumi.Output.concat(before, namespace, behind)


def _modifiers(names: Sequence[str], kept: int, target: int) -> Manifest:
    """Several names of one engine are one demand, and a floor of its own takes its part of it first."""
    if len(names) == 1 and not kept:
        return {}
    total = " + ".join(f"demand{index}" for index in range(len(names)))
    formula = f"({total}) > {kept} ? ({total}) - {kept} : 0" if kept else total
    return {"scalingModifiers": {"formula": formula, "target": str(target), "activationTarget": "0"}}


def _behaviour(scaling: ScalingShape) -> Manifest:
    """Up at once, by doubling or four at a time; down one a minute, after the most demand of a while."""
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": UP_SECONDS},
                {"type": "Pods", "value": UP_PODS, "periodSeconds": UP_SECONDS},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": scaling["stabilisation_seconds"],
            "policies": [{"type": "Pods", "value": DOWN_PODS, "periodSeconds": DOWN_SECONDS}],
        },
    }
