"""Outside providers behind the gateway: asked as they want to be, and survived when they fail."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.gateway.config import GatewayConfig
from tests.gateway.harness import (
    CHAT,
    DONE,
    Answer,
    Client,
    Engine,
    chat_reply,
    eventually,
    fails,
    hang,
    make_config,
    running,
    well,
)
from tests.gateway.lying_providers import (
    BINARY,
    CONVERSE_FRAMES,
    KEY_TEXT,
    MESSAGE,
    MESSAGE_EVENTS,
    OVERLOADED,
    converse,
    messages,
    says,
    sse,
    streams,
)

OUT = CHAT | {"model": "outer"}
OUT_STREAM = OUT | {"stream": True}
SMART = CHAT | {"model": "smart"}
KEYS = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "not-a-real-secret", "session_token": "a-session"}


def config(engine: Engine, kind: str, path: Path, **changes: Any) -> GatewayConfig:
    """A gateway with its own model `tiny`, one provider at `engine`, and the route `smart` from one to the other."""
    if not path.exists():
        path.write_text(json.dumps(KEYS) if kind == "bedrock" else KEY_TEXT + "\n")
    provider = {
        "name": "out",
        "kind": kind,
        "base_url": f"http://127.0.0.1:{engine.port}" + ("/v1" if kind in ("openai", "compatible") else ""),
        "key_file": str(path),
        **({"region": "eu-central-1"} if kind == "bedrock" else {}),
        **changes.pop("provider", {}),
    }
    outer = {
        "name": "outer",
        "provider": "out",
        "upstream": "vendor.model-1:0",
        "context_tokens": 100_000,
        "max_output_tokens": 1000,
        "input_usd_per_million_tokens": 3.0,
        "output_usd_per_million_tokens": 15.0,
    }
    routing = {"routes": [{"name": "smart", "to": "tiny", "fallback": ["outer"], **changes.pop("route", {})}]}
    more = changes.pop("routing", {})
    return make_config(providers=[provider], outside_models=[outer], routing=routing | more, **changes)


@pytest.fixture
async def outer():
    engine = Engine()
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.parametrize(
    ("kind", "answer", "path", "cost"),
    [
        ("compatible", well, "/v1/chat/completions", (17 * 3 + 8 * 15) / 1e6),
        ("openai", well, "/v1/chat/completions", (17 * 3 + 8 * 15) / 1e6),
        ("anthropic", messages, "/v1/messages", (20 * 3 + 6 * 15) / 1e6),
        ("bedrock", converse, "/model/vendor.model-1%3A0/converse", (12 * 3 + 6 * 15) / 1e6),
    ],
)
async def test_a_provider_is_asked_in_its_own_words_and_paid_at_its_own_price(
    outer: Engine, tmp_path: Path, kind: str, answer: Answer, path: str, cost: float
):
    outer.answer = answer
    async with running(Engine(), config=config(outer, kind, tmp_path / "key")) as gateway:
        reply = await gateway.ask(OUT)
        assert reply.status == 200
        assert reply.json["choices"][0]["message"]["content"] in ("hi", "Hello!")
        assert reply.headers["x-penstock-model"] == "outer"
        request = outer.requests[0]
        assert request.path == path
        if kind == "anthropic":
            assert request.headers["x-api-key"] == KEY_TEXT
            assert request.headers["anthropic-version"] == "2023-06-01"
        elif kind != "bedrock":
            assert request.headers["authorization"] == f"Bearer {KEY_TEXT}"
        if kind != "bedrock":
            assert request.body["model"] == "vendor.model-1:0"
        assert "sk-test" not in str(request.headers), "the client's key goes to nobody"
        line = gateway.requests[0]
        assert (line["model"], line["engine"], line["estimated"]) == ("outer", "provider:out", False)
        assert line["cost_usd"] == pytest.approx(cost)
        assert await gateway.metric('penstock_cost_usd_total{model="outer"}') == pytest.approx(cost)
        assert KEY_TEXT not in str(gateway.log.events)
        assert await gateway.metric('penstock_provider_in_flight{provider="out"}') == 0


@pytest.mark.parametrize(
    ("kind", "answer", "usage"),
    [("compatible", well, (17, 8)), ("anthropic", messages, (20, 15)), ("bedrock", converse, (20, 15))],
)
async def test_streams_come_in_openais_shape_and_are_billed_by_their_usage(
    outer: Engine, tmp_path: Path, kind: str, answer: Answer, usage: tuple[int, int]
):
    outer.answer = answer
    async with running(Engine(), config=config(outer, kind, tmp_path / "key")) as gateway:
        reply = await gateway.ask(OUT_STREAM)
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.events[-1] == DONE
        assert b'"usage"' not in reply.body, "the client did not ask for it"
        chunks = [json.loads(event[6:]) for event in reply.events[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        assert text in ("hello", "Hello!")
        line = gateway.requests[0]
        assert (line["input_tokens"], line["output_tokens"]) == usage
        assert line["ttft_ms"] is not None
        asked = await gateway.ask(OUT_STREAM | {"stream_options": {"include_usage": True}})
        assert b'"usage"' in asked.body


async def test_a_bedrock_request_is_signed_over_what_is_sent(outer: Engine, tmp_path: Path):
    outer.answer = converse
    async with running(Engine(), config=config(outer, "bedrock", tmp_path / "key")) as gateway:
        assert (await gateway.ask(OUT)).status == 200
        request = outer.requests[0]
        given = request.headers["authorization"]
        headers = {"content-type": "application/json", "host": request.headers["host"]}
        again = AWSRequest("POST", f"http://{request.headers['host']}{request.path}", headers=headers, data=request.raw)
        again.context["timestamp"] = request.headers["x-amz-date"]
        again.headers["X-Amz-Date"] = request.headers["x-amz-date"]
        again.headers["X-Amz-Security-Token"] = "a-session"
        signer = SigV4Auth(ReadOnlyCredentials(*KEYS.values()), "bedrock", "eu-central-1")
        text = signer.string_to_sign(again, signer.canonical_request(again))
        assert given.endswith(signer.signature(text, again)), "host, path, time and body are those that went out"


async def test_bedrock_takes_an_api_key_as_well(outer: Engine, tmp_path: Path):
    outer.answer = converse
    (tmp_path / "key").write_text("bedrock-api-key-1")
    async with running(Engine(), config=config(outer, "bedrock", tmp_path / "key")) as gateway:
        assert (await gateway.ask(OUT)).status == 200
        assert outer.requests[0].headers["authorization"] == "Bearer bedrock-api-key-1"


@pytest.mark.parametrize(
    ("kind", "answer", "reason", "body"),
    [
        ("anthropic", says(OVERLOADED, 529), "outside_overloaded", SMART),
        ("anthropic", streams(sse(OVERLOADED)), "outside_overloaded", SMART | {"stream": True}),
        ("anthropic", streams(b"event: x\ndata: {nonsense\n\n"), "status_5xx", SMART | {"stream": True}),
        ("anthropic", says({"type": "message"}), "malformed", SMART),
        ("anthropic", says(MESSAGE | {"content": []}), "empty_output", SMART),
        ("anthropic", says(MESSAGE | {"stop_reason": None}), "cut_output", SMART),
        (
            "anthropic",
            says({"type": "error", "error": {"type": "authentication_error", "message": "x"}}, 401),
            "refused_key",
            SMART,
        ),
        (
            "anthropic",
            says({"type": "error", "error": {"type": "not_found_error", "message": "x"}}, 404),
            "unknown_model",
            SMART,
        ),
        ("anthropic", hang, "first_byte_timeout", SMART | {"stream": True}),
        ("anthropic", hang, "first_byte_timeout", SMART),
        ("bedrock", streams(b"not a frame at all", BINARY), "status_5xx", SMART | {"stream": True}),
        ("bedrock", says({"message": "Too many requests"}, 429), "rate_limited", SMART),
        ("openai", says({"error": {"message": "quota"}}, 429), "rate_limited", SMART),
        ("openai", says("no object"), "malformed", SMART),
        ("openai", fails(500), "status_5xx", SMART),
        ("anthropic", messages, "untranslatable", SMART | {"n": 2}),
    ],
)
async def test_when_a_provider_fails_the_next_model_answers(
    outer: Engine, tmp_path: Path, kind: str, answer: Answer, reason: str, body: dict[str, Any]
):
    outer.answer = answer
    times = {"first_byte_seconds": 0.2, "answer_seconds": 0.2}
    settings = config(outer, kind, tmp_path / "key", provider=times, route={"to": "outer", "fallback": ["tiny"]})
    async with running(Engine(), config=settings) as gateway:
        reply = await gateway.ask(body)
        assert (reply.status, reply.headers["x-penstock-model"]) == (200, "tiny")
        assert reply.headers["x-penstock-fallback"] == f"model; to=tiny; after=outer; reason={reason}"


async def test_the_provider_stands_behind_engines_that_fail(outer: Engine, tmp_path: Path):
    outer.answer = messages
    async with running(Engine(fails(500)), config=config(outer, "anthropic", tmp_path / "key")) as gateway:
        reply = await gateway.ask(SMART | {"stream": True})
        assert reply.headers["x-penstock-fallback"] == "outside; to=outer; after=tiny; reason=status_500"
        assert reply.events[-1] == DONE
        assert outer.requests[0].body["max_tokens"] == 1000, "that API needs one"


async def test_a_stack_without_any_engine_serves_by_a_provider_alone(outer: Engine, tmp_path: Path):
    outer.answer = messages
    settings = config(outer, "anthropic", tmp_path / "key", models=[], routing={"routes": []})
    async with running(config=settings) as gateway:
        assert (await gateway.ask(OUT)).status == 200
        assert (await gateway.get("/readyz")).status == 200


async def test_a_named_wait_is_kept_and_told_and_counts_nothing_against_the_client(outer: Engine, tmp_path: Path):
    outer.answer = says({"error": {"message": "slow down"}}, 429, retry_after="30")
    settings = config(outer, "openai", tmp_path / "key", route={"to": "outer", "fallback": ["tiny"]})
    async with running(Engine(), config=settings) as gateway:
        for _ in range(3):
            assert (await gateway.ask(SMART)).headers["x-penstock-model"] == "tiny"
        assert len(outer.requests) == 1, "it asked to be left alone for half a minute"
        alone = await gateway.ask(OUT)
        assert (alone.status, alone.headers["retry-after"]) == (503, "30")


async def test_a_provider_gets_no_more_requests_at_once_than_set(outer: Engine, tmp_path: Path):
    outer.answer = hang
    settings = config(outer, "openai", tmp_path / "key", provider={"most_requests": 1})
    async with running(Engine(), config=settings) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(OUT))
        await eventually(lambda: len(outer.requests) == 1)
        reply = await gateway.ask(OUT)
        assert (reply.status, reply.error["code"]) == (503, "overloaded")
        assert len(outer.requests) == 1
        client.close()
        outer.answer = well
        await eventually(lambda: gateway.service.outside["outer"].in_flight == 0)
        assert (await gateway.ask(OUT)).status == 200


async def test_a_stream_that_a_provider_cuts_ends_with_an_event_and_is_billed_for_what_came(
    outer: Engine, tmp_path: Path
):
    outer.answer = streams(sse(*MESSAGE_EVENTS[:4]), cut=True)
    async with running(Engine(), config=config(outer, "anthropic", tmp_path / "key")) as gateway:
        reply = await gateway.ask(OUT_STREAM)
        assert b"upstream_interrupted" in reply.body
        assert DONE not in reply.body
        line = gateway.requests[0]
        assert line["estimated"]
        assert line["output_tokens"] >= 1
    outer.answer = streams(b"".join(CONVERSE_FRAMES[:3]), BINARY)
    async with running(Engine(), config=config(outer, "bedrock", tmp_path / "other")) as gateway:
        assert b"upstream_interrupted" in (await gateway.ask(OUT_STREAM)).body


async def test_a_client_that_leaves_ends_the_request_at_the_provider(outer: Engine, tmp_path: Path):
    outer.answer = hang
    async with running(Engine(), config=config(outer, "anthropic", tmp_path / "key")) as gateway:
        client = await gateway.connect()
        await client.send(Client.request(OUT_STREAM))
        await eventually(lambda: len(outer.requests) == 1)
        client.close()
        await eventually(lambda: gateway.requests)
        await eventually(lambda: not outer._tasks)
        assert gateway.requests[0]["outcome"] == "client_gone"


async def test_an_error_of_the_client_keeps_its_status_and_goes_nowhere_else(outer: Engine, tmp_path: Path):
    outer.answer = says(
        {"type": "error", "error": {"type": "invalid_request_error", "message": "messages: wrong"}}, 400
    )
    settings = config(outer, "anthropic", tmp_path / "key", route={"to": "outer", "fallback": ["tiny"]})
    async with running(engine := Engine(), config=settings) as gateway:
        reply = await gateway.ask(SMART)
        assert (reply.status, reply.error["message"]) == (400, "messages: wrong")
        assert not engine.requests


async def test_a_rotated_key_is_taken_up_and_a_missing_one_is_told_without_its_path(outer: Engine, tmp_path: Path):
    path = tmp_path / "key"
    async with running(Engine(), config=config(outer, "openai", path)) as gateway:
        assert (await gateway.ask(OUT)).status == 200
        path.write_text("sk-rotated-1")
        await asyncio.sleep(1.05)
        assert (await gateway.ask(OUT)).status == 200
        assert outer.requests[-1].headers["authorization"] == "Bearer sk-rotated-1"
        path.write_text("")
        await asyncio.sleep(1.05)
        reply = await gateway.ask(OUT)
        assert (reply.status, reply.error["code"]) == (502, "provider_unusable")
        assert str(tmp_path) not in reply.body.decode()


async def test_embeddings_and_responses_go_to_those_that_have_them(outer: Engine, tmp_path: Path):
    outer.answer = says(chat_reply())
    async with running(Engine(), config=config(outer, "compatible", tmp_path / "key")) as gateway:
        assert (await gateway.ask({"model": "outer", "input": "x"}, "/v1/embeddings")).status == 200
        assert outer.requests[0].path == "/v1/embeddings"
        reply = await gateway.ask({"model": "outer", "prompt": "x"}, "/v1/tokenize")
        assert (reply.status, reply.error["code"]) == (404, "unsupported_route")


# -- TLS --


def authority(folder: Path, names: list[str]) -> tuple[Path, ssl.SSLContext]:
    """A certificate for `names` (addresses as well), signed by itself: its file, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "private.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, private)
    return chain, context


