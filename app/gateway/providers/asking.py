"""The gateway's own questions to an embedding model outside, beside those of clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from app.gateway.errors import Refused
from app.gateway.providers.conversation import Untranslatable
from app.gateway.providers.keys import NoKey

if TYPE_CHECKING:
    from app.gateway import retry
    from app.gateway.client import Sink
    from app.gateway.providers.batch import Batch
    from app.gateway.providers.outside import Outside


class CallError(Exception):
    """The provider gave no answer to the gateway's own question. The message says why."""


class Waiting:
    """The calls of the gateway's own question, which nobody waits long for: nothing is asked again."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.result: asyncio.Future[bytes] = loop.create_future()

    def batch_connected(self, batch: Batch) -> None:
        pass

    def batch_goes_on(self, pause: float) -> None:
        pass

    def may_ask_again(self, failure: retry.Failure) -> bool:
        return False

    def batch_done(self, body: bytes) -> None:
        if not self.result.done():
            self.result.set_result(body)

    def batch_failed(self, failure: retry.Failure) -> None:
        if not self.result.done():
            self.result.set_exception(CallError(failure.problem.message))

    def batch_fault(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(CallError(f"the gateway failed: {type(error).__name__}"))


async def ask_bedrock(outside: Outside, model: str, text: str) -> bytes:
    """OpenAI's reply for one text. Raises CallError; cancelling it ends the call."""
    waiting = Waiting(asyncio.get_running_loop())
    try:
        batch = outside.batch(model, msgspec.json.encode({"model": model, "input": text}), waiting, 1)
    except (Refused, Untranslatable) as refusal:
        raise CallError(str(refusal)) from None
    outside.engine.in_flight += 1
    try:
        batch.start()
        return await waiting.result
    finally:
        batch.abort()
        outside.engine.in_flight -= 1


def ask_compatible(outside: Outside, model: str, body: bytes, sink: Sink) -> None:
    """Sends a request in OpenAI's shape. Raises CallError."""
    try:
        outside.post_embeddings(sink, model, body)
    except NoKey as error:
        raise CallError(str(error)) from None
