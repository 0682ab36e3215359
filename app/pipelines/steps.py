"""What each kind of step does. A step gives a text, jumps, or fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.errors import NO_RETRY, Problem, Refused
from app.gateway.routing.rules import compiled
from app.gateway.routing.score import classify as by_words
from app.pipelines.config import Branch, CallOut, Classify, Fixed, Model, Prompt, Retrieve, Step, Validate
from app.pipelines.shape import problem as shape_problem

if TYPE_CHECKING:
    from app.pipelines.run import Run

OTHER = "other"
MOST_QUERY_CHARACTERS = 4000
_CLIENT_S = ("temperature", "top_p", "seed", "stop", "user", "frequency_penalty", "presence_penalty", "metadata")
"""Fields of the client's request that go to a model with the client's messages, or with a prompt."""


class StepFailed(Exception):  # noqa: N818 - a step that fails is a normal outcome, which may have a branch of its own
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Jump(Exception):  # noqa: N818 - as above
    def __init__(self, to: str, text: str, note: str = "", outcome: str = "jumped") -> None:
        super().__init__(to)
        self.to, self.text, self.note, self.outcome = to, text, note, outcome


async def perform(run: Run, step: Step) -> str:
    """What the step gives. Raises StepFailed, Jump, and TooLongError of templates."""
    return await _KINDS[step.kind](run, step)


async def _classify(run: Run, step: Classify) -> str:
    text = run.text(step.of)
    if step.classes:
        found = by_words(text, step.classes)
        label = OTHER if found is None else found.name
    else:
        intents = run.pipelines.service.intents
        label = OTHER if intents is None else intents.classify(text).name
    await run.progress("classified", label)
    return label


async def _retrieve(run: Run, step: Retrieve) -> str:
    api = run.pipelines.service.retrieval
    key = run.exchange.key
    if api is None or key is None:
        raise StepFailed(Problem(503, "no documents can be searched here", "retrieval_off", headers=(NO_RETRY,)))
    query = run.text(step.query).strip()[-MOST_QUERY_CHARACTERS:]
    if not query:
        raise StepFailed(Problem(400, "there is nothing to search for: the message of the user is empty", "no_query"))
    found: list[dict[str, Any]] = []
    for collection in step.collections:
        authorization = run.pipelines.authority.issue(key, run.inherited())
        try:
            found += await api.find(key.tenant, authorization, collection, query, step.k, step.mode)
        except Refused as refused:
            raise StepFailed(refused.problem) from None
        finally:
            run.pipelines.authority.end(authorization)
        await run.progress("retrieved", f"{min(len(found), step.k)} of {step.k} documents retrieved")
    if len(step.collections) > 1:
        found.sort(key=lambda one: -one["score"])
    found = found[: step.k]
    first = len(run.cited) + 1
    from app.retrieval.ground import numbered

    run.cited += [{"number": number, **one} for number, one in enumerate(found, first)]
    return numbered(found, first)


async def _prompt(run: Run, step: Prompt) -> str:
    prompt = run.pipelines.prompts[step.prompt, step.version]
    run.systems[step.name] = run.text(prompt.system)
    return run.text(prompt.user)


async def _model(run: Run, step: Model) -> str:
    return await ask(run, step, cached=step.cached)


async def ask(run: Run, step: Model, *, cached: bool) -> str:
    """The answer of a step's model. Raises StepFailed."""
    key = run.exchange.key
    assert key is not None  # noqa: S101 - the request is admitted
    left = run.pipeline.max_tokens - run.used.total
    if left < 1:
        text = f"the run has used its {run.pipeline.max_tokens} tokens (max_tokens of the pipeline)"
        raise StepFailed(Problem(400, text, "pipeline_out_of_tokens"))
    body = _body(run, step, min(step.max_tokens, left))
    authorization = run.pipelines.authority.issue(key, run.inherited())
    try:
        headers = _headers(run, authorization, cached=cached)
        if run.has_last_word(step):
            return await _stream(run, body, headers)
        reply = await run.pipelines.door.ask(body, headers)
    except Refused as refused:
        raise StepFailed(refused.problem) from None
    finally:
        run.pipelines.authority.end(authorization)
    run.used.add(reply.get("usage"))
    if isinstance(reply.get("citations"), list):
        run.cited += reply["citations"]
    try:
        choice = reply["choices"][0]
        text, run.finish = choice["message"]["content"], choice["finish_reason"] or "stop"
    except (LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise StepFailed(Problem(502, "the model's reply holds no text", "engine_failed"))
    return text


async def _stream(run: Run, body: dict[str, Any], headers: Mapping[str, str]) -> str:
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    parts: list[str] = []
    async with contextlib.aclosing(run.pipelines.door.stream(body, headers)) as events:
        async for event in events:
            run.used.add(event.get("usage"))
            choices = event.get("choices")
            if not choices and "citations" not in event:
                continue  # the model's own usage: that of the whole comes at the end
            if choices and isinstance(content := choices[0].get("delta", {}).get("content"), str):
                parts.append(content)
            await run.relay(event)
    return "".join(parts)


def _body(run: Run, step: Model, most: int) -> dict[str, Any]:
    asked = [run.body.get("max_tokens"), run.body.get("max_completion_tokens")]
    given = [int(one) for one in asked if isinstance(one, int | float | str) and not isinstance(one, bool)]
    target = run.pipelines.service.routes.get(step.model)
    key = run.exchange.key
    ceilings = [most, *given]
    if target is not None:
        ceilings.append(target.max_output_tokens)
        if key is not None:
            own = key.ceilings.get(target.name)
            ceilings += [one for one in (key.ceiling, own) if one is not None]
    body: dict[str, Any] = {name: run.body[name] for name in _CLIENT_S if run.body.get(name) is not None}
    if step.temperature is not None:
        body["temperature"] = step.temperature
    return body | {"model": step.model, "messages": _messages(run, step), "max_tokens": min(ceilings)}


def _messages(run: Run, step: Model) -> list[Any]:
    messages: list[Any] = run.body["messages"]
    if step.prompt is None:
        return messages
    earlier: list[Any] = []
    if step.conversation:
        users = [at for at, one in enumerate(messages) if isinstance(one, dict) and one.get("role") == "user"]
        earlier = messages[: users[-1]] if users else list(messages)
        earlier = [one for one in earlier if not (isinstance(one, dict) and one.get("role") in ("system", "developer"))]
    system = run.systems.get(step.prompt) or run.values["system"]
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *earlier, {"role": "user", "content": run.values.get(step.prompt, "")}]