class TlsEngine(Engine):
    context: ssl.SSLContext | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("names", "status"), [(["localhost"], 200), (["elsewhere.example"], 502)])
async def test_tls_connections_are_kept_and_their_peers_name_is_verified(tmp_path: Path, names: list[str], status: int):
    chain, context = authority(tmp_path, names)
    engine = TlsEngine(messages)
    engine.context = context
    await engine.start()
    provider = {"base_url": f"https://localhost:{engine.port}", "ca_file": str(chain)}
    settings = config(engine, "anthropic", tmp_path / "key", provider=provider)
    try:
        async with running(Engine(), config=settings) as gateway:
            assert (await gateway.ask(OUT)).status == status
            assert (await gateway.ask(OUT_STREAM)).status == status
            if status == 200:
                assert engine.connections == 1, "the connection is used again"
    finally:
        await engine.stop()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path):
    _, context = authority(tmp_path, ["localhost"])
    engine = TlsEngine(messages)
    engine.context = context
    await engine.start()
    settings = config(engine, "anthropic", tmp_path / "key", provider={"base_url": f"https://localhost:{engine.port}"})
    try:
        async with running(Engine(), config=settings) as gateway:
            begun = time.monotonic()
            reply = await gateway.ask(OUT)
            assert (reply.status, reply.error["code"]) == (502, "engine_unreachable")
            assert time.monotonic() - begun < 3
            assert not engine.requests
    finally:
        await engine.stop()
