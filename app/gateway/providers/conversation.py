"""An OpenAI chat request as a conversation that other APIs can be asked with. Pure.

What another API has no way to say is refused (`Untranslatable`), never dropped silently where the answer would change.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=_-]+)")
_UNSAID = ("logprobs", "audio", "prediction", "logit_bias", "guided_json", "guided_regex", "structured_outputs")
"""Fields that change the answer and that neither Anthropic nor Bedrock Converse knows."""


class Untranslatable(Exception):  # noqa: N818 - a normal outcome: another model of the chain may be asked
    """The message names the field."""


@dataclass(slots=True)
class Image:
    """`data` is base64; empty where `url` says where it is."""

    kind: str = ""
    data: str = ""
    url: str = ""


@dataclass(slots=True)
class Call:
    identity: str
    name: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class Result:
    identity: str
    text: str


Block = str | Image | Call | Result


@dataclass(slots=True)
class Turn:
    role: str
    """`user` or `assistant`."""
    blocks: list[Block] = field(default_factory=list)


@dataclass(slots=True)
class Tool:
    name: str
    description: str
    schema: dict[str, Any]


@dataclass(slots=True)
class Conversation:
    system: list[str]
    turns: list[Turn]
    tools: list[Tool]
    choice: str | None
    """`auto`, `any`, `none`, or `=` and a tool's name."""
    parallel: bool
    max_tokens: int
    temperature: float | None
    top_p: float | None
    stop: list[str]
    stream: bool


def read(body: bytes, most_tokens: int) -> Conversation:
    """Reads the body of a chat request. Raises Untranslatable."""
    content = msgspec.json.decode(body)
    if not isinstance(content, dict):
        raise Untranslatable("the body")
    for name in _UNSAID:
        if content.get(name):
            raise Untranslatable(f"`{name}`")
    if (content.get("n") or 1) != 1:
        raise Untranslatable("`n` above 1")
    system: list[str] = []
    turns: list[Turn] = []
    for number, message in enumerate(content.get("messages") or ()):
        _message(message, system, turns, f"`messages.{number}`")
    wanted = content.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema"):
        system.append(_json_only(wanted))
    stop = content.get("stop")
    asked = [content.get(name) for name in ("max_completion_tokens", "max_tokens")]
    given = [int(value) for value in asked if value is not None]
    return Conversation(
        system=system,
        turns=turns,
        tools=[_tool(one) for one in content.get("tools") or ()],
        choice=_choice(content.get("tool_choice")),
        parallel=content.get("parallel_tool_calls") is not False,
        max_tokens=min([*given, most_tokens]),
        temperature=_number(content, "temperature"),
        top_p=_number(content, "top_p"),
        stop=[stop] if isinstance(stop, str) else [one for one in stop or () if isinstance(one, str)],
        stream=bool(content.get("stream")),
    )


def _number(content: dict[str, Any], name: str) -> float | None:
    value = content.get(name)
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Untranslatable(f"`{name}`") from None


def _message(message: Any, system: list[str], turns: list[Turn], where: str) -> None:
    if not isinstance(message, dict):
        raise Untranslatable(where)
    role, content = message.get("role"), message.get("content")
    if role in ("system", "developer"):
        system.append(_only_text(content, where))
        return
    if role == "tool":
        block: Block = Result(str(message.get("tool_call_id", "")), _only_text(content, where))
        _turn(turns, "user").blocks.append(block)
        return
    if role not in ("user", "assistant"):
        raise Untranslatable(f"{where}.role")
    turn = _turn(turns, role)
    turn.blocks.extend(_blocks(content, where))
    for call in message.get("tool_calls") or ():
        turn.blocks.append(_call(call, where))


def _turn(turns: list[Turn], role: str) -> Turn:
    """The last turn where it is of this role (both APIs want them to alternate), else a new one."""
    if not turns or turns[-1].role != role:
        turns.append(Turn(role))
    return turns[-1]


def _blocks(content: Any, where: str) -> list[Block]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content] if content else []
    if not isinstance(content, list):
        raise Untranslatable(f"{where}.content")
    found: list[Block] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            found += [part["text"]] if part.get("text") else []
        elif kind == "image_url":
            address = part.get("image_url")
            found.append(_image(address.get("url") if isinstance(address, dict) else address, where))
        else:
            raise Untranslatable(f"{where}.content of type `{kind}`")
    return found


def _image(url: Any, where: str) -> Image:
    if isinstance(url, str) and url.startswith("https://"):
        return Image(url=url)
    found = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise Untranslatable(f"the image of {where}")
    try:
        base64.b64decode(found[2], validate=True)
    except (binascii.Error, ValueError):
        raise Untranslatable(f"the image of {where}") from None
    return Image(kind=found[1], data=found[2])


def _only_text(content: Any, where: str) -> str:
    blocks = _blocks(content, where)
    if not all(isinstance(block, str) for block in blocks):
        raise Untranslatable(f"an image in {where}")
    return "\n".join(str(block) for block in blocks)


def _call(call: Any, where: str) -> Call:
    function: Any = call.get("function") if isinstance(call, dict) else None
    try:
        arguments = msgspec.json.decode(function["arguments"] or "{}")
        name = function["name"]
    except (TypeError, KeyError, msgspec.DecodeError):
        raise Untranslatable(f"{where}.tool_calls") from None
    if not isinstance(arguments, dict) or not isinstance(name, str):
        raise Untranslatable(f"{where}.tool_calls")
    return Call(str(call.get("id", "")), name, arguments)


def _tool(tool: Any) -> Tool:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Untranslatable("`tools`: only functions")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return Tool(function["name"], function.get("description") or "", schema)


def _choice(choice: Any) -> str | None:
    if choice is None or choice in ("auto", "none"):
        return choice
    if choice == "required":
        return "any"
    name = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if not isinstance(name, str):
        raise Untranslatable("`tool_choice`")
    return f"={name}"


def _json_only(wanted: dict[str, Any]) -> str:
    told = "Answer with one JSON object and nothing else: no prose around it, no code fence."
    inner = wanted.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return (
        told
        if schema is None
        else f"{told} It must be valid by this JSON schema: {msgspec.json.encode(schema).decode()}"
    )
