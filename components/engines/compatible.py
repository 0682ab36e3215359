"""Any other server with OpenAI's API: the image's own command, and the arguments that the entry gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.engines.adapter import Drain, Engine, Metrics

if TYPE_CHECKING:
    import pulumi

    from components.engines.shape import EngineShape


def _arguments(engine: EngineShape, shutdown_seconds: int) -> list[pulumi.Input[str]]:
    """Nothing is known of its flags. It must listen at $(POD_IP):8000 and answer GET /v1/models."""
    return [*engine["arguments"]]


COMPATIBLE = Engine(
    kind="openai-compatible",
    command=(),
    arguments=_arguments,
    served_name_flag=None,
    # What its arguments say of them is its own business; the entry's keys are taken as told.
    features=frozenset({"aliases", "prefix_caching", "chunked_prefill", "quantisation", "pipeline"}),
    metrics=Metrics(),
    drain=Drain(),
    live_path="/v1/models",
)
