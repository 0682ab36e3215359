"""The request that makes another engine go on with a broken stream (`continued`: the events that come). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from app.gateway.admit import Route
from app.gateway.progress import Progress

COMPLETION_TOKENS = 16
"""vLLM's and OpenAI's `max_tokens` of /v1/completions where the request names none."""

DONE = b"data: [DONE]\n\n"

_NEVER = (
    "echo", "guided_choice", "guided_grammar", "guided_json", "guided_regex", "kv_transfer_params", "prompt_embeds",
    "return_token_ids", "structured_outputs", "suffix", "truncate_prompt_tokens", "use_beam_search",
)  # fmt: skip
"""Fields with which an answer cannot be put together from two. False, 0, null and empty say that one is not used."""

Body = dict[str, msgspec.Raw]
_decode_body = msgspec.json.Decoder(Body).decode
_decode = msgspec.json.decode
_encode = msgspec.json.encode


class NotResumable(Exception):  # noqa: N818 - a normal outcome
    """`reason` is a word for logs, and ends the sentence that the client reads."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Continuation:
    """What another engine is asked.

    `seen` tokens of the answer were delivered, of which `prompted` are in the new prompt. `skip` is white space that
    the client has and the new engine will make again. `prompt`: tokens of the client's own prompt, where known.
    `again`: events that the client has of tokens whose text it does not have: the new engine makes them again.
    `only_usage`: the answer is whole, what is missing is its usage; with `finish` also the event that says so.
    """

    body: bytes
    seen: int = 0
    prompted: int = 0
    skip: str = ""
    again: int = 0
    role: bool = False
    prompt: int | None = None
    only_usage: bool = False
    finish: bool = False
    id: str | None = None
    created: int | None = None
    model: str | None = None


def continuation(route: Route, body: bytes, progress: Progress) -> Continuation:
    """Plans how to go on. Takes the tokens that are made again off `progress`. Raises NotResumable."""
    fields = _decode_body(body)
    if progress.obstacle:
        raise NotResumable(progress.obstacle)
    choices = _number(fields, "n") or 1
    if progress.finished >= choices * _prompts(route, fields):
        return _usage_only(fields, progress)
    if not progress.begun:
        return _plan(body, progress)
    if progress.finished or choices > 1:
        raise NotResumable("n")
    if progress.beyond_text:
        raise NotResumable(progress.beyond_text)
    _check(fields)
    stops = _stops(fields)
    text = "".join(progress.text)
    # A chat template may cut trailing white space off, and then the engine makes it again.
    sent = text.rstrip() if route == "chat" else text
    for stop in stops:
        if any(sent.endswith(stop[:length]) for length in range(1, len(stop))):
            raise NotResumable("stop_string")
    with_stop = _value(fields, "include_stop_str_in_output") is True
    lag = max(map(len, stops), default=1) - 1 if not with_stop else 0
    partly = progress.give_back(lag, white=route == "chat")
    if not _lessen(route, fields, progress.tokens):
        return _usage_only(fields, progress, finish=True)
    if sent:
        if route == "chat":
            _continue_messages(fields, sent)
        else:
            _continue_prompt(fields, sent)
    return _plan(
        _encode(fields),
        progress,
        skip=text[len(sent) :],
        again=progress.again,
        prompted=progress.tokens + partly if sent else 0,
    )


def finish_event(route: Route, progress: Progress, reason: str) -> bytes:
    """The event that ends the only choice."""
    head = {"id": progress.id, "object": _OBJECTS[route], "created": progress.created, "model": progress.model}
    content: dict[str, Any] = {"delta": {"content": ""}} if route == "chat" else {"text": ""}
    choice = {"index": 0, **content, "logprobs": None, "finish_reason": reason, "stop_reason": None}
    return b"data: %b\n\n" % _encode({**head, "choices": [choice]})


_OBJECTS = {"chat": "chat.completion.chunk", "completions": "text_completion", "embeddings": ""}


