"""From a request's body to what shall be generated, with vLLM's checks in vLLM's words. Pure.

Each `*_plan` function takes a decoded body and raises ApiError where the body is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from app.engine.replies import ApiError, Json, bad_parameter, dump, invalid, unknown_model
from app.engine.structured import fixed_answer, tool_call
from app.engine.tokens import Tokenizer

COMPLETION_TOKENS = 16
"""`max_tokens` of /v1/completions where the request names none."""


@dataclass(frozen=True)
class Served:
    """The model as requests see it."""

    tokenizer: Tokenizer
    names: tuple[str, ...]
    max_model_len: int
    loras: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """One prompt: its tokens; its text and where the answer begins in it (None: anywhere); what it is about."""

    tokens: list[int]
    text: str
    start: int | None = None
    subject: str = ""
    join: bool = False
    """The text ends with a role: the answer's first word loses its blank."""


@dataclass
class Plan:
    """What to generate: `n` answers to each prompt."""

    prompts: list[Prompt]
    model: str
    limit: int
    """Most tokens of an answer; each prompt may leave room for less."""
    explicit_limit: bool = True
    n: int = 1
    least: int = 0
    ignore_end: bool = False
    temperature: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    include_stop: bool = False
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    token_ids: bool = False
    echo: bool = False
    answer: str | None = None
    tool: tuple[str, str] | None = None
    salt: int = 0
    body: Json = field(default_factory=dict)


