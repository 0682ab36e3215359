"""What clients and gateways meet in the simulated engine besides the plain answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.engine.flags import EngineFlags
from app.engine.settings import SimulatorSettings

QUESTION = [{"role": "user", "content": "Why do spot nodes need a drain?"}]


async def test_a_stream_and_a_json_reply_hold_the_same_text(start_engine) -> None:
    engine = await start_engine()
    whole = await engine.chat(messages=QUESTION, temperature=0)
    stream = await engine.chat(messages=QUESTION, temperature=0, stream=True)
    message = whole.json()["choices"][0]
    assert message["finish_reason"] == "stop"
    assert stream.text() == message["message"]["content"]
    assert "≈" in stream.text(), "a character of several bytes comes whole"
    events = stream.events()
    assert sum(event["choices"][0]["delta"] == {"content": ""} for event in events) >= 3, "parts of it are empty events"
    assert len(events) == 1 + whole.json()["usage"]["completion_tokens"], "one event a token and one for the role"


async def test_a_broken_answer_is_continued_by_another_engine(start_engine) -> None:
    one, two = await start_engine(), await start_engine()
    whole = (await one.chat(messages=QUESTION, temperature=0)).json()["choices"][0]["message"]["content"]
    for cut in (1, 40, 200, len(whole) - 5):
        messages = [*QUESTION, {"role": "assistant", "content": whole[:cut]}]
        asked = {"continue_final_message": True, "add_generation_prompt": False}
        rest = await two.chat(messages=messages, temperature=0, stream=True, **asked)
        assert whole[:cut] + rest.text() == whole


async def test_the_count_of_tokens_is_the_tokenizer_s(start_engine) -> None:
    engine = await start_engine()
    reply = (await engine.chat(messages=QUESTION, temperature=0)).json()
    asked = (await engine.call("POST", "/tokenize", {"model": "tiny", "messages": QUESTION})).json()
    assert asked["count"] == reply["usage"]["prompt_tokens"]
    text = reply["choices"][0]["message"]["content"]
    answered = (await engine.call("POST", "/tokenize", {"model": "tiny", "prompt": text})).json()
    assert answered["count"] + 1 == reply["usage"]["completion_tokens"], "the end of the answer is a token too"
    back = await engine.call("POST", "/detokenize", {"model": "tiny", "tokens": answered["tokens"]})
    assert back.json() == {"prompt": text}


async def test_only_paths_under_v1_need_the_key(start_engine) -> None:
    engine = await start_engine("--api-key", "sesame")
    refused = await engine.call("GET", "/v1/models")
    assert (refused.status, refused.body) == (401, b'{"error":"Unauthorized"}')
    for header in ("Bearer wrong", "sesame", "Basic sesame"):
        assert (await engine.call("GET", "/v1/models", headers={"authorization": header})).status == 401
    assert (await engine.call("GET", "/v1/models", headers={"authorization": "Bearer sesame"})).status == 200
    for path in ("/health", "/metrics", "/ping", "/version"):
        assert (await engine.call("GET", path)).status == 200


async def test_a_full_queue_is_refused_before_any_byte(start_engine) -> None:
    engine = await start_engine("--max-num-queued-reqs", "1", decode_tokens_per_second=50.0)
    asked = {"model": "tiny", "messages": QUESTION, "stream": True, "ignore_eos": True, "max_tokens": 500}
    reader, writer = await engine.open("POST", "/v1/chat/completions", asked)
    await reader.readuntil(b"\r\n\r\n")
    reply = await engine.chat()
    writer.close()
    assert reply.status == 503
    assert reply.json()["error"]["type"] == "Service Unavailable"
    assert reply.json()["error"]["message"].endswith("on a different instance.")
    labels = '{model_name="tiny",reason="max_num_queued_reqs"}'
    assert await engine.metric(f"vllm:admission_rejections_total{labels}") == 1


async def test_a_backlog_of_prompt_tokens_is_refused(start_engine) -> None:
    engine = await start_engine("--max-num-queued-tokens", "10", prefill_tokens_per_second=20.0)
    reader, writer = await engine.open("POST", "/v1/completions", {"prompt": "the water " * 10, "stream": True})
    await reader.readuntil(b"\r\n\r\n")
    assert (await engine.chat()).status == 503
    writer.close()


async def test_a_stop_string_ends_the_answer_and_is_not_shown(start_engine) -> None:
    engine = await start_engine()
    whole = (await engine.chat(messages=QUESTION, temperature=0)).json()["choices"][0]["message"]["content"]
    stop = whole.split()[5]
    for stream in (False, True):
        reply = await engine.chat(messages=QUESTION, temperature=0, stop=[stop, "never said"], stream=stream)
        if stream:
            text, choice = reply.text(), reply.events()[-1]["choices"][0]
        else:
            choice = reply.json()["choices"][0]
            text = choice["message"]["content"]
        assert text == whole[: whole.index(stop)]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)
    shown = await engine.chat(messages=QUESTION, temperature=0, stop=stop, include_stop_str_in_output=True)
    assert shown.json()["choices"][0]["message"]["content"].endswith(stop)
    assert not engine.server.jobs
    assert not engine.server.scheduler.running


async def test_several_answers_to_one_prompt_differ_and_are_repeated_by_a_seed(start_engine) -> None:
    engine = await start_engine()
    asked = {"n": 3, "seed": 5, "messages": [{"role": "user", "content": "Say something"}]}
    one, two = (await engine.chat(**asked)).json(), (await engine.chat(**asked)).json()
    texts = [choice["message"]["content"] for choice in one["choices"]]
    assert [choice["index"] for choice in one["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert [choice["message"]["content"] for choice in two["choices"]] == texts
    stream = (await engine.chat(**asked, stream=True)).events()
    for index, text in enumerate(texts):
        mine = [event["choices"][0] for event in stream if event["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in mine) == text
    assert sum("system_fingerprint" in event for event in stream) == 1


async def test_usage_comes_only_where_it_is_asked_for(start_engine) -> None:
    engine = await start_engine()
    plain = (await engine.chat(max_tokens=4, stream=True)).events()
    assert all("usage" not in event for event in plain)
    options = {"include_usage": True, "continuous_usage_stats": True}
    counted = (await engine.chat(max_tokens=4, stream=True, stream_options=options)).events()
    assert [event["usage"]["completion_tokens"] for event in counted] == [0, 1, 2, 3, 4, 4]
    forced = await start_engine("--enable-force-include-usage")
    events = (await forced.chat(max_tokens=4, stream=True)).events()
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 4


async def test_json_mode_gives_json(start_engine) -> None:
    engine = await start_engine()
    reply = (await engine.chat(response_format={"type": "json_object"})).json()
    assert isinstance(json.loads(reply["choices"][0]["message"]["content"]), dict)
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    stream = await engine.chat(response_format=asked, stream=True)
    assert json.loads(stream.text()) == {"city": "steady"}


async def test_a_required_tool_is_called(start_engine) -> None:
    engine = await start_engine()
    function = {"name": "open_valve", "parameters": {"type": "object", "properties": {"degree": {"type": "integer"}}}}
    asked = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    (choice,) = (await engine.chat(**asked)).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "open_valve", "arguments": '{"degree": 1}'}
    events = (await engine.chat(**asked, stream=True)).events()
    assert events[-1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "open_valve"


async def test_log_probabilities_have_their_form(start_engine) -> None:
    engine = await start_engine()
    (choice,) = (await engine.chat(max_tokens=3, logprobs=True, top_logprobs=1)).json()["choices"]
    assert [len(entry["top_logprobs"]) for entry in choice["logprobs"]["content"]] == [1, 1, 1]
    asked = {"model": "tiny", "prompt": "hello", "max_tokens": 3, "logprobs": 1}
    (plain,) = (await engine.call("POST", "/v1/completions", asked)).json()["choices"]
    assert len(plain["logprobs"]["tokens"]) == 3


async def test_several_prompts_are_answered_in_order(start_engine) -> None:
    engine = await start_engine()
    asked = {"model": "tiny", "prompt": ["hello", "world", "zone"], "max_tokens": 3, "echo": True}
    reply = (await engine.call("POST", "/v1/completions", asked)).json()
    assert [choice["text"].split()[0].rstrip(",") for choice in reply["choices"]] == ["hello", "world", "zone"]
    assert reply["usage"]["completion_tokens"] == 9
    batch = {"model": "tiny", "messages": [QUESTION, QUESTION], "max_tokens": 2}
    assert len((await engine.call("POST", "/v1/chat/completions/batch", batch)).json()["choices"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"add_generation_prompt": True, "continue_final_message": True}, 400, "body"),
        ({"continue_final_message": True}, 400, "body"),
        ({"top_p": 0}, 400, "top_p"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": "many"}, 400, "body.max_tokens"),
        ({"max_completion_tokens": 5000}, 400, "max_completion_tokens"),
        ({"min_tokens": 9, "max_tokens": 8}, 400, "min_tokens"),
        ({"stream_options": {"include_usage": True}}, 400, "body"),
        ({"messages": "hello"}, 400, "body.messages"),
        ({"messages": [{"role": "user", "content": "water " * 2100}]}, 400, "input_tokens"),
        ({"max_tokens": 2047}, 400, "input_tokens"),
        ({"n": 2, "temperature": 0}, 400, "n"),
        ({"model": 7}, 400, "body.model"),
    ],
)
async def test_a_wrong_parameter_is_refused_by_name(body, status: int, param: str, start_engine) -> None:
    engine = await start_engine()
    reply = await engine.chat(**body)
    assert reply.status == status
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == (param, status)
    assert list(error) == ["message", "type", "param", "code"]


async def test_a_body_of_another_type_is_refused(start_engine) -> None:
    engine = await start_engine()
    headers = {"content-type": "text/plain"}
    reader, writer = await engine.open("POST", "/v1/chat/completions", None, {**headers, "content-length": "2"})
    writer.write(b"{}")
    raw = await reader.read()
    writer.close()
    assert raw.startswith(b"HTTP/1.1 400")
    assert (await engine.call("POST", "/v1/chat/completions", b"[]")).status == 400


async def test_the_other_chat_routes_stream_their_own_events(start_engine) -> None:
    engine = await start_engine()
    asked = {"model": "tiny", "input": "hello", "max_output_tokens": 8, "temperature": 0, "stream": True}
    responses = (await engine.call("POST", "/v1/responses", asked)).body.decode()
    kinds = [line[7:] for line in responses.splitlines() if line.startswith("event: ")]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.output_text.delta") == 8
    assert kinds[-1] == "response.incomplete"
    asked = {"model": "tiny", "messages": QUESTION, "max_tokens": 8, "temperature": 0, "stream": True}
    messages = (await engine.call("POST", "/v1/messages", asked)).body.decode()
    kinds = [line[7:] for line in messages.splitlines() if line.startswith("event: ")]
    assert kinds == ["message_start", "content_block_start"] + ["content_block_delta"] * 8 + [
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    count = await engine.call("POST", "/v1/messages/count_tokens", {"model": "tiny", "messages": QUESTION})
    assert count.json()["input_tokens"] > 10


async def test_aliases_and_adapters_are_served(start_engine) -> None:
    engine = await start_engine("--served-model-name", "tiny", "second", "--lora-modules", "tuned=/adapters/tuned")
    cards = (await engine.call("GET", "/v1/models")).json()["data"]
    assert [(card["id"], card["parent"]) for card in cards] == [("tiny", None), ("second", None), ("tuned", "tiny")]
    assert (await engine.chat(model="second", max_tokens=1)).json()["model"] == "tiny", "replies bear the first name"
    assert (await engine.chat(model="tuned", max_tokens=1)).json()["model"] == "tuned"


async def test_a_request_id_is_used_and_echoed_where_asked(start_engine) -> None:
    engine = await start_engine("--enable-request-id-headers")
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 1}
    reply = await engine.call("POST", "/v1/chat/completions", body | {"stream": True}, {"x-request-id": "abc"})
    assert ("x-request-id", "abc") in reply.headers
    assert reply.events()[0]["id"] == "chatcmpl-abc"


async def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order(start_engine) -> None:
    engine = await start_engine()
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    body = json.dumps({"model": "tiny", "prompt": "hello", "max_tokens": 4}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: e\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write((head % len(body) + body) * 2 + b"GET /version HTTP/1.1\r\nhost: e\r\nconnection: close\r\n\r\n")
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert raw.count(b"HTTP/1.1 200 OK") == 3
    assert raw.index(b"text_completion") < raw.index(b'{"version"')


async def test_garbage_is_refused_and_the_connection_closed(start_engine) -> None:
    engine = await start_engine()
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    writer.write(b"NOT HTTP AT ALL\r\n\r\n")
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert raw.startswith(b"HTTP/1.1 400 Bad Request")


async def test_idle_streams_are_kept_alive_by_comments(start_engine) -> None:
    engine = await start_engine("--sse-keep-alive-interval", "0.05", decode_tokens_per_second=2.0)
    engine.server.keep_alive()
    reply = await engine.chat(max_tokens=1, stream=True, messages=QUESTION)
    assert reply.status == 200
    reply = await engine.chat(max_tokens=2, stream=True, messages=QUESTION)
    assert b": keep-alive\n\n" in reply.chunks


async def test_a_slow_reader_gets_several_tokens_in_one_event(start_engine) -> None:
    engine = await start_engine()
    asked = {"model": "tiny", "messages": QUESTION, "temperature": 0, "stream": True}
    reader, writer = await engine.open("POST", "/v1/chat/completions", asked)
    await reader.readuntil(b"assistant")
    (connection,) = engine.server.connections
    connection.pause_writing()
    await asyncio.sleep(0.02)
    connection.resume_writing()
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    frames = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: {")]
    text = "".join(json.loads(frame)["choices"][0]["delta"].get("content", "") for frame in frames)
    whole = (await engine.chat(messages=QUESTION, temperature=0)).json()
    assert text == whole["choices"][0]["message"]["content"]
    assert len(frames) < whole["usage"]["completion_tokens"]


async def test_injected_errors_come_before_and_within_the_answer(start_engine) -> None:
    broken = await start_engine(error_rate=0.5)
    statuses = [(await broken.chat(max_tokens=1)).status for _ in range(4)]
    assert statuses == [200, 500, 200, 500]
    cut = await start_engine(stream_error_rate=1.0)
    events = (await cut.chat(stream=True, messages=QUESTION)).events()
    assert events[-1]["error"]["type"] == "InternalServerError"
    assert (await cut.chat(messages=QUESTION)).status == 500
    labels = '{engine="0",finished_reason="error",model_name="tiny"}'
    assert await cut.metric(f"vllm:request_success_total{labels}") == 2


async def test_a_hung_engine_stays_healthy_but_silent(start_engine) -> None:
    engine = await start_engine(hang_after_tokens=3)
    reader, writer = await engine.open("POST", "/v1/chat/completions", {"messages": QUESTION, "stream": True})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(), 0.2)
    writer.close()
    assert (await engine.call("GET", "/health")).status == 200


def test_the_default_settings_are_those_of_the_documentation() -> None:
    assert SimulatorSettings().decode_tokens_per_second == 80
    assert EngineFlags().shutdown_timeout == 0


async def test_the_logprobs_of_a_prompt_have_the_shape_of_vllm(start_engine) -> None:
    engine = await start_engine()
    asked = {"model": "tiny", "prompt": "The river rises in the hills.", "max_tokens": 1, "prompt_logprobs": 0}
    answer = (await engine.call("POST", "/v1/completions", asked)).json()
    entries = answer["choices"][0]["prompt_logprobs"]
    assert len(entries) == answer["usage"]["prompt_tokens"]
    assert entries[0] is None, "nothing comes before the first token"
    for entry in entries[1:]:
        (told,) = entry.values()
        assert told.keys() == {"logprob", "rank", "decoded_token"}
        assert told["logprob"] < 0
    chat = (await engine.chat(messages=QUESTION, max_tokens=1, prompt_logprobs=0)).json()
    assert chat["prompt_logprobs"][0] is None, "of a chat they stand beside the choices"
    assert (await engine.chat(messages=QUESTION, max_tokens=1)).json()["prompt_logprobs"] is None
    refused = await engine.call("POST", "/v1/completions", {**asked, "stream": True})
    assert refused.status == 400
