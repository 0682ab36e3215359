"""Tokens of an issuer, before a local server that publishes its keys."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tests.gateway import harness
from tests.gateway.harness import KEY, Engine, Reply, Running, Wire, make_config

ISSUER = "https://login.example.com"


def make_rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


FIRST = make_rsa("first")


@dataclass
class Issuer:
    """Publishes keys at /jwks.json."""

    keys: list[Any] = field(default_factory=lambda: [FIRST])
    reads: int = 0
    status: int = 200
    server: Engine = field(default_factory=Engine)

    async def answer(self, request: harness.Request, wire: Wire) -> None:
        self.reads += 1
        await wire.json(self.status, KeySet(self.keys).as_dict(private=False))

    @property
    def url(self) -> str:
        return f"{self.server.url}/jwks.json"


def token(key: Any = FIRST, *, head: dict[str, Any] | None = None, drop: str = "", **changes: Any) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "penstock", "sub": "user-1", "tenant": "acme", "exp": now + 60, "iat": now}
    claims |= changes
    claims.pop(drop, None)
    header = {"alg": "RS256", "kid": key.kid} | (head or {})
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def unsigned(**header: Any) -> str:
    """A token that nobody signed."""
    claims = {"iss": ISSUER, "aud": "penstock", "sub": "user-1", "tenant": "acme", "exp": int(time.time()) + 60}
    parts = (json.dumps(part).encode() for part in (header, claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@contextlib.asynccontextmanager
async def gateway_of(issuer: Issuer, *, wait: bool = True, **settings: Any) -> AsyncGenerator[Running]:
    issuer.server.answer = issuer.answer
    await issuer.server.start()
    # A GET has no body: the scripted engine reads one of length 0.
    config = make_config(
        jwt={"issuer": ISSUER, "audience": ["penstock"], "jwks_url": issuer.url, "refresh_floor_seconds": 0.3}
        | settings
    )
    try:
        async with harness.running(Engine(), config=config) as gateway:
            if wait:
                tokens = gateway.service.keys.tokens
                assert tokens is not None
                await harness.eventually(lambda: tokens.state()["signing_keys"])
            yield gateway
    finally:
        await issuer.server.stop()


async def ask(gateway: Running, given: str, **fields: Any) -> Reply:
    return await gateway.ask(harness.CHAT | fields, authorization=f"Bearer {given}")


async def test_a_token_is_taken_beside_keys_and_its_claims_are_in_the_log():
    async with gateway_of(Issuer(), priority_claim="tier") as gateway:
        given = token(tier="batch")
        assert (await ask(gateway, given)).status == 200
        line = gateway.requests[-1]
        assert (line["key"], line["tenant"]) == ("jwt:user-1", "acme")
        assert (await ask(gateway, KEY)).status == 200
        assert given not in json.dumps(gateway.log.events)
        grant = gateway.service.keys.authenticate(f"Bearer {given}".encode())
        assert grant.priority == "batch"
        assert (await gateway.get("/v1/models", authorization=f"Bearer {given}")).status == 200
        assert await gateway.metric('penstock_tokens_checked_total{outcome="ok"}') == 1  # the others knew it


HOUR = 3600
WRONG: dict[str, tuple[Callable[[], str], str, str]] = {
    "issuer": (lambda: token(iss="https://other.example.com"), "invalid_token", "another issuer"),
    "audience": (lambda: token(aud=["other", 7]), "invalid_token", "another audience"),
    "expired": (lambda: token(exp=int(time.time()) - HOUR), "key_expired", "expired"),
    "no end": (lambda: token(drop="exp"), "invalid_token", "`exp`"),
    "true as time": (lambda: token(exp=True), "invalid_token", "`exp`"),
    "not yet": (lambda: token(nbf=int(time.time()) + HOUR), "invalid_token", "`nbf`"),
    "made later": (lambda: token(iat=int(time.time()) + HOUR), "invalid_token", "`iat`"),
    "no tenant": (lambda: token(drop="tenant"), "invalid_token", "`tenant`"),
    "odd tenant": (lambda: token(tenant="a b"), "invalid_token", "`tenant`"),
    "no subject": (lambda: token(drop="sub"), "invalid_token", "`sub`"),
    "odd subject": (lambda: token(sub="a\nb"), "invalid_token", "`sub`"),
    "none": (lambda: unsigned(alg="none"), "invalid_token", "algorithm is not one of RS256, ES256"),
    "None": (lambda: unsigned(alg="None", kid="first"), "invalid_token", "algorithm"),
    "no algorithm": (lambda: unsigned(kid="first"), "invalid_token", "header"),
    "kid of another type": (lambda: unsigned(alg="RS256", kid=1), "invalid_token", "`kid`"),
    "no signature": (lambda: unsigned(alg="RS256", kid="first"), "invalid_token", "signature"),
    "allowed elsewhere": (lambda: token(head={"alg": "RS512"}), "invalid_token", "algorithm"),
    "forged": (lambda: token(make_rsa("first")), "invalid_token", "signature"),
    "another kind of key": (
        lambda: token(ECKey.generate_key("P-256", {"kid": "first"}), head={"alg": "ES256"}),
        "invalid_token",
        "signature",
    ),
    "changed signature": (lambda: token()[:-8] + "AAAAAAAA", "invalid_token", "signature"),
    "not base64": (lambda: "a.b.c", "invalid_token", "header"),
    "too long": (lambda: token(more="x" * 9000), "invalid_token", "longer"),
}


async def test_what_is_wrong_with_a_token_is_said_and_the_token_is_not():
    async with gateway_of(Issuer()) as gateway:
        for name, (make, code, said) in WRONG.items():
            given = make()  # now: a token of the import would be expired
            reply = await ask(gateway, given)
            assert (reply.status, reply.error["code"]) == (401, code), name
            assert said in reply.error["message"], name
            assert given not in reply.error["message"]
            assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_the_public_key_as_a_shared_secret_signs_nothing():
    """The classic confusion: HS256 with the published key as the secret."""
    head, claims, _ = unsigned(alg="HS256", kid="first").split(".")
    mac = hmac.digest(FIRST.as_pem(private=False), f"{head}.{claims}".encode(), "sha256")
    given = f"{head}.{claims}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    async with gateway_of(Issuer()) as gateway:
        assert (await ask(gateway, given)).status == 401


async def test_clocks_may_differ_by_the_skew_and_a_known_token_ends_too():
    async with gateway_of(Issuer(), clock_skew_seconds=2) as gateway:
        given = token(exp=int(time.time()) - 1)
        assert (await ask(gateway, given)).status == 200
        await asyncio.sleep(2.1)
        assert (await ask(gateway, given)).error["code"] == "key_expired"


async def test_a_new_signing_key_is_found_by_the_first_token_that_names_it():
    issuer = Issuer()
    async with gateway_of(issuer) as gateway:
        second = make_rsa("second")
        issuer.keys = [FIRST, second]
        await asyncio.sleep(0.35)
        replies = await asyncio.gather(*(ask(gateway, token(second, sub=f"u{n}")) for n in range(5)))
        assert [reply.status for reply in replies] == [200] * 5
        assert issuer.reads == 2
        issuer.keys = [second]
        await asyncio.sleep(0.35)
        first = token()
        assert (await ask(gateway, first)).status == 200
        await ask(gateway, token(make_rsa("third")))  # has the keys read again
        reply = await ask(gateway, first)  # was known, and went with its key
        assert (reply.status, reply.error["code"]) == (401, "unknown_signing_key")


async def test_tokens_of_unknown_keys_cause_one_read_in_the_floors_time():
    issuer = Issuer()
    async with gateway_of(issuer, refresh_floor_seconds=60) as gateway:
        for number in range(5):
            reply = await ask(gateway, token(FIRST, head={"kid": f"none-{number}"}))
            assert (reply.status, reply.error["code"]) == (401, "unknown_signing_key")
        assert issuer.reads == 1
        assert (await gateway.get("/v1/models", authorization=f"Bearer {token(head={'kid': 'x'})}")).status == 401


async def test_while_the_issuer_is_away_known_keys_check_on_and_without_any_the_client_is_told_to_wait():
    issuer = Issuer(status=500)
    async with gateway_of(issuer, wait=False) as gateway:
        reply = await ask(gateway, token())
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "issuer_unavailable", "2")
        assert await gateway.metric("penstock_jwks_up") == 0
        issuer.status = 200
        await asyncio.sleep(0.35)
        assert (await ask(gateway, token())).status == 200
        issuer.status = 500
        await asyncio.sleep(0.35)
        assert (await ask(gateway, token(head={"kid": "none"}))).status == 401
        assert (await ask(gateway, token(sub="later"))).status == 200


async def test_scopes_narrow_a_token_and_a_required_one_must_be_there():
    async with gateway_of(Issuer(), required_scope="llm") as gateway:
        reply = await ask(gateway, token())
        assert (reply.status, reply.error["code"]) == (401, "missing_scope")
        assert (await ask(gateway, token(scope="openid llm"))).status == 200
        reply = await ask(gateway, token(scope=["llm", "model:big"]))
        assert (reply.status, reply.error["code"]) == (403, "model_not_allowed")
        reply = await ask(gateway, token(scope="llm route:embeddings"))
        assert (reply.status, reply.error["code"]) == (403, "route_not_allowed")
        assert (await ask(gateway, token(scope="llm route:none"))).status == 403
        assert (await ask(gateway, token(scope="llm model:tiny route:chat"))).status == 200


async def test_all_tokens_of_one_subject_share_its_limits():
    limits = {"requests_per_minute": 1, "burst_requests": 2}
    async with gateway_of(Issuer(), limits=limits) as gateway:
        replies = [await ask(gateway, token(jti=str(number))) for number in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert (await ask(gateway, token(sub="user-2"))).status == 200


async def test_a_client_that_leaves_while_the_issuer_is_asked_harms_nobody():
    issuer = Issuer()
    slow = asyncio.Event()

    async def answer(request: harness.Request, wire: Wire) -> None:
        await slow.wait()
        await Issuer.answer(issuer, request, wire)

    async with gateway_of(issuer) as gateway:
        await asyncio.sleep(0.35)
        issuer.server.answer = answer
        client = await gateway.connect()
        given = token(head={"kid": "none"})
        await client.send(client.request(harness.CHAT, authorization=f"Bearer {given}"))
        await asyncio.sleep(0.05)
        client.close()
        await harness.eventually(lambda: gateway.requests)
        slow.set()
        assert (await ask(gateway, token())).status == 200
        assert gateway.requests[0]["status"] == 499


def test_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch):
    from prometheus_client import CollectorRegistry

    from app.gateway.keys import tokens as module

    monkeypatch.setattr(module, "MOST_TOKENS", 3)
    settings = make_config(jwt={"issuer": ISSUER, "audience": ["penstock"], "jwks_url": "http://127.0.0.1:1/"}).jwt
    assert settings is not None
    one = module.Tokens(settings, CollectorRegistry(), harness.KeptLog())
    one._keys, one._kids = KeySet([FIRST]), frozenset({"first"})
    for number in range(10):
        one.grant(b"%d" % number, token(sub=f"u{number}").encode(), last=True)
    assert one.state()["known_tokens"] == 3
