"""The most output tokens that a request may have, given to engines where it names none."""

from __future__ import annotations

import json

from tests.gateway.harness import (
    CHAT,
    Engine,
    Request,
    Wire,
    well,
)
from tests.gateway.limit_cases import limited


async def test_a_request_without_max_tokens_is_held_to_the_models_ceiling() -> None:
    engine = Engine()
    async with limited(None, engine) as gateway:
        await gateway.ask()
        await gateway.ask(CHAT | {"stream": True, "max_tokens": None})
        await gateway.ask(CHAT | {"max_completion_tokens": 7})
        await gateway.ask({"model": "tiny", "prompt": "x"}, "/v1/completions")
    bodies = [request.body for request in engine.requests]
    assert [body.get("max_tokens") for body in bodies] == [512, 512, None, None]
    assert bodies[1]["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert engine.requests[0].raw == json.dumps(CHAT)[:-1].encode() + b',"max_tokens":512}'


async def test_a_prompt_that_fits_only_without_the_ceiling_is_sent_without_it() -> None:
    async def full(request: Request, wire: Wire) -> None:
        if "max_tokens" in request.body:
            message = "This model's maximum context length is 2048 tokens. However, you requested 512 output tokens."
            error = {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
            await wire.json(400, {"error": error})
        else:
            await well(request, wire)

    engine = Engine(full)
    async with limited(None, engine) as gateway:
        assert (await gateway.ask()).status == 200
        refused = await gateway.ask(CHAT | {"max_tokens": 500})
    assert refused.error["code"] == "context_length_exceeded"
    assert len(engine.requests) == 3
