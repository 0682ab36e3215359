"""Engines that KEDA brings up, for which no update waits: how long they may take, and the request that wakes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from infra.ops.endpoint import Endpoint
from infra.ops.errors import PenstockError, RefusedError
from infra.ops.release.probe import Answer, ask
from infra.settings import Settings
from infra.settings.served import Model
from infra.settings.starting import limit_seconds

READY_SECONDS = 120.0
"""From the end of an update, which has waited for the pods that are its own, until the load balancer finds the gateways
healthy."""
PLACE_SECONDS = 600.0
"""For a new node and the image's pull, as the Deployments' progress deadline has it (components/manifests.py)."""
READ_SECONDS = 60.0
AGAIN_SECONDS = 2.0
BUSY = 429


def start_seconds(settings: Settings, model: Model) -> float:
    """The longest that an engine may take from the wish for it to its first answer."""
    process = limit_seconds(settings.probes.engine_startup_seconds, model.weights_gib, streamed=model.streamed)
    return PLACE_SECONDS + process


def ready_seconds(settings: Settings, colour: str) -> float:
    """How long a colour is waited for after its update."""
    ours = [model for model in _up(settings, colour) if model.scaling is not None and not model.may_sleep]
    return READY_SECONDS + max((start_seconds(settings, model) for model in ours), default=0.0)


def sleepers(settings: Settings, colour: str) -> dict[str, float]:
    """The models that may have no engine while nobody asks, with the seconds that the first answer may take."""
    return {model.name: start_seconds(settings, model) for model in _up(settings, colour) if model.may_sleep}


def held_seconds(settings: Settings) -> float:
    """How long an answer is waited for: a gateway's queue holds a request for so long, and then an engine works."""
    waits = [model.queue.max_wait_seconds for model in settings.models if model.queue is not None]
    return READ_SECONDS + float(max(waits, default=0.0))


def _up(settings: Settings, colour: str) -> list[Model]:
    replicas = (settings.release.blue if colour == "blue" else settings.release.green).engine_replicas
    return [model for model in settings.models if replicas.get(model.name)]


def wake(
    endpoint: Endpoint,
    secret: str,
    colour: str,
    models: Mapping[str, float],
    embedders: Collection[str],
    *,
    held: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, float]:
    """Asks each model once, and again until it answers: seconds by model. `models`: the most that each may take.

    The first request waits in the colour's gateways, where it is the demand that KEDA brings an engine for. Raises
    RefusedError for an answer that time does not change, PenstockError where there was none in time.
    """

    def first_answer(model: str) -> float:
        began = clock()
        while True:
            answer = ask(endpoint, secret, colour, model, False, model in embedders, held)
            took = clock() - began
            if not answer.failure:
                return took
            if _lasting(answer):
                raise RefusedError(f"{model} of {colour} was to be woken: {answer.failure}", "It gets no traffic.")
            if took >= models[model]:
                raise PenstockError(
                    f"{model} of {colour} had no engine within {models[model]:.0f} s of its first request: "
                    f"{answer.failure}",
                    "It gets no traffic. See `penstock status`, and the events of its ScaledObject.",
                )
            sleep(AGAIN_SECONDS)

    if not models:
        return {}
    with ThreadPoolExecutor(len(models), "wake") as pool:
        return dict(zip(models, pool.map(first_answer, models), strict=True))


def _lasting(answer: Answer) -> bool:
    """Whether the same answer would come again: all but a gateway that is busy, or has no engine yet."""
    return answer.status is not None and answer.status < 500 and answer.status != BUSY