def decode_body(body: bytes, content_type: str) -> Json:
    if content_type.split(";", 1)[0].strip().lower() != "application/json":
        message = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise ApiError(400, message, "Bad Request")
    if not body:
        raise invalid("missing", "body", "Field required", None)
    try:
        content = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid("json_invalid", f"body.{error.pos}", "JSON decode error", {}, {"error": error.msg}) from None
    except (UnicodeDecodeError, RecursionError):
        raise ApiError(400, "There was an error parsing the body", "Bad Request") from None
    if not isinstance(content, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise invalid("model_attributes_type", "body", message, content)
    return content


def check_model(served: Served, body: Json) -> str:
    name = body.get("model")
    if name is None:
        return served.names[0]
    if not isinstance(name, str):
        raise invalid("string_type", "body.model", "Input should be a valid string", name)
    if name in served.loras:
        return name
    if name not in served.names:
        raise unknown_model(name, served.names)
    return served.names[0]


def chat_plan(served: Served, body: Json) -> Plan:
    if "messages" not in body:
        raise invalid("missing", "body.messages", "Field required", body)
    continued, prompted = body.get("continue_final_message", False), body.get("add_generation_prompt", True)
    if continued and prompted:
        message = "Value error, Cannot set both `continue_final_message` and `add_generation_prompt` to True."
        raise invalid("value_error", "body", message, body)
    model = check_model(served, body)
    prompt = chat_prompt(served.tokenizer, body["messages"], body.get("tools"), bool(continued))
    plan = _plan(served, body, model, [prompt], None)
    plan.tool = tool_call(body)
    plan.answer = plan.tool[1] if plan.tool else fixed_answer(body)
    if body.get("logprobs"):
        plan.logprobs = integer(body, "top_logprobs", 0, 0, 20) or 0
    return plan


def chat_batch_plan(served: Served, body: Json) -> Plan:
    conversations = body.get("messages")
    if not isinstance(conversations, list):
        raise invalid("missing", "body.messages", "Field required", body)
    if body.get("stream"):
        raise ApiError(400, "Batch chat completions do not support streaming.", "BadRequestError", "stream")
    model = check_model(served, body)
    prompts = [chat_prompt(served.tokenizer, messages, None, False) for messages in conversations]
    if not prompts:
        raise invalid("too_short", "body.messages", "List should have at least 1 item", conversations)
    return _plan(served, body, model, prompts, None)


def completion_plan(served: Served, body: Json) -> Plan:
    given = body.get("prompt")
    if given is None:
        message = "Value error, Either prompt or prompt_embeds must be provided and non-empty."
        raise invalid("value_error", "body", message, body)
    model = check_model(served, body)
    plan = _plan(served, body, model, plain_prompts(served.tokenizer, given), COMPLETION_TOKENS)
    plan.echo = bool(body.get("echo"))
    plan.answer = fixed_answer(body)
    plan.logprobs = integer(body, "logprobs", None, 0, 20)
    return plan


def responses_plan(served: Served, body: Json) -> Plan:
    given = body.get("input")
    if given is None:
        raise invalid("missing", "body.input", "Field required", body)
    messages: list[Any] = []
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    messages += [{"role": "user", "content": given}] if isinstance(given, str) else given
    model = check_model(served, body)
    prompt = chat_prompt(served.tokenizer, messages, body.get("tools"), False)
    limits = {**body, "max_tokens": body.get("max_output_tokens"), "stop": None, "n": 1}
    plan = _plan(served, limits, model, [prompt], None)
    plan.body = body
    return plan


def messages_plan(served: Served, body: Json) -> Plan:
    for name in ("messages", "max_tokens"):
        if name not in body:
            raise invalid("missing", f"body.{name}", "Field required", body)
    model = check_model(served, body)
    prompt = chat_prompt(served.tokenizer, anthropic_messages(body), None, False)
    limits = {**body, "stop": body.get("stop_sequences"), "n": 1}
    plan = _plan(served, limits, model, [prompt], None)
    plan.body = body
    return plan


def anthropic_messages(body: Json) -> list[Any]:
    messages = body["messages"]
    if not isinstance(messages, list):
        raise invalid("list_type", "body.messages", "Input should be a valid list", messages)
    return [{"role": "system", "content": body["system"]}, *messages] if body.get("system") else messages


def chat_prompt(tokenizer: Tokenizer, messages: object, tools: object, continued: bool) -> Prompt:
    """Applies the chat template `role: content` + line break, and `assistant:` at the end."""
    if not isinstance(messages, list):
        raise invalid("list_type", "body.messages", "Input should be a valid list", messages)
    tokens: list[int] = []
    text: list[str] = []
    subject = ""
    line = tokenizer.spell("\n")
    if isinstance(tools, list) and tools:
        text.append(f"tools: {dump(tools).decode()}\n")
        tokens += tokenizer.spell("tools:") + tokenizer.encode(text[-1][6:-1]) + line
    last = len(messages) - 1
    begun: str | None = None
    for index, message in enumerate(messages):
        role, content = _message(message, index)
        if role == "user":
            subject = content
        if continued and index == last:
            begun = content
            break
        tokens += tokenizer.spell(f"{role}:") + tokenizer.encode(f" {content}") + line
        text.append(f"{role}: {content}\n")
    tokens += tokenizer.spell("assistant:")
    text.append("assistant: ")
    start = sum(map(len, text))
    if begun is not None:
        tokens += tokenizer.encode(f" {begun}") if begun else []
        text.append(begun)
    return Prompt(tokens, "".join(text), start, subject, join=not begun)


def plain_prompts(tokenizer: Tokenizer, given: object, name: str = "prompt") -> list[Prompt]:
    """A string, a list of strings, a list of ids, or a list of lists of ids."""
    if isinstance(given, str):
        return [Prompt(tokenizer.encode(given), given)]
    if isinstance(given, list) and given:
        if all(isinstance(item, int) and not isinstance(item, bool) for item in given):
            return [_prompt_of_ids(tokenizer, given)]
        if all(isinstance(item, str) for item in given):
            return [Prompt(tokenizer.encode(item), item) for item in given]
        if all(isinstance(item, list) and all(isinstance(value, int) for value in item) for item in given):
            return [_prompt_of_ids(tokenizer, item) for item in given]
    raise invalid("string_type", f"body.{name}", "Input should be a valid string", given)


def room(served: Served, plan: Plan, prompt: Prompt) -> int:
    """Tokens that an answer to this prompt may have. Raises ApiError where prompt and answer do not fit the model."""
    count, most = len(prompt.tokens), served.max_model_len
    if count == 0:
        raise ApiError(400, "The decoder prompt cannot be empty", "BadRequestError")
    asked = plan.limit if plan.explicit_limit else 0
    if count + max(asked, 1) > most:
        message = (
            f"This model's maximum context length is {most} tokens. However, you requested {asked} output tokens and "
            f"your prompt contains {count} input tokens, for a total of {count + asked} tokens. Please reduce the "
            "length of the input prompt or the number of requested output tokens."
        )
        raise bad_parameter(message, "input_tokens", count)
    return min(plan.limit, most - count)


def _plan(served: Served, body: Json, model: str, prompts: list[Prompt], default_limit: int | None) -> Plan:
    stream = bool(body.get("stream"))
    options = body.get("stream_options")
    if options is not None and not stream:
        message = "Value error, Stream options can only be defined when `stream=True`."
        raise invalid("value_error", "body", message, body)
    options = options if isinstance(options, dict) else {}
    most = served.max_model_len
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    given = integer(body, name, None)
    limit = given if given is not None else default_limit
    if limit is not None and limit > most:
        message = f"{name}={limit} cannot be greater than max_model_len={most}. Please request fewer output tokens."
        raise bad_parameter(message, name, limit)
    if limit is not None and limit < 1:
        raise bad_parameter(f"{name} must be at least 1, got {limit}.", name, limit)
    plan = Plan(prompts, model, most if limit is None else limit, explicit_limit=given is not None, body=body)
    _sampling(plan, body)
    plan.stops = _stops(body.get("stop"))
    plan.include_stop = bool(body.get("include_stop_str_in_output"))
    plan.ignore_end = bool(body.get("ignore_eos"))
    plan.stream = stream
    plan.include_usage = bool(options.get("include_usage"))
    plan.continuous_usage = plan.include_usage and bool(options.get("continuous_usage_stats"))
    plan.token_ids = bool(body.get("return_token_ids"))
    plan.prompt_logprobs = _prompt_logprobs(body, stream)
    if body.get("cache_salt"):
        plan.salt = crc32(str(body["cache_salt"]).encode())
    return plan


def _prompt_logprobs(body: Json, stream: bool) -> int | None:
    """How many of each prompt token's likeliest are told beside it. vLLM takes it of whole answers alone."""
    wanted = integer(body, "prompt_logprobs", None, 0, 20)
    if wanted is not None and stream:
        message = "Value error, `prompt_logprobs` are not available when `stream=True`."
        raise invalid("value_error", "body", message, body)
    return wanted


def _sampling(plan: Plan, body: Json) -> None:
    temperature = _number(body, "temperature", 1.0)
    if temperature < 0:
        raise bad_parameter(f"temperature must be non-negative, got {temperature}.", "temperature", temperature)
    top_p = _number(body, "top_p", 1.0)
    if not 0 < top_p <= 1:
        raise bad_parameter(f"top_p must be in (0, 1], got {top_p}.", "top_p", top_p)
    for name in ("presence_penalty", "frequency_penalty"):
        penalty = _number(body, name, 0.0)
        if not -2 <= penalty <= 2:
            raise bad_parameter(f"{name} must be in [-2, 2], got {penalty}.", name, penalty)
    plan.temperature = temperature
    plan.n = integer(body, "n", 1, 1, 1024) or 1
    if plan.n > 1 and temperature == 0:
        raise bad_parameter(f"n must be 1 when using greedy sampling, got {plan.n}.", "n", plan.n)
    plan.seed = integer(body, "seed", None)
    plan.least = integer(body, "min_tokens", 0, 0) or 0
    if plan.least > plan.limit:
        message = f"min_tokens must be less than or equal to max_tokens={plan.limit}, got {plan.least}."
        raise bad_parameter(message, "min_tokens", plan.least)


def _stops(given: object) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise invalid("string_type", "body.stop", "Input should be a valid string", given)
    if "" in stops:
        raise bad_parameter("stop cannot contain an empty string.", "stop", stops)
    return tuple(stops)


def _message(message: object, index: int) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise invalid("dict_type", f"body.messages.{index}", "Input should be a valid dictionary", message)
    role = message.get("role")
    if not isinstance(role, str):
        raise invalid("missing", f"body.messages.{index}.role", "Field required", message)
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(_part(part, index) for part in content)
    elif content is not None and not isinstance(content, str):
        raise invalid("string_type", f"body.messages.{index}.content", "Input should be a valid string", content)
    return role, content or ""


def _part(part: object, index: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return part["text"]
    if isinstance(part, dict) and str(part.get("type", "")).startswith(("image", "audio", "video", "input_")):
        raise ApiError(400, f"At most 0 {part['type']}(s) may be provided in one prompt.", "BadRequestError")
    raise invalid("dict_type", f"body.messages.{index}.content", "Input should be a valid content part", part)


def _prompt_of_ids(tokenizer: Tokenizer, ids: Sequence[int]) -> Prompt:
    highest = max(ids, default=0)
    if highest >= tokenizer.size or min(ids, default=0) < 0:
        raise ApiError(400, f"Token id {highest} is out of vocabulary", "BadRequestError")
    return Prompt(list(ids), tokenizer.decode(ids))


def integer(
    body: Json, name: str, default: int | None, least: int | None = None, most: int | None = None
) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        message = "Input should be a valid integer"
        raise invalid("int_parsing" if isinstance(value, str) else "int_type", f"body.{name}", message, value)
    if least is not None and value < least:
        raise bad_parameter(f"{name} must be at least {least}, got {value}.", name, value)
    if most is not None and value > most:
        raise bad_parameter(f"{name} must be at most {most}, got {value}.", name, value)
    return value


def _number(body: Json, name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid("float_type", f"body.{name}", "Input should be a valid number", value)
    return float(value)
