"""Amazon Bedrock's Converse API: requests, replies, event streams; and the signature of all that is asked there.

Source of names: the API references of Converse and ConverseStream. `botocore` signs and reads the event stream; it is
imported here alone, so that a gateway without Bedrock does not load it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.eventstream import EventStreamBuffer, ParserError
from botocore.exceptions import BotoCoreError

from app.gateway.providers.chunks import Chunks, Said, Used, count, reply
from app.gateway.providers.conversation import Block, Call, Image, Untranslatable, read

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
STATUS = {
    "throttlingexception": 429,
    "serviceunavailableexception": 503,
    "modelnotreadyexception": 503,
    "modeltimeoutexception": 504,
    "modelstreamerrorexception": 500,
    "internalserverexception": 500,
    "validationexception": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
}


def path(model: str, *, stream: bool) -> str:
    """The model's id is one segment: its colons and slashes are quoted."""
    return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"


def invoke_path(model: str) -> str:
    """Of InvokeModel, which embedding models are asked by: Converse does not know them."""
    return f"/model/{quote(model, safe='')}/invoke"


def sign(url: str, body: bytes, region: str, credentials: ReadOnlyCredentials) -> dict[str, str]:
    """The headers of a POST request signed by Signature Version 4, `host` aside."""
    request = AWSRequest("POST", url, headers={"content-type": "application/json"}, data=body)
    SigV4Auth(credentials, "bedrock", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def request(body: bytes, most_tokens: int) -> bytes:
    """The body of a Converse request from that of a chat request. Raises Untranslatable."""
    asked = read(body, most_tokens)
    inference: dict[str, Any] = {"maxTokens": asked.max_tokens}
    if asked.temperature is not None:
        inference["temperature"] = min(asked.temperature, 1.0)
    if asked.top_p is not None:
        inference["topP"] = asked.top_p
    if asked.stop:
        inference["stopSequences"] = asked.stop
    content: dict[str, Any] = {
        "messages": [{"role": turn.role, "content": [_block(one) for one in turn.blocks]} for turn in asked.turns],
        "inferenceConfig": inference,
    }
    if asked.system:
        content["system"] = [{"text": text} for text in asked.system if text]
    if asked.tools and asked.choice != "none":  # Converse has no such choice: without tools none is called
        tools = [
            {
                "toolSpec": {
                    "name": one.name,
                    "description": one.description or one.name,
                    "inputSchema": {"json": one.schema},
                }
            }
            for one in asked.tools
        ]
        content["toolConfig"] = settings = dict[str, Any](tools=tools)
        if asked.choice is not None:
            named = asked.choice.startswith("=")
            choice = {"tool": {"name": asked.choice[1:]}} if named else {asked.choice: {}}
            settings["toolChoice"] = choice
    return msgspec.json.encode(content)


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, str):
        return {"text": block}
    if isinstance(block, Image):
        if block.url:
            raise Untranslatable("an image by URL")
        return {"image": {"format": block.kind.removeprefix("image/"), "source": {"bytes": block.data}}}
    if isinstance(block, Call):
        return {"toolUse": {"toolUseId": block.identity, "name": block.name, "input": block.arguments}}
    return {"toolResult": {"toolUseId": block.identity, "content": [{"text": block.text}]}}


def _used(usage: Any) -> Used:
    if not isinstance(usage, dict):
        return Used()
    return Used(
        count(usage.get("inputTokens")),
        count(usage.get("cacheReadInputTokens")),
        count(usage.get("cacheWriteInputTokens")),
        count(usage.get("outputTokens")),
    )


def whole(body: bytes, model: str, identity: str) -> bytes:
    """A chat reply from a Converse reply. Raises ValueError for what is none."""
    content = msgspec.json.decode(body)
    message = content.get("output", {}).get("message") if isinstance(content, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        raise ValueError("no message")
    said = Said()
    for block in message["content"]:
        if "text" in block:
            said.text.append(str(block["text"]))
        elif "toolUse" in block:
            use = block["toolUse"]
            said.calls.append((str(use.get("toolUseId", "")), str(use.get("name", "")), use.get("input") or {}))
        elif "reasoningContent" in block:
            said.reasoning.append(str((block["reasoningContent"].get("reasoningText") or {}).get("text", "")))
    stop = content.get("stopReason")
    said.finish = None if stop is None else FINISH.get(stop, "stop")
    return reply(identity, model, said, _used(content.get("usage")))


class Stream:
    """Turns the binary event stream of ConverseStream into the bytes of a chat stream."""

    def __init__(self, identity: str, model: str) -> None:
        self._chunks = Chunks(identity, model)
        self._buffer = EventStreamBuffer()

    def feed(self, data: bytes) -> bytes:
        """Raises ValueError for bytes that are no event stream, or whose checksum is wrong."""
        out: list[bytes] = []
        try:
            self._buffer.add_data(data)
            for message in self._buffer:
                headers = {name: str(value) for name, value in message.headers.items()}
                out.append(self._event(headers, message.payload))
        except (ParserError, BotoCoreError) as error:
            raise ValueError(str(error)) from None
        return b"".join(out)

    def _event(self, headers: dict[str, str], payload: bytes) -> bytes:
        content = msgspec.json.decode(payload) if payload else {}
        chunks = self._chunks
        if headers.get(":message-type") in ("exception", "error"):
            name = headers.get(":exception-type") or headers.get(":error-code") or ""
            return chunks.error(STATUS.get(name.lower(), 500), str(content.get("message", "")))
        kind = headers.get(":event-type")
        if kind == "contentBlockDelta":
            return self._delta(content.get("delta") or {})
        if kind == "contentBlockStart":
            use = (content.get("start") or {}).get("toolUse")
            return b"" if use is None else chunks.call(str(use.get("toolUseId", "")), str(use.get("name", "")))
        if kind == "messageStop":
            return chunks.finish(FINISH.get(content.get("stopReason"), "stop"))
        if kind == "metadata":  # the last event: usage comes after the stop
            chunks.used = _used(content.get("usage"))
            return chunks.end()
        return b""

    def _delta(self, delta: dict[str, Any]) -> bytes:
        if "text" in delta:
            return self._chunks.text(delta["text"] or "")
        if "toolUse" in delta:
            return self._chunks.arguments(delta["toolUse"].get("input") or "")
        if "reasoningContent" in delta:
            return self._chunks.reasoning(delta["reasoningContent"].get("text") or "")
        return b""
