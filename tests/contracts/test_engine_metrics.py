"""The simulated engine's `/metrics` against the recorded page: families, help texts, types, labels, bucket edges."""

from __future__ import annotations

import asyncio
import re

from prometheus_client.parser import text_string_to_metric_families

ROUTES_COUNTED = "http_"


def lines_without_values(page: str) -> list[str]:
    """Comment lines whole, series without their values; the cache config's label values depend on the machine."""
    return [line if line.startswith("#") else _series(line) for line in page.splitlines()]


def _series(line: str) -> str:
    name = line.rsplit(" ", 1)[0]
    return re.sub(r'"[^"]*"', '""', name) if name.startswith(("vllm:cache_config_info", "python_info")) else name


async def page_after_the_recorded_requests(engine, replays) -> str:
    """The recorded engine had answered these: its models twice, eight generations, five errors and three others."""
    names = [name for name in replays if name not in ("version", "health")]
    await engine.call(*replays["models"])
    for name in sorted(names, key=lambda name: name != "models"):
        await engine.call(*replays[name])
    return (await engine.call("GET", "/metrics")).body.decode()


async def test_the_page_has_the_series_of_the_recording(start_engine, engine_replays, engine_recordings) -> None:
    engine = await start_engine()
    page = await page_after_the_recorded_requests(engine, engine_replays)
    recorded = (engine_recordings / "metrics.txt").read_text()
    real, ours = lines_without_values(recorded), lines_without_values(page)
    own = [line for line in ours if not line.startswith(ROUTES_COUNTED)]
    assert own == [line for line in real if not line.startswith(ROUTES_COUNTED)]
    # Series of the HTTP families come in the order of the first requests, which the recording does not tell.
    assert sorted(ours) == sorted(real)


async def test_the_counters_have_the_values_of_the_recording(start_engine, engine_replays, engine_recordings) -> None:
    engine = await start_engine("--no-enable-prefix-caching")
    page = await page_after_the_recorded_requests(engine, engine_replays)
    recorded = (engine_recordings / "metrics.txt").read_text()
    exact = (
        "vllm:prompt_tokens_total", "vllm:prompt_tokens_by_source_total", "vllm:generation_tokens_total",
        "vllm:request_success_total", "vllm:request_prompt_tokens_", "vllm:request_generation_tokens_",
        "vllm:request_max_num_generation_tokens_", "vllm:request_params_n_", "vllm:request_params_max_tokens_",
        "vllm:num_requests", "vllm:inter_token_latency_seconds_count", "vllm:time_to_first_token_seconds_count",
        "vllm:iteration_tokens_total_", "vllm:request_prefill_kv_computed_tokens_", "vllm:engine_sleep_state",
    )  # fmt: skip

    def picked(text: str) -> set[str]:
        return {line for line in text.splitlines() if line.startswith(exact) and "_created" not in line}

    assert picked(page) == picked(recorded)
    counted = {line for line in recorded.splitlines() if line.startswith("http_requests_total")}
    assert {line for line in page.splitlines() if line.startswith("http_requests_total")} == counted


async def test_the_page_can_be_parsed_by_prometheus(start_engine) -> None:
    engine = await start_engine()
    await engine.chat(max_tokens=3)
    reply = await engine.call("GET", "/metrics")
    assert ("content-type", "text/plain; version=0.0.4; charset=utf-8") in reply.headers
    families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    assert families["vllm:time_to_first_token_seconds"].type == "histogram"
    assert families["vllm:generation_tokens"].samples[0].value == 3


async def test_gauges_move_while_requests_run_and_wait(start_engine) -> None:
    engine = await start_engine("--max-num-seqs", "1", decode_tokens_per_second=100.0)
    labels = '{engine="0",model_name="tiny"}'
    long = {"max_tokens": 1000, "ignore_eos": True, "stream": True}
    opened = [
        await engine.open("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "go"}], **long})
    ]
    opened.append(await engine.open("POST", "/v1/completions", {"prompt": "wait for me", **long}))
    await opened[0][0].readuntil(b'"content":"')
    await opened[1][0].readuntil(b"\r\n\r\n")
    assert await engine.metric(f"vllm:num_requests_running{labels}") == 1
    assert await engine.metric(f"vllm:num_requests_waiting{labels}") == 1
    assert 0 < await engine.metric(f"vllm:kv_cache_usage_perc{labels}") < 1
    for _, writer in opened:
        writer.close()
    for _ in range(100):
        if await engine.metric(f"vllm:num_requests_running{labels}") == 0:
            break
        await asyncio.sleep(0.01)
    aborted = '{engine="0",finished_reason="abort",model_name="tiny"}'
    assert await engine.metric(f"vllm:request_success_total{aborted}") == 2, "a client that leaves aborts its request"
    assert await engine.metric(f"vllm:kv_cache_usage_perc{labels}") == 0


async def test_a_repeated_prompt_hits_the_prefix_cache(start_engine) -> None:
    engine = await start_engine()
    labels = '{engine="0",model_name="tiny"}'
    words = " ".join(["the reservoir feeds the turbine"] * 20)
    for _ in range(2):
        await engine.call("POST", "/v1/completions", {"model": "tiny", "prompt": words, "max_tokens": 2})
    assert await engine.metric(f"vllm:prefix_cache_queries_total{labels}") == 200
    assert await engine.metric(f"vllm:prefix_cache_hits_total{labels}") == 96, "six full blocks of 16 tokens"
    assert await engine.metric(f"vllm:prompt_tokens_cached_total{labels}") == 96