def _headers(run: Run, authorization: bytes, *, cached: bool) -> dict[str, str]:
    exchange = run.exchange
    headers = {"authorization": authorization.decode(), "content-type": "application/json"}
    if exchange.cache_headers:
        for name, value in exchange.cache_headers:
            headers[name.decode()] = value.decode("latin-1")
    else:
        headers["x-penstock-cache"] = "allow" if cached else "no-store"
    if exchange.feature is not None:
        headers["x-penstock-feature"] = exchange.feature
    for name, value in exchange.wishes.items():
        headers[name.decode()] = value.decode("latin-1")
    return headers


async def _validate(run: Run, step: Validate) -> str:
    text = run.values.get(step.of, "")
    for tried in range(step.retries + 1):
        told = fault_of(text, step)
        if not told:
            return text
        if tried < step.retries:
            await run.progress("retried", told)
            model = next(one for one in run.pipeline.steps if one.name == step.of)
            assert isinstance(model, Model)  # noqa: S101 - checked when the settings were read
            text = run.values[step.of] = await ask(run, model, cached=False)
    if step.otherwise is not None:
        raise Jump(step.otherwise, text, told, "invalid")
    raise StepFailed(Problem(502, f"what `{step.of}` gave is not valid: {told}", "pipeline_validation_failed"))


def fault_of(text: str, step: Validate) -> str:
    """Why a text is not valid, in a sentence; empty where it is."""
    if not step.min_characters <= len(text) <= step.max_characters:
        return f"it has {len(text)} characters; allowed: {step.min_characters} to {step.max_characters}"
    if step.pattern is not None and compiled(step.pattern).fullmatch(text) is None:
        return "it does not match the pattern"
    if step.json_schema is None:
        return ""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "it is no JSON"
    return shape_problem(value, step.json_schema)


async def _branch(run: Run, step: Branch) -> str:
    text = run.text(step.of)
    plain = text.strip().casefold()
    for case in step.cases:
        if any(plain == one.strip().casefold() for one in case.equals):
            raise Jump(case.to, text, f"to {case.to}")
    return text


async def _call_out(run: Run, step: CallOut) -> str:
    pipelines, exchange = run.pipelines, run.exchange
    if pipelines.secret is None:
        raise StepFailed(Problem(503, "this gateway has no secret to sign with", "call_out_off", headers=(NO_RETRY,)))
    await _limited(run)
    identity = exchange.request_id.decode("ascii")
    data = {"pipeline": run.pipeline.name, "step": step.name, "request_id": identity, "text": run.text(step.send)}
    from datetime import UTC, datetime

    content: dict[str, object] = {"type": "pipeline.step", "timestamp": datetime.now(UTC).isoformat(), "data": data}
    from app.pipelines.outcall import CallOutError, call_out

    try:
        return await call_out(
            step.url,
            f"msg_{identity}_{step.name}",
            content,
            pipelines.secret,
            pipelines.config.call_out_networks,
            step.max_bytes,
        )
    except CallOutError as error:
        raise StepFailed(Problem(502, str(error), "call_out_failed")) from None


async def _limited(run: Run) -> None:
    """A call out counts as a request of the client, of no tokens. Raises StepFailed."""
    exchange = run.exchange
    limiter, key, target = exchange.service.limiter, exchange.key, exchange.target
    plan = None if key is None or target is None else limiter.plan(key, target.route)
    if plan is None:
        return
    permit = limiter.permit(plan, 0, 0)
    answer: asyncio.Future[Problem | None] = asyncio.get_running_loop().create_future()
    permit.ask(lambda problem: None if answer.done() else answer.set_result(problem))
    try:
        problem = await answer
    finally:
        permit.settle(0, 0)
    if problem is not None:
        raise StepFailed(problem)


async def _text(run: Run, step: Fixed) -> str:
    run.finish = "stop"
    return run.text(step.text)


_KINDS: Mapping[str, Callable[[Run, Any], Coroutine[Any, Any, str]]] = {
    "classify": _classify,
    "retrieve": _retrieve,
    "prompt": _prompt,
    "model": _model,
    "validate": _validate,
    "branch": _branch,
    "callOut": _call_out,
    "text": _text,
}
