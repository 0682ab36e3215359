"""The shapes of vLLM 0.32's replies: keys, their order, fixed values. Pure.

Taken from recorded replies; the contract test compares them key by key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VERSION = "0.32.0"
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


class ApiError(Exception):
    """A request that is refused; `body` is the reply."""

    def __init__(self, status: int, message: str, kind: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def bad_parameter(message: str, name: str, value: object) -> ApiError:
    """A value out of its bounds, found when the request is turned into sampling parameters."""
    return ApiError(400, f"{message} (parameter={name}, value={value})", "BadRequestError", name)


def invalid(kind: str, location: str, message: str, given: object, context: Json | None = None) -> ApiError:
    """A body of the wrong form, found by the schema."""
    detail: Json = {"type": kind, "loc": location, "msg": message, "input": _shown(given)}
    if context is not None:
        detail["ctx"] = context
    return ApiError(400, f"1 validation error:\n  {detail}", "Bad Request", location)


def unknown_model(name: str, names: Sequence[str]) -> ApiError:
    aliases = ", ".join(names)
    return ApiError(404, f"The model `{name}` does not exist. Valid aliases: {aliases}.", "NotFoundError", "model")


def queue_full(limit: str, value: int) -> ApiError:
    return ApiError(
        503,
        f"The engine's queue is full ({limit}={value}). Please retry later or on a different instance.",
        "Service Unavailable",
    )


def internal_error(message: str) -> ApiError:
    return ApiError(500, message, "InternalServerError")


def draining() -> ApiError:
    return internal_error("cannot schedule new futures after shutdown")


def engine_dead() -> ApiError:
    return internal_error("EngineCore encountered an issue. See stack trace (above) for the root cause.")


def not_enabled(path: str) -> ApiError:
    """Routes that need --enable-scale-out."""
    return ApiError(403, f"{path} is disabled. Pass --enable-scale-out to enable it.", "PermissionDeniedError")


def dump(content: object) -> bytes:
    """Compact JSON with characters left as they are."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _shown(given: object) -> str:
    """A value as vLLM's messages show it: containers only by their size."""
    if isinstance(given, dict | list):
        return f"<{type(given).__name__} of {len(given)} items>"
    return str(given)[:64]


@dataclass(frozen=True, slots=True)
class Identity:
    """What every reply to one request carries. `created` in whole seconds."""

    id: str
    created: int
    model: str
    fingerprint: str


@dataclass(slots=True)
class Choice:
    """One finished answer. `logprobs` in the form of its route."""

    index: int
    text: str
    finish_reason: str
    stop_reason: str | None
    token_ids: list[int] | None = None
    logprobs: Json | None = None
    prompt_logprobs: list[Json | None] | None = None
    tool_calls: list[Json] | None = None


def usage(prompt: int, completion: int) -> Json:
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def full_usage(prompt: int, completion: int, cached: int | None = None) -> Json:
    details = None if cached is None else {"audio_tokens": None, "cached_tokens": cached}
    return {**usage(prompt, completion), "prompt_tokens_details": details, "completion_tokens_details": None}


def chat(identity: Identity, choices: Sequence[Choice], used: Json) -> Json:
    return {
        "id": identity.id,
        "object": "chat.completion",
        "created": identity.created,
        "model": identity.model,
        "choices": [_chat_choice(choice) for choice in choices],
        "service_tier": None,
        "system_fingerprint": identity.fingerprint,
        "usage": used,
        "prompt_logprobs": choices[0].prompt_logprobs,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _chat_choice(choice: Choice) -> Json:
    message: Json = {
        "role": "assistant",
        "content": choice.text,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "reasoning": None,
    }
    if choice.tool_calls is not None:
        message = {**message, "content": None, "tool_calls": choice.tool_calls}
    return {
        "index": choice.index,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish_reason,
        "stop_reason": choice.stop_reason,
        "token_ids": choice.token_ids,
        "routed_experts": None,
    }


def completion(identity: Identity, choices: Sequence[Choice], used: Json) -> Json:
    return {
        "id": identity.id,
        "object": "text_completion",
        "created": identity.created,
        "model": identity.model,
        "choices": [
            {
                "index": choice.index,
                "text": choice.text,
                "logprobs": choice.logprobs,
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                "token_ids": choice.token_ids,
                "prompt_logprobs": choice.prompt_logprobs,
                "prompt_token_ids": None,
                "routed_experts": None,
            }
            for choice in choices
        ],
        "service_tier": None,
        "system_fingerprint": identity.fingerprint,
        "usage": used,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def responses_usage(prompt: int, completion: int, cached: int) -> Json:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": cached,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": completion,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": prompt + completion,
    }


def responses_message(message_id: str, text: str, status: str = "completed") -> Json:
    content = [{"annotations": [], "text": text, "type": "output_text", "logprobs": None}]
    return {
        "id": message_id,
        "content": content if text or status == "completed" else [],
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def responses(identity: Identity, body: Json, status: str, output: list[Json], used: Json | None) -> Json:
    """`body` is the request: some of its values are echoed."""
    return {
        "id": identity.id,
        "created_at": identity.created,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata"),
        "model": identity.model,
        "object": "response",
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice", "auto" if body.get("tools") else "none"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "background": False,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "reasoning": None,
        "service_tier": "auto",
        "status": status,
        "text": body.get("text"),
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": used,
        "user": body.get("user"),
        "presence_penalty": body.get("presence_penalty", 0.0),
        "frequency_penalty": body.get("frequency_penalty", 0.0),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }


ANTHROPIC_STOPS = {"length": "max_tokens", "stop": "end_turn", "tool_calls": "tool_use", "abort": "end_turn"}


def messages(identity: Identity, choice: Choice, prompt: int, completion: int) -> Json:
    stop = "stop_sequence" if choice.stop_reason is not None else ANTHROPIC_STOPS[choice.finish_reason]
    return {
        "id": identity.id,
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": choice.text}],
        "model": identity.model,
        "stop_reason": stop,
        "usage": {"input_tokens": prompt, "output_tokens": completion},
    }


def models(
    names: Sequence[str], root: str, loras: dict[str, str], created: int, max_model_len: int, ids: Sequence[str]
) -> Json:
    """`ids` are the permissions' ids, one a model."""
    cards = [(name, root, None, max_model_len) for name in names]
    cards += [(name, path, names[0], max_model_len) for name, path in loras.items()]
    return {"object": "list", "data": [_card(*card, created, id_) for card, id_ in zip(cards, ids, strict=True)]}


def _card(name: str, root: str, parent: str | None, max_model_len: int, created: int, permission: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": root,
        "parent": parent,
        "max_model_len": max_model_len,
        "permission": [
            {
                "id": f"modelperm-{permission}",
                "object": "model_permission",
                "created": created,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }
