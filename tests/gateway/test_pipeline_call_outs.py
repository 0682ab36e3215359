"""Call outs of pipelines: signed, to named hosts at judged addresses, without redirects, bounded in bytes and time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.gateway.config import AdminKey
from app.pipelines.outcall import CallOutError, call_out
from tests.gateway.harness import AUTHORIZATION, Engine, Request, Running, Wire, key_file, running
from tests.gateway.pipeline_cases import Scripted, chat, model, pipeline, with_pipelines

SECRET = b"a-secret-of-the-test-of-pipelines"
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class Host:
    """A receiver of call outs."""

    status: int = 200
    body: bytes = b"approved"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    asked: list[Request] = field(default_factory=list)

    async def answer(self, request: Request, wire: Wire) -> None:
        self.asked.append(request)
        if self.hang:
            await wire.gone()
        await wire.raw(self.status, self.body, "text/plain", **self.headers)


@pytest.fixture
async def host() -> AsyncIterator[tuple[Host, Engine]]:
    found = Host()
    server = Engine(found.answer)
    await server.start()
    yield found, server
    await server.stop()


def config(port: int, **step: Any) -> Any:
    out = {"kind": "callOut", "name": "review", "url": f"http://127.0.0.1:{port}/hook"} | step
    fallback = {"kind": "text", "name": "sorry", "text": "Not now."}
    return with_pipelines(
        pipeline(out, model(then="end"), fallback), call_out_hosts=["127.0.0.1"], call_out_networks=list(LOOPBACK)
    )


async def ask(gateway: Running, **more: Any) -> Any:
    assert gateway.service.pipelines is not None
    gateway.service.pipelines.secret = SECRET
    return await gateway.ask(chat("is it fine?", **more), x_request_id="req-7")


async def test_a_call_out_is_signed_and_its_reply_is_the_step_s_text(host: tuple[Host, Engine]):
    receiver, server = host
    script = Scripted("done")
    said = {"kind": "text", "name": "say", "text": "review: {{review}}"}
    out = {"kind": "callOut", "name": "review", "url": f"http://127.0.0.1:{server.port}/hook", "send": "<{{input}}>"}
    two = with_pipelines(pipeline(out, said), call_out_hosts=["127.0.0.1"], call_out_networks=list(LOOPBACK))
    async with running(Engine(script), config=two) as gateway:
        answer = await ask(gateway)
        admin = AdminKey(id="root", sha256=hashlib.sha256(b"adm").hexdigest())
        gateway.service.keys.take_file(key_file(test="x").keys, (admin,))
        refused = await gateway.get("/admin/v1/pipelines", authorization=AUTHORIZATION)
        listed = (await gateway.get("/admin/v1/pipelines", authorization="Bearer adm")).json
    assert answer.json["choices"][0]["message"]["content"] == "review: approved"
    request = receiver.asked[0]
    assert request.body["data"] == {
        "pipeline": "answer", "step": "review", "request_id": "req-7", "text": "<is it fine?>",
    }  # fmt: skip
    shown = listed["data"][0]["call_outs"][0]["secret"]
    secret = base64.b64decode(shown.removeprefix("whsec_"))
    headers = request.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + request.raw
    expected = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == "msg_req-7_review"
    assert "authorization" not in headers, "no key of a client goes out"
    assert refused.status == 401


@pytest.mark.parametrize(
    ("receiver", "why"),
    [
        (Host(status=302, headers={"location": "http://169.254.169.254/"}), "answered with status 302"),
        (Host(status=500), "answered with status 500"),
        (Host(body=b"x" * 2000), "more than 1000 bytes"),
    ],
)
async def test_what_a_host_does_wrong_ends_the_step_and_may_have_a_fallback(receiver: Host, why: str):
    server = Engine(receiver.answer)
    await server.start()
    for otherwise in (None, "sorry"):
        settings = config(server.port, max_bytes=1000, otherwise=otherwise)
        async with running(Engine(), config=settings) as gateway:
            answer = await ask(gateway)
        if otherwise is None:
            assert (answer.status, answer.error["code"]) == (502, "call_out_failed")
            assert answer.error["message"].startswith("Step `review` of the pipeline `answer`: ")
            assert why in answer.error["message"]
        else:
            assert answer.json["choices"][0]["message"]["content"] == "Not now."
    assert len(receiver.asked) == 2, "no redirect was followed, and nothing was sent again"
    await server.stop()


async def test_a_silent_host_has_the_time_of_its_step(host: tuple[Host, Engine]):
    receiver, server = host
    receiver.hang = True
    async with running(Engine(), config=config(server.port, seconds=0.2)) as gateway:
        answer = await ask(gateway)
    assert (answer.status, answer.error["code"]) == (504, "timeout")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x", "https://169.254.169.254/latest/meta-data", "https://[::1]/", "https://10.0.0.1/",
        "https://[::ffff:169.254.169.254]/", "http://example.com/", "https://user@example.com/",
    ],
)  # fmt: skip
async def test_addresses_inside_are_refused(url: str):
    with pytest.raises(CallOutError, match="address is refused"):
        await call_out(url, "msg_1", {}, SECRET, (), 100)


async def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch):
    async def resolve(*_: Any, **__: Any) -> Any:
        return [(2, 1, 6, "", ("169.254.169.254", 443))]

    monkeypatch.setattr(asyncio.get_running_loop().__class__, "getaddrinfo", resolve, raising=False)
    with pytest.raises(CallOutError, match="may not be called"):
        await call_out("https://rebind.example.com/", "msg_1", {}, SECRET, (), 100)


async def test_each_host_has_a_secret_of_its_own():
    from app.pipelines.outcall import secret_of

    assert secret_of(SECRET, "a.example.com") != secret_of(SECRET, "b.example.com") != SECRET


async def test_without_the_secret_of_jobs_nothing_is_sent(host: tuple[Host, Engine]):
    receiver, server = host
    async with running(Engine(), config=config(server.port)) as gateway:
        answer = await gateway.ask(chat())
    assert answer.error["code"] == "call_out_off"
    assert not receiver.asked
