"""The admin API: keys, tenants and the audit under /admin/v1. An admin key opens it, a client key never does.

Each request has a connection of its own: changes are rare, and must not wait behind the one that keeps keys up to date.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from app.gateway.errors import NO_RETRY, WRONG_KEY, Problem, Refused, retry_after, unknown_url, wrong_method
from app.gateway.keys import forms
from app.gateway.keys.admin_document import document

if TYPE_CHECKING:
    from app.gateway.database.settings import Database
    from app.gateway.keys.store import Store
    from app.gateway.service import Service

PREFIX = "/admin/v1/"
KEY_PREFIX = "pk-"
KEY_BYTES = 32
MOST_BODY_BYTES = 64 * 1024
MOST_AT_ONCE = 4
MOST_WAITING = 32
REQUEST_SECONDS = 10.0
MOST_ROWS = 1000
_IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,200}")

CLIENT_KEY = Problem(403, "This is a client key. The admin API takes admin keys alone.", "not_an_admin_key")
NO_DATABASE = Problem(
    503,
    "Keys are not kept in a database here: set PENSTOCK_KEYS_DATABASE and PENSTOCK_DATABASE_ADDRESS.",
    "no_keys_database",
    headers=(NO_RETRY,),
)
AWAY = Problem(
    503,
    "The database of the keys is away; known keys go on to work. Try again in 2 s.",
    "database_away",
    headers=retry_after(),
)
BUSY = Problem(503, "Too many admin requests at once. Try again in 2 s.", "admin_busy", headers=retry_after())


@dataclass(frozen=True)
class Call:
    """One admin request."""

    actor: str
    request_id: str
    method: str
    path: str
    """Decoded."""
    query: str
    body: bytes
    idempotency_key: str | None


def require_admin(service: Service, authorization: bytes | None, method: str, path: str) -> str:
    """The actor. Raises Refused: 404 where there is no admin key at all, 401 or 403 for what is none."""
    ring = service.keys
    if not ring.has_admins:
        raise Refused(unknown_url(method, path))
    actor = ring.admin(authorization)
    if actor is None:
        try:
            ring.authenticate(authorization, last=True)
        except Refused:
            raise Refused(WRONG_KEY) from None
        raise Refused(CLIENT_KEY)
    return actor


class Admin:
    """Answers what is under PREFIX."""

    def __init__(self, service: Service, database: Database) -> None:
        self._service = service
        self._database = database
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._waiting = 0

    async def answer(self, call: Call) -> tuple[int, Any]:
        """Status and content. Raises Refused."""
        what = call.path.removeprefix(PREFIX)
        if "\0" in what or "\0" in unquote(call.query):  # PostgreSQL's text cannot hold it
            raise Refused(unknown_url(call.method, call.path))
        if what == "openapi.json":
            _require(call, "GET")
            return 200, document()
        work = self._work(call, what.split("/"))
        from app.gateway.database.connection import FAILURES

        try:
            async with asyncio.timeout(REQUEST_SECONDS), self._store(call) as store:
                status, content = await work(store)
                changed = await store.version() if call.method != "GET" else 0
        except FAILURES as error:
            self._service.log.event("admin_failed", request_id=call.request_id, reason=type(error).__name__)
            raise Refused(AWAY) from None
        if changed and self._service.key_follower is not None:
            await self._service.key_follower.wait_for(changed)
        return status, content

    @contextlib.asynccontextmanager
    async def _store(self, call: Call) -> AsyncGenerator[Store]:
        from app.gateway.database.connection import connect
        from app.gateway.keys.store import Actor, Store

        if self._waiting >= MOST_WAITING:
            raise Refused(BUSY)
        self._waiting += 1
        try:
            async with self._places:
                connection = await connect(self._database, "penstock-admin")
                try:
                    yield Store(connection, Actor(call.actor, call.request_id))
                finally:
                    connection.terminate()
        finally:
            self._waiting -= 1

    async def export(self, call: Call, tenant: str) -> AsyncGenerator[bytes]:
        """All that is kept of a tenant, as JSON lines. Raises Refused before the first; later failures cut it."""
        from app.gateway.database.connection import FAILURES
        from app.gateway.keys.tenant_data import export

        begun = False
        try:
            async with self._store(call) as store:
                await store.audit_row("tenant.export", tenant, {})
                async for page in export(store.connection, tenant):
                    begun = True
                    yield page
        except FAILURES as error:
            self._service.log.event("admin_failed", request_id=call.request_id, reason=type(error).__name__)
            if begun:
                raise
            raise Refused(AWAY) from None

    def _work(self, call: Call, parts: list[str]) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
        """What a request asks for. Its body and query are checked here, before the database is bothered."""
        match parts:
            case ["keys"]:
                return self._create_key(call) if _require(call, "GET", "POST") == "POST" else _list_keys(call)
            case ["keys", identity]:
                if _require(call, "GET", "PATCH") == "GET":
                    return _plain(lambda store: store.key(identity))
                change = forms.read(forms.KeyChange, call.body)
                return _plain(lambda store: store.change_key(identity, change))
            case ["keys", identity, "rotate"]:
                _require(call, "POST")
                return _rotate(identity, forms.read(forms.Rotation, call.body).overlap_seconds)
            case ["keys", identity, "revoke"]:
                _require(call, "POST")
                return _plain(lambda store: store.revoke_key(identity))
            case ["tenants"]:
                if _require(call, "GET", "POST") == "GET":
                    after, limit = _page(call, "after")
                    return _listed(lambda store: store.tenants(after, limit + 1), limit, "name")
                tenant = forms.read(forms.NewTenant, call.body)
                return _plain(lambda store: store.create_tenant(tenant), 201)
            case ["tenants", name, "data"]:
                from app.gateway.keys.tenant_data import erasing

                return erasing(self._service, call, name)
            case ["tenants", name]:
                if _require(call, "GET", "PATCH") == "GET":
                    return _plain(lambda store: store.tenant(name))
                changed = forms.read(forms.TenantChange, call.body)
                return _plain(lambda store: store.change_tenant(name, changed))
            case ["budget", *_]:
                from app.gateway.budget.admin import work

                return work(self._service, call, parts)
            case ["feedback", *_]:
                from app.gateway.feedback.api import work

                return work(self._service, call, parts)
            case ["release" | "drills" | "jobs", *_]:
                from app.gateway.console.work import work

                return work(self._service, call, parts)
            case ["audit", "check"]:
                from app.gateway.keys.audit import checking

                _require(call, "GET")
                return checking(call.query)
            case ["audit"]:
                _require(call, "GET")
                before, limit = _page(call, "before")
                if before and not re.fullmatch(r"[0-9]{1,18}", before):
                    raise Refused(Problem(400, "`before` must be an audit row's id.", "invalid_query", "before"))
                return _listed(lambda store: store.audit(int(before or 2**62), limit + 1), limit, "id")
        raise Refused(unknown_url(call.method, call.path))

    def _create_key(self, call: Call) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
        wanted = forms.read(forms.NewKey, call.body)
        replay = None
        if call.idempotency_key is not None:
            if not _IDEMPOTENCY.fullmatch(call.idempotency_key):
                message = "`Idempotency-Key` must be 1 to 200 visible ASCII characters."
                raise Refused(Problem(400, message, "invalid_idempotency_key"))
            replay = (call.idempotency_key, hashlib.sha256(call.body).digest())
        identity, key, digest = f"key-{secrets.token_hex(8)}", *_fresh_key()

        async def work(store: Store) -> tuple[int, Any]:
            shown, fresh = await store.create_key(identity, digest, wanted, replay)
            if not fresh:
                note = "made by an earlier request; its key was in that answer alone. If that was lost, rotate the key."
                return 200, {**shown, "key": None, "note": note}
            return 201, {**shown, "key": key, "warnings": self._warnings(wanted)}

        return work

    def _warnings(self, key: forms.NewKey) -> list[str]:
        """What is allowed, but may be a slip: the next release may serve what this one does not."""
        routes = self._service.routes
        named = {*(key.models or ()), *key.max_output_tokens_by_model}
        return [f"this gateway serves no model `{name}`" for name in sorted(named - routes.keys())]


def _fresh_key() -> tuple[str, bytes]:
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return key, hashlib.sha256(key.encode()).digest()


def _rotate(identity: str, overlap_seconds: int) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    key, digest = _fresh_key()

    async def work(store: Store) -> tuple[int, Any]:
        return 200, {**await store.rotate_key(identity, digest, overlap_seconds), "key": key}

    return work


def _list_keys(call: Call) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    after, limit = _page(call, "after", "tenant")
    tenant = dict(parse_qsl(call.query)).get("tenant")
    return _listed(lambda store: store.keys(tenant, after, limit + 1), limit, "id")


def _plain(ask: Callable[[Store], Awaitable[Any]], status: int = 200) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    async def work(store: Store) -> tuple[int, Any]:
        return status, await ask(store)

    return work


def _listed(
    ask: Callable[[Store], Awaitable[list[dict[str, Any]]]], limit: int, name: str
) -> Callable[[Store], Awaitable[tuple[int, Any]]]:
    """One page. `next` is where the next one begins; null at the end."""

    async def work(store: Store) -> tuple[int, Any]:
        rows = await ask(store)
        more = len(rows) > limit
        return 200, {"object": "list", "data": rows[:limit], "next": rows[limit - 1][name] if more else None}

    return work


def _page(call: Call, *allowed: str) -> tuple[str, int]:
    query = dict(parse_qsl(call.query, keep_blank_values=True))
    unknown = sorted(query.keys() - {*allowed, "limit"})
    if unknown:
        message = f"Unknown query parameter `{unknown[0][:50]}`; allowed are {', '.join((*allowed, 'limit'))}."
        raise Refused(Problem(400, message, "invalid_query"))
    given = query.get("limit", "100")
    if not re.fullmatch(r"[0-9]{1,6}", given) or not 1 <= int(given) <= MOST_ROWS:
        raise Refused(Problem(400, f"`limit` must be 1 to {MOST_ROWS}.", "invalid_query", "limit"))
    return query.get(allowed[0], ""), int(given)


def _require(call: Call, *methods: str) -> str:
    """The method. Raises Refused (405)."""
    if call.method not in methods:
        raise Refused(wrong_method(call.method, call.path, ", ".join(methods)))
    return call.method
