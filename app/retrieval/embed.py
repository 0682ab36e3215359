"""Embeddings and answers from this gateway's own door, with the client's key.

So its limits, prices, guards, aliases, outside providers and retries hold as for any request, and the ledger has it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from app.gateway.errors import Problem, Refused, retry_after
from app.retrieval.schema import DIMENSIONS

if TYPE_CHECKING:
    import aiohttp

AWAY = Problem(503, "This gateway does not take requests now. Try again in 2 s.", "draining", headers=retry_after())
WRONG = Problem(502, "The model's reply holds no usable embeddings.", "bad_embeddings")


class _One(msgspec.Struct):
    index: int
    embedding: list[float]


class _Reply(msgspec.Struct):
    data: list[_One]


def text_form(vector: Sequence[float]) -> tuple[str, int]:
    """A vector of length one as pgvector reads it, and the next dimensions that have an index. Raises ValueError."""
    size = next((one for one in DIMENSIONS if one >= len(vector)), None)
    if size is None:
        raise ValueError(f"{len(vector)} dimensions are too many; at most {DIMENSIONS[-1]}")
    norm = math.sqrt(sum(one * one for one in vector))
    if not math.isfinite(norm) or norm == 0:
        raise ValueError("a vector has no direction")
    filled = [*(one / norm for one in vector), *([0.0] * (size - len(vector)))]
    return "[" + ",".join(f"{one:.5g}" for one in filled) + "]", size


def read_vectors(body: bytes, count: int) -> list[tuple[str, int]]:
    """Raises Refused (502)."""
    try:
        data = sorted(msgspec.json.decode(body, type=_Reply).data, key=lambda one: one.index)
        if [one.index for one in data] != list(range(count)):
            raise ValueError("some are missing")
        return [text_form(one.embedding) for one in data]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise Refused(WRONG) from None


def passed_on(status: int, body: bytes, headers: Mapping[str, str]) -> Refused:
    """A refusal of the gateway's own door, as it was."""
    try:
        error = msgspec.json.decode(body)["error"]
        message, code = str(error["message"]), error.get("code")
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        message, code = "the request for embeddings failed", None
    after = headers.get("retry-after", "")
    more = ((b"retry-after", after.encode()),) if after.isdecimal() else ()
    return Refused(Problem(status, f"Embeddings: {message}", code if isinstance(code, str) else None, headers=more))


class Door:
    """A client of this gateway."""

    def __init__(self, url: str, embed_seconds: float, batch: int) -> None:
        self.url = url
        self._seconds = embed_seconds
        self._batch = batch
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp  # 8 MB and 0.2 s that a gateway without such requests does not need

            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
                timeout=aiohttp.ClientTimeout(total=None, connect=2),
            )
        return self._session

    async def embed(
        self, model: str, texts: Sequence[str], authorization: bytes, *, query: bool = False
    ) -> list[tuple[str, int]]:
        """For each text its vector as pgvector reads it, and the dimensions. Raises Refused.

        `query`: said to models that make another vector of a question than of a passage.
        """
        found: list[tuple[str, int]] = []
        for start in range(0, len(texts), self._batch):
            found += await self._some(model, texts[start : start + self._batch], authorization, query=query)
        if len({size for _, size in found}) > 1:
            raise Refused(WRONG)
        return found

    async def _some(
        self, model: str, texts: Sequence[str], authorization: bytes, *, query: bool
    ) -> list[tuple[str, int]]:
        import aiohttp

        asked = {"model": model, "input": list(texts), "encoding_format": "float"}
        body = msgspec.json.encode(asked | ({"input_type": "search_query"} if query else {}))
        headers = {"authorization": authorization.decode("latin-1"), "content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self.session().post(f"{self.url}/v1/embeddings", data=body, headers=headers) as reply,
            ):
                content = await reply.read()  # of this very gateway, whose engines' replies are bounded
        except TimeoutError:
            text = f"Time-out: embeddings took longer than {self._seconds:g} s."
            raise Refused(Problem(504, text, "timeout")) from None
        except aiohttp.ClientError:
            raise Refused(AWAY) from None
        if reply.status != 200:
            raise passed_on(reply.status, content, reply.headers)
        return read_vectors(content, len(texts))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
