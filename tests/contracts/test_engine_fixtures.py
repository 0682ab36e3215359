"""The simulated engine answers like the recorded vLLM 0.32: status, headers, keys and their order, framing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

GENERATIONS = [
    "chat", "chat-stream", "chat-stream-usage", "chat-continue-final", "completion", "completion-stream", "responses",
    "messages-anthropic",
]  # fmt: skip
STREAMS = ["chat-stream", "chat-stream-usage", "completion-stream"]
PLAIN = ["models", "version", "health", "tokenize", "embeddings"]
ERRORS = ["error-bad-json", "error-bad-temperature", "error-no-messages", "error-too-long", "error-unknown-model"]

FREE_TEXT = {"content", "text"}
"""What a model says; everything else is the engine's own."""

MOMENTS = {"created", "created_at"}
IDENTIFIER = re.compile(r"((?:chatcmpl-|cmpl-|resp_|msg_|modelperm-)?)[0-9a-f]{16}")
FINGERPRINT = re.compile(r"vllm-0\.32\.0-[0-9a-f]{8}")


def recording(folder: Path, name: str) -> tuple[int, list[tuple[str, str]], bytes]:
    head, _, body = (folder / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(key, value) for key, _, value in (line.partition(": ") for line in lines)]
    return int(first.split(" ")[1]), headers, body


def assert_same_form(real: Any, ours: Any, where: str = "body") -> None:
    """Same keys in the same order, same types, same values, but for texts, moments and identifiers."""
    key = where.rsplit(".", 1)[-1]
    assert type(ours) is type(real), f"{where} must be a {type(real).__name__}, not {ours!r}"
    if isinstance(real, dict):
        assert list(ours) == list(real), f"{where} must have the keys of the recording, in its order"
        for name, value in real.items():
            assert_same_form(value, ours[name], f"{where}.{name}")
    elif isinstance(real, list):
        assert len(ours) == len(real), f"{where} must be as long as the recorded list"
        for index, value in enumerate(real):
            assert_same_form(value, ours[index], f"{where}.{index}")
    elif key == "system_fingerprint":
        assert FINGERPRINT.fullmatch(ours), where
    elif key in MOMENTS or (key in FREE_TEXT and "error" not in where):
        return
    elif isinstance(real, str) and (match := IDENTIFIER.fullmatch(real)):
        same = IDENTIFIER.fullmatch(ours)
        assert same, f"{where} must look like {real}"
        assert same[1] == match[1], f"{where} must begin like {real}"
    else:
        assert ours == real, where


@pytest.mark.parametrize("name", GENERATIONS + PLAIN + ERRORS)
async def test_a_reply_has_the_status_and_headers_of_the_recording(
    name: str, start_engine, engine_replays, engine_recordings
) -> None:
    engine = await start_engine()
    status, headers, _ = recording(engine_recordings, name)
    reply = await engine.call(*engine_replays[name])
    assert reply.status == status
    # The recordings were made on connections that stayed open.
    ours = [header for header in reply.headers if header[0] != "connection"]
    assert [key for key, _ in ours] == [key for key, _ in headers]
    varying = {"date", "content-length"}
    assert [pair for pair in ours if pair[0] not in varying] == [pair for pair in headers if pair[0] not in varying]
    lengths = [int(value) for key, value in ours if key == "content-length"]
    assert lengths in ([], [len(reply.body)])


@pytest.mark.parametrize("name", [*[name for name in GENERATIONS if name not in STREAMS], *PLAIN, *ERRORS])
async def test_a_json_body_has_the_form_of_the_recording(
    name: str, start_engine, engine_replays, engine_recordings
) -> None:
    engine = await start_engine()
    _, _, body = recording(engine_recordings, name)
    reply = await engine.call(*engine_replays[name])
    if not body:
        assert reply.body == b""
        return
    assert_same_form(json.loads(body), reply.json())
    assert reply.body == json.dumps(reply.json(), ensure_ascii=False, separators=(",", ":")).encode(), "compact JSON"


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_has_the_events_of_the_recording(
    name: str, start_engine, engine_replays, engine_recordings
) -> None:
    engine = await start_engine()
    _, _, body = recording(engine_recordings, name)
    real = [json.loads(frame[6:]) for frame in body.decode().split("\n\n")[:-2]]
    reply = await engine.call(*engine_replays[name])
    assert reply.chunks == [frame + b"\n\n" for frame in reply.body.split(b"\n\n")[:-1]], "each event is a chunk"
    ours = reply.events()
    assert len(ours) == len(real)
    for index, (expected, event) in enumerate(zip(real, ours, strict=True)):
        assert_same_form(expected, event, f"event{index}")
    assert len({event["id"] for event in ours}) == 1


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_says_what_vllm_says(name: str, start_engine, engine_replays, engine_recordings) -> None:
    engine = await start_engine()
    _, _, body = recording(engine_recordings, name)
    assert (await engine.call(*engine_replays[name])).body == body


async def test_every_recorded_route_is_in_the_schema_and_answers(start_engine, engine_recordings) -> None:
    engine = await start_engine()
    recorded = (engine_recordings / "routes.txt").read_text().split()
    paths = (await engine.call("GET", "/openapi.json")).json()["paths"]
    assert sorted(paths) == sorted(recorded)
    for path in recorded:
        for method in paths[path]:
            body = None if method == "get" else {}
            reply = await engine.call(method.upper(), path.replace("{response_id}", "resp_1"), body)
            assert reply.body != b'{"detail":"Not Found"}', path
            assert reply.status < 500, path


async def test_routes_that_scale_out_would_open_are_forbidden(start_engine) -> None:
    engine = await start_engine()
    for path in ("/v1/chat/completions/render", "/v1/completions/derender", "/inference/v1/generate"):
        reply = await engine.call("POST", path, {})
        assert reply.status == 403
        assert reply.json()["error"]["type"] == "PermissionDeniedError"


async def test_a_wrong_method_is_refused_as_fastapi_refuses_it(start_engine) -> None:
    engine = await start_engine()
    reply = await engine.call("GET", "/v1/chat/completions")
    assert (reply.status, reply.body) == (405, b'{"detail":"Method Not Allowed"}')
    assert ("allow", "POST") in reply.headers