def _plan(body: bytes, progress: Progress, **more: Any) -> Continuation:
    prompt = None if progress.usage is None else progress.usage.prompt_tokens
    return Continuation(
        body,
        progress.tokens,
        role=progress.role,
        prompt=prompt,
        id=progress.id,
        created=progress.created,
        model=progress.model,
        **more,
    )


def _usage_only(fields: Body, progress: Progress, *, finish: bool = False) -> Continuation:
    """Has one token made, and dropped, to learn how many tokens the prompt has."""
    for name in ("max_completion_tokens", "min_tokens"):
        fields.pop(name, None)
    fields["max_tokens"] = msgspec.Raw(b"1")
    return _plan(_encode(fields), progress, only_usage=True, finish=finish)


def _check(fields: Body) -> None:
    for name in _NEVER:
        if _value(fields, name):
            raise NotResumable(name)
    for name in ("logprobs", "prompt_logprobs"):  # 0 asks for those of the tokens themselves
        value = _value(fields, name)
        if value is not None and value is not False:
            raise NotResumable(name)
    if (_number(fields, "best_of") or 1) > 1:
        raise NotResumable("best_of")
    if _value(fields, "include_reasoning") is False:  # a thought may have come before the text, unseen
        raise NotResumable("include_reasoning")
    form = _value(fields, "response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        raise NotResumable("response_format")
    if _value(fields, "tool_choice") not in (None, "none", "auto"):
        raise NotResumable("tool_choice")
    if _value(fields, "add_generation_prompt") is False and _value(fields, "continue_final_message") is not True:
        raise NotResumable("add_generation_prompt")


def _continue_messages(fields: Body, text: str) -> None:
    """Puts the text so far behind the messages, or into the last one where the client had the engine continue that."""
    messages = bytes(fields["messages"])
    if _value(fields, "continue_final_message") is True:
        given: list[msgspec.Raw] = _decode(messages, type=list[msgspec.Raw])
        last: dict[str, Any] = _decode(given[-1])
        content = last.get("content")
        if isinstance(content, str):
            last["content"] = content + text
        elif isinstance(content, list) and content and isinstance(content[-1], dict) and "text" in content[-1]:
            content[-1]["text"] += text
        elif content in (None, []):
            last["content"] = text
        else:
            raise NotResumable("continue_final_message")
        given[-1] = msgspec.Raw(_encode(last))
        fields["messages"] = msgspec.Raw(_encode(given))
        return
    more = _encode({"role": "assistant", "content": text})
    fields["messages"] = msgspec.Raw(b"%b,%b]" % (messages.rstrip()[:-1], more))
    fields["continue_final_message"] = msgspec.Raw(b"true")
    fields["add_generation_prompt"] = msgspec.Raw(b"false")


def _continue_prompt(fields: Body, text: str) -> None:
    prompt = _value(fields, "prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise NotResumable("prompt")
    fields["prompt"] = msgspec.Raw(_encode(prompt + text))


def _lessen(route: Route, fields: Body, tokens: int) -> bool:
    """Takes what was delivered off the limits. False where nothing is left to generate."""
    if route == "completions" and "max_tokens" not in fields:
        fields["max_tokens"] = msgspec.Raw(b"%d" % COMPLETION_TOKENS)
    for name, least in (("max_tokens", 1), ("max_completion_tokens", 1), ("min_tokens", 0)):
        limit = _number(fields, name)
        if limit is None:
            continue
        if limit - tokens < least and least:
            return False
        fields[name] = msgspec.Raw(b"%d" % max(limit - tokens, 0))
    return True


def _prompts(route: Route, fields: Body) -> int:
    prompt = _value(fields, "prompt") if route == "completions" else None
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1


def _stops(fields: Body) -> list[str]:
    stop = _value(fields, "stop")
    found = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    return [one for one in found if isinstance(one, str)]


def _value(fields: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = fields.get(name)
    return None if raw is None else _decode(raw)


def _number(fields: Body, name: str) -> int | None:
    """An integer in any of the forms that admission let through: 5, 5.0 and "5"."""
    value = _value(fields, name)
    return None if value is None else int(value)
