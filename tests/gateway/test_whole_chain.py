"""One alias with everything that may stand behind it: each answers when all before it have failed, and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.gateway.choose import Sighting
from tests.gateway.chain_cases import CANNED, SMART, Last, model
from tests.gateway.harness import CHAT, Engine, chat_reply, fails, make_config, running
from tests.gateway.lying_providers import KEY_TEXT, says


def sighting(engine: Engine) -> Sighting:
    place = f"127.0.0.1:{engine.port}"
    return Sighting(place, place, "127.0.0.1", engine.port, "", ready=True, draining=False)


async def test_each_part_of_a_chain_answers_once_all_before_it_have_failed(tmp_path: Path):
    key, knowledge = tmp_path / "key", tmp_path / "knowledge.json"
    key.write_text(KEY_TEXT)
    knowledge.write_text(json.dumps({"entries": [{"phrases": ["hello"], "answer": "From the file."}]}))
    first, second, other_pool, small, outer = engines = [Engine() for _ in range(5)]
    for engine in engines:
        await engine.start()
    provider = {
        "name": "out",
        "kind": "compatible",
        "base_url": f"http://127.0.0.1:{outer.port}/v1",
        "key_file": str(key),
    }
    outside = {"name": "outer", "provider": "out", "upstream": "vendor-1", "context_tokens": 9000}
    route = {"name": "smart", "to": "tiny", "fallback": ["tiny-spot", "small-model", "outer"]}
    config = make_config(
        models=[model("tiny"), model("tiny-spot"), model("small-model")],
        providers=[provider],
        outside_models=[outside | {"max_output_tokens": 1000}],
        routing={
            "routes": [route | {"cached": True, "knowledge": True, "canned": "sorry"}],
            "templates": CANNED,
            "knowledge_file": str(knowledge),
            "breaker": {"least_calls": 1000},
        },
        retries={"budget_ratio": 1.0},
    )
    try:
        outer.answer = says(chat_reply())
        async with running(first, second, config=config) as gateway:
            gateway.service.update_engines("tiny-spot", [sighting(other_pool)])
            gateway.service.update_engines("small-model", [sighting(small)])
            gateway.service.last_answers = Last(json.dumps(chat_reply()).encode())

            async def answered_by(body: dict[str, Any] = SMART) -> str:
                reply = await gateway.ask(body)
                assert reply.status == 200
                return reply.headers.get("x-penstock-fallback", reply.headers["x-penstock-model"]).partition("; after")[
                    0
                ]

            assert await answered_by() == "tiny"
            first.answer = fails(500)
            told = "tiny"
            while told == "tiny":  # another engine of it, once the failed one is the first to be asked
                told = await answered_by()
            assert told == "engine; to=tiny"
            second.answer = fails(500)
            assert await answered_by() == "model; to=tiny-spot"
            other_pool.answer = fails(500)
            assert await answered_by() == "model; to=small-model"
            small.answer = fails(500)
            assert await answered_by() == "outside; to=outer"
            outer.answer = fails(500)
            assert await answered_by() == "cache; to=cache"
            gateway.service.last_answers = Last(None)
            assert await answered_by() == "knowledge; to=knowledge"
            unheard: dict[str, Any] = CHAT | {"model": "smart", "messages": [{"role": "user", "content": "unheard of"}]}
            assert await answered_by(unheard) == "canned; to=canned"
    finally:
        for engine in engines:
            await engine.stop()
