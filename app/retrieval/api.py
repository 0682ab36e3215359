"""Retrieval under /v1/retrieval: an ASGI application beside the hot path."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from app.gateway.body import ClientGoneError, Receive, whole
from app.gateway.database.connection import FAILURES
from app.gateway.errors import Problem, Refused, retry_after, unknown_url, wrong_method
from app.retrieval import forms, ground
from app.retrieval.problems import AWAY, READ_SECONDS, no_collection
from app.retrieval.relay import Relay
from app.retrieval.work import MODES, Retrieval

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

    from app.gateway.keys.grant import Grant
    from app.gateway.log import Log

PREFIX = "/v1/retrieval/"
ROUTE = "retrieval"
"""What a key needs among its `routes`."""
MOST_SMALL_BYTES = 64 * 1024
MOST_AT_ONCE = 64
MOST_LISTED = 1000
BUSY = Problem(503, "Too many retrieval requests at once. Try again in 2 s.", "retrieval_busy", headers=retry_after())
GONE = 499
OPERATIONS = ("ingest", "search", "chat", "collections", "reindex", "other")
_NAME = re.compile(forms.NAME)
_IDENTITY = re.compile(r"doc_[0-9a-f]{24}")

Headers = list[tuple[bytes, bytes]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, dict[str, Any]]


class Request:
    def __init__(self, grant: Grant, authorization: bytes, scope: Mapping[str, Any], receive: Receive) -> None:
        self.grant = grant
        self.authorization = authorization
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self.receive = receive

    def need(self, *methods: str) -> None:
        """Raises Refused (405)."""
        if self.method not in methods:
            raise Refused(wrong_method(self.method, self.path, ", ".join(methods)))

    async def body(self, most: int = MOST_SMALL_BYTES) -> bytes:
        """Raises Refused (413), ClientGoneError."""
        return await whole(self.receive, most)


class RetrievalApi:
    def __init__(
        self,
        retrieval: Retrieval,
        relay: Relay,
        most_body_bytes: int,
        log: Log,
        requests: Counter,
        seconds: Histogram,
    ) -> None:
        """`requests` has the labels operation and status, `seconds` operation."""
        self._retrieval = retrieval
        self._relay = relay
        self._most_body_bytes = most_body_bytes
        self._log = log
        self._requests = requests
        self._seconds = {name: seconds.labels(name) for name in OPERATIONS}
        self._under_way = 0

    async def run(self) -> None:
        """What goes on beside requests, for ever."""
        await self._retrieval.rebuilder.run()

    async def close(self) -> None:
        await self._retrieval.close()

    @staticmethod
    def serves(path: str) -> bool:
        return path.startswith(PREFIX)

    async def serve(
        self, grant: Grant, authorization: bytes, scope: Mapping[str, Any], receive: Receive, send: Send, more: Headers
    ) -> None:
        """Answers a request. `more`: headers of each reply. Raises Refused."""
        begun = time.monotonic()
        operation = _operation(scope["path"])
        status = 500
        if self._under_way >= MOST_AT_ONCE:
            self._requests.labels(operation, "503").inc()
            raise Refused(BUSY)
        self._under_way += 1
        try:
            grant.require_route(ROUTE)
            status = await self._serve(Request(grant, authorization, scope, receive), send, more)
        except Refused as refused:
            status = refused.problem.status
            raise
        except ClientGoneError:
            status = GONE
        except FAILURES as error:
            status = AWAY.status
            self._log.event("retrieval_failed", operation=operation, reason=f"{type(error).__name__}: {error}"[:300])
            raise Refused(AWAY) from None
        finally:
            self._under_way -= 1
            took = time.monotonic() - begun
            self._requests.labels(operation, str(status)).inc()
            self._seconds[operation].observe(took)
            self._log.event(
                "retrieval", operation=operation, status=status, tenant=grant.tenant, key_id=grant.id,
                seconds=round(took, 4),
            )  # fmt: skip

    async def find(
        self, tenant: str, authorization: bytes, collection: str, query: str, k: int, mode: str
    ) -> list[dict[str, Any]]:
        """A search for a step of a pipeline. Raises Refused."""
        if self._under_way >= MOST_AT_ONCE:
            raise Refused(BUSY)
        self._under_way += 1
        begun, status = time.monotonic(), "200"
        try:
            return await self._retrieval.search(tenant, authorization, collection, query, k, mode)
        except Refused as refused:
            status = str(refused.problem.status)
            raise
        except FAILURES as error:
            status = str(AWAY.status)
            self._log.event("retrieval_failed", operation="search", reason=type(error).__name__)
            raise Refused(AWAY) from None
        finally:
            self._under_way -= 1
            self._requests.labels("search", status).inc()
            self._seconds["search"].observe(time.monotonic() - begun)

    async def _serve(self, request: Request, send: Send, more: Headers) -> int:
        if request.path == f"{PREFIX}chat/completions":
            request.need("POST")
            return await self._chat(request, send, more)
        status, content = await self._answer(request)
        body = msgspec.json.encode(content)
        headers = [
            (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"), *more,
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return status

    async def _answer(self, request: Request) -> Answer:
        match request.path.removeprefix(PREFIX).split("/"):
            case ["ingest"]:
                request.need("POST")
                return await self._ingest(request)
            case ["search"]:
                request.need("POST")
                return await self._search(request)
            case ["collections"]:
                request.need("GET")
                return await self._collections(request)
            case ["collections", name, *rest] if _NAME.fullmatch(name):
                match rest:
                    case []:
                        request.need("GET", "DELETE")
                        return await self._collection(request, name)
                    case ["reindex"]:
                        request.need("POST")
                        return await self._reindex(request, name)
                    case ["documents"]:
                        request.need("GET")
                        return await self._documents(request, name)
                    case ["documents", identity] if _IDENTITY.fullmatch(identity):
                        request.need("GET", "DELETE")
                        return await self._document(request, name, identity)
        raise Refused(unknown_url(request.method, request.path))

    async def _ingest(self, request: Request) -> Answer:
        most = self._retrieval.config.max_document_bytes
        raw = await request.body(most * 4 // 3 + MOST_SMALL_BYTES)
        form = forms.read_json(raw, forms.IngestForm)
        content = form.content(most)
        identity, new, passages = await self._retrieval.ingest(
            request.grant.tenant, request.authorization, form, content
        )
        shown = {"id": identity, "object": "retrieval.document", "collection": form.collection, "created": new}
        return (201, shown | {"passages": passages}) if new else (200, shown)

    async def _search(self, request: Request) -> Answer:
        form = forms.read_json(await request.body(), forms.SearchForm)
        if form.mode not in MODES:
            raise forms.bad(f"`mode` must be one of {', '.join(MODES)}.", "mode")
        found = await self._retrieval.search(
            request.grant.tenant, request.authorization, form.collection, form.query, form.k, form.mode
        )
        return 200, {"object": "list", "data": found}

    async def _collections(self, request: Request) -> Answer:
        async with asyncio.timeout(READ_SECONDS), self._retrieval.stores.of(request.grant.tenant) as store:
            rows = await store.collections()
        data = [
            {
                "name": row["name"], "object": "retrieval.collection", "model": row["model"],
                "language": row["language"], "chunk_tokens": row["chunk_tokens"],
                "overlap_tokens": row["overlap_tokens"], "documents": row["documents"],
                "created_at": int(row["created_at"].timestamp()),
            }
            for row in rows
        ]  # fmt: skip
        return 200, {"object": "list", "data": data}

    async def _collection(self, request: Request, name: str) -> Answer:
        async with asyncio.timeout(READ_SECONDS), self._retrieval.stores.of(request.grant.tenant) as store:
            if request.method == "DELETE":
                if not await store.remove(name):
                    raise no_collection(name)
                return 200, {"name": name, "object": "retrieval.collection", "deleted": True}
            index, building = await store.index(name), await store.index(name, "building")
            if index is None:
                raise no_collection(name)
            _, documents = await store.progress(index)
            shown: dict[str, Any] = {
                "name": name, "object": "retrieval.collection", "model": index.model, "language": index.language,
                "chunk_tokens": index.chunk_tokens, "overlap_tokens": index.overlap_tokens, "documents": documents,
                "reindexing": None,
            }  # fmt: skip
            if building is not None:
                done, _ = await store.progress(building)
                shown["reindexing"] = {
                    "model": building.model, "chunk_tokens": building.chunk_tokens, "documents": done,
                }  # fmt: skip
        return 200, shown

    async def _reindex(self, request: Request, name: str) -> Answer:
        form = forms.read_json(await request.body() or b"{}", forms.ReindexForm)
        begun = await self._retrieval.rebuilder.begin(request.grant, request.authorization, name, form)
        return 202, {"name": name, "object": "retrieval.collection", "reindexing": begun}

    async def _documents(self, request: Request, name: str) -> Answer:
        limit, before = request.query.get("limit", "100"), request.query.get("before", "")
        if not limit.isdecimal() or not 1 <= int(limit) <= MOST_LISTED:
            raise forms.bad(f"`limit` must be from 1 to {MOST_LISTED}.", "limit")
        if before and (not before.isdecimal() or len(before) > 18):
            raise forms.bad("`before` must be a `next` of an earlier page.", "before")
        async with asyncio.timeout(READ_SECONDS), self._retrieval.stores.of(request.grant.tenant) as store:
            found = await store.collection(name)
            if found is None:
                raise no_collection(name)
            rows = await store.documents(found["id"], int(before) if before else None, int(limit) + 1)
        page = rows[: int(limit)]
        following = str(page[-1]["seq"]) if len(rows) > len(page) else None
        return 200, {"object": "list", "data": [_document(row) for row in page], "next": following}

    async def _document(self, request: Request, name: str, identity: str) -> Answer:
        async with asyncio.timeout(READ_SECONDS), self._retrieval.stores.of(request.grant.tenant) as store:
            found = await store.collection(name)
            if found is None:
                raise no_collection(name)
            row = await store.document(found["id"], identity)
            if row is None:
                raise Refused(Problem(404, f"There is no document `{identity}`.", "document_not_found", "id"))
            if request.method == "DELETE":
                await store.delete(found["id"], identity)
                return 200, {"id": identity, "object": "retrieval.document", "deleted": True}
        return 200, _document(row)

    async def _chat(self, request: Request, send: Send, more: Headers) -> int:
        """A chat whose answer rests on passages: the same request to this gateway, with them before it."""
        body = forms.read_json(await request.body(self._most_body_bytes), dict)
        if ground.FIELD not in body:
            text = '`retrieve` is missing: name the collection, as {"collection": "handbook", "k": 5}.'
            raise forms.bad(text, ground.FIELD)
        wanted = forms.convert(body[ground.FIELD], forms.RetrieveForm, ground.FIELD)
        question = ground.question_of(body.get("messages"))
        passages = await self._retrieval.search(
            request.grant.tenant, request.authorization, wanted.collection, question, wanted.k
        )
        return await self._relay.chat(
            ground.grounded(body, passages),
            ground.citations(passages),
            str(body.get("model", "")),
            stream=body.get("stream") is True,
            authorization=request.authorization,
            receive=request.receive,
            send=send,
            more=more,
        )


def _document(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "retrieval.document",
        "name": row["name"],
        "media_type": row["media_type"],
        "bytes": row["bytes"],
        "metadata": msgspec.json.decode(row["metadata"]),
        "created_at": int(row["created_at"].timestamp()),
    }


def _operation(path: str) -> str:
    first, _, rest = path.removeprefix(PREFIX).partition("/")
    name = "reindex" if rest.endswith("/reindex") else first
    return name if name in OPERATIONS else "other"
