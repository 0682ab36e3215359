"""What is under /console: the page, its sign-in, its stream, and the admin API for who signed in.

The cookie opens /console alone, is no key, and is not enough to change anything: a change also needs a header that no
other site's page can send, and must come from this very origin.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import msgspec
from pydantic import Field

from app.gateway.body import Receive, whole
from app.gateway.console.files import INDEX, SAFETY, load
from app.gateway.console.stream import Broadcast
from app.gateway.errors import NO_RETRY, Problem, Refused, retry_after, unknown_url, wrong_method
from app.gateway.keys import admin, forms
from app.gateway.strict import Strict

if TYPE_CHECKING:
    from app.gateway.console.desk import Desk, Session
    from app.gateway.console.fleet import Exchange
    from app.gateway.console.settings import ConsoleConfig
    from app.gateway.service import Service

PATH = "/console"
COOKIE = "penstock_console"
HEADER = b"x-penstock-console"
API = f"{PATH}/api/"
JSON = b"application/json"
MOST_SIGN_INS = 10
"""Failed ones in a minute, of one gateway; a key has 256 bits, so this is against noise, not against guessing."""
MINUTE = 60.0

NOT_SIGNED_IN = Problem(401, "Sign in with an admin key.", "not_signed_in")
WRONG_ADMIN_KEY = Problem(401, "This is not an admin key.", "invalid_admin_key")
FOREIGN = Problem(403, "This must come from the console's own page.", "foreign_origin")
TOO_MANY = Problem(
    429, "Too many failed sign-ins. Wait a minute.", "too_many_sign_ins", headers=retry_after(int(MINUTE))
)
NO_ADMIN_API = Problem(
    503, "The console needs keys in a database: set PENSTOCK_KEYS_DATABASE.", "no_keys_database", headers=(NO_RETRY,)
)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Usage = Callable[[str], Awaitable[Any]]


class SignIn(Strict):
    key: Annotated[str, Field(min_length=1, max_length=500)]


class Console:
    """One gateway's part of the console."""

    def __init__(self, service: Service, config: ConsoleConfig, desk: Desk, exchange: Exchange) -> None:
        self._service = service
        self._config = config
        self._desk = desk
        self._files = load()
        self._failed: deque[float] = deque(maxlen=MOST_SIGN_INS)
        self.broadcast = Broadcast(exchange, desk, config.most_viewers)

    @staticmethod
    def serves(path: str) -> bool:
        return path == PATH or path.startswith(f"{PATH}/")

    def close(self) -> None:
        """At a drain."""
        self.broadcast.close()

    async def stop(self) -> None:
        self.broadcast.close()
        await self._desk.close()

    async def answer(self, scope: Scope, receive: Receive, send: Send, identity: bytes) -> None:
        """Answers one request. Nothing of it is for other origins, whatever `cors_origins` says."""
        given: dict[bytes, bytes] = dict(scope["headers"])
        method, path = scope["method"], scope["path"]
        try:
            if path == f"{PATH}/stream":
                await self._stream(scope, given, receive, send, identity)
                return
            status, kind, body, headers = await self._reply(scope, given, receive, identity)
        except Refused as refused:
            problem = refused.problem
            status, kind, body, headers = problem.status, JSON, problem.body(), (*problem.headers, *_NOT_KEPT)
        await send({"type": "http.response.start", "status": status, "headers": [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", identity),
            *SAFETY,
            *headers,
        ]})  # fmt: skip
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _reply(
        self, scope: Scope, given: dict[bytes, bytes], receive: Receive, identity: bytes
    ) -> tuple[int, bytes, bytes, tuple[tuple[bytes, bytes], ...]]:
        method, path = scope["method"], scope["path"]
        if path == f"{PATH}/session":
            return await self._session(method, given, receive)
        if path.startswith(API):
            session = await self._require(method, given)
            status, content = await self._api(session, scope, given, receive, identity)
            return status, JSON, msgspec.json.encode(content), _NOT_KEPT
        name = INDEX if path in (PATH, f"{PATH}/") else path.removeprefix(f"{PATH}/")
        file = self._files.get(name)
        if file is None:
            raise Refused(unknown_url(method, path))
        if method not in ("GET", "HEAD"):
            raise Refused(wrong_method(method, path, "GET, HEAD"))
        caching = ((b"etag", file.tag), (b"cache-control", b"no-cache"), (b"vary", b"accept-encoding"))
        if file.tag in [tag.strip().removeprefix(b"W/") for tag in given.get(b"if-none-match", b"").split(b",")]:
            return 304, file.kind, b"", caching
        if b"gzip" in given.get(b"accept-encoding", b""):
            return 200, file.kind, file.packed, (*caching, (b"content-encoding", b"gzip"))
        return 200, file.kind, file.plain, caching

    # -- sign-in --

    async def _session(
        self, method: str, given: dict[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, bytes, tuple[tuple[bytes, bytes], ...]]:
        if method == "POST":
            _require_own_page(given)
            token, session = await self._sign_in(await whole(receive, admin.MOST_BODY_BYTES))
            return 201, JSON, self._told(session), ((b"set-cookie", self._cookie(token, given)), *_NOT_KEPT)
        if method not in ("GET", "DELETE"):
            raise Refused(wrong_method(method, f"{PATH}/session", "GET, POST, DELETE"))
        session = await self._require(method, given)
        if method == "DELETE":
            await self._desk.sign_out(session)
            self._service.log.event("console_sign_out", actor=session.actor)
            return 200, JSON, b"{}", ((b"set-cookie", self._cookie("", given)), *_NOT_KEPT)
        return 200, JSON, self._told(session), _NOT_KEPT

    async def _sign_in(self, body: bytes) -> tuple[str, Session]:
        if len(self._failed) == MOST_SIGN_INS and monotonic() - self._failed[0] < MINUTE:
            raise Refused(TOO_MANY)
        digest = hashlib.sha256(forms.read(SignIn, body).key.strip().encode()).digest()
        actor = self._service.keys.admin_of(digest)
        if actor is None:
            self._failed.append(monotonic())
            self._service.log.event("console_sign_in", refused=True)
            raise Refused(WRONG_ADMIN_KEY)
        token, session = await self._desk.sign_in(actor, digest, self._config.session_minutes)
        self._service.log.event("console_sign_in", actor=actor)
        return token, session

    def _told(self, session: Session) -> bytes:
        return msgspec.json.encode(
            {"actor": session.actor, "expires_at": session.expires_at, "colour": self._service.config.colour}
        )

    def _cookie(self, token: str, given: Mapping[bytes, bytes]) -> bytes:
        """An empty token takes it away. `Secure` where the client's connection is TLS, which the load balancer says."""
        seconds = self._config.session_minutes * 60 if token else 0
        secure = "; Secure" if given.get(b"x-forwarded-proto", b"").strip().lower() == b"https" else ""
        return f"{COOKIE}={token}; Path={PATH}; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}".encode()

    async def _require(self, method: str, given: Mapping[bytes, bytes]) -> Session:
        """Raises Refused: 401 without a sign-in that holds, 403 for what another page sent."""
        if method not in ("GET", "HEAD"):
            _require_own_page(given)
        elif given.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
            raise Refused(FOREIGN)
        token = _cookie_of(given)
        session = await self._desk.session(token) if token else None
        if session is None:
            raise Refused(NOT_SIGNED_IN)
        return session

    # -- the admin API --

    async def _api(
        self, session: Session, scope: Scope, given: Mapping[bytes, bytes], receive: Receive, identity: bytes
    ) -> tuple[int, Any]:
        """As under /admin/v1, with the same forms, refusals and audit."""
        service, method = self._service, scope["method"]
        path = admin.PREFIX + scope["path"].removeprefix(API)
        query = scope["query_string"].decode("latin-1")
        body = await whole(receive, admin.MOST_BODY_BYTES)
        if path == f"{admin.PREFIX}usage":
            from app.gateway.ledger import report

            if method != "GET":
                raise Refused(wrong_method(method, path, "GET"))
            if service.ledger is None:
                raise Refused(report.NO_LEDGER)
            return 200, await service.ledger.reports.answer(query)
        if service.admin is None:
            raise Refused(NO_ADMIN_API)
        idempotency = given.get(b"idempotency-key")
        call = admin.Call(
            actor=session.actor,
            request_id=identity.decode("ascii"),
            method=method,
            path=path,
            query=query,
            body=body,
            idempotency_key=None if idempotency is None else idempotency.decode("latin-1"),
        )
        status = 500
        try:
            status, content = await service.admin.answer(call)
        except Refused as refused:
            status = refused.problem.status
            raise
        finally:
            if method != "GET":
                service.log.event(
                    "admin", actor=call.actor, method=method, path=path[:200], status=status, request_id=call.request_id
                )
        return status, content

    # -- the stream --

    async def _stream(
        self, scope: Scope, given: dict[bytes, bytes], receive: Receive, send: Send, identity: bytes
    ) -> None:
        if scope["method"] != "GET":
            raise Refused(wrong_method(scope["method"], scope["path"], "GET"))
        session = await self._require("GET", given)
        self.broadcast.require_room()
        headers = [(b"content-type", b"text/event-stream"), (b"x-request-id", identity), *SAFETY, *_NOT_KEPT]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def part(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await self.broadcast.watch(session, gone(), part)
        except TimeoutError:
            self._service.log.event("console_slow", actor=session.actor)
            return
        await send({"type": "http.response.body", "body": b""})


_NOT_KEPT: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)


def _cookie_of(given: Mapping[bytes, bytes]) -> str:
    try:
        found = SimpleCookie(given.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _require_own_page(given: Mapping[bytes, bytes]) -> None:
    """Raises Refused (403). Browsers set these two themselves; a form cannot send the header of ours at all."""
    origin, site = given.get(b"origin"), given.get(b"sec-fetch-site")
    own = given.get(b"host", b"").decode("latin-1").lower()
    if (
        HEADER not in given
        or (site is not None and site != b"same-origin")
        or (origin is not None and urlsplit(origin.decode("latin-1")).netloc.lower() != own)
    ):
        raise Refused(FOREIGN)
