"""One run of a pipeline for one request: its steps in their order, what each gave, and what the client is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from app.gateway.account import Usage
from app.gateway.errors import Problem, Refused
from app.gateway.retry import shutting_down
from app.gateway.trace.span import Done, Value, new_span
from app.pipelines import template
from app.pipelines.authority import Step as Inherited
from app.pipelines.config import END, MayFail, Model, Prompt
from app.pipelines.plan import following
from app.pipelines.shapes import EVENTS, JSON, Answer, Used, comment
from app.pipelines.steps import Jump, StepFailed, perform

if TYPE_CHECKING:
    from app.gateway.exchange import Exchange
    from app.pipelines.config import Pipeline, Step
    from app.pipelines.start import Pipelines

_NOTHING = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
"""The row of the whole has no tokens: those of its steps have."""
_NOT_TAKEN = ("tools", "functions", "logprobs", "top_logprobs", "response_format", "continue_final_message", "echo")
"""What a pipeline would have to ignore, and so refuses, unless it is null or false."""


class Run:
    """Made with the request, ended with it: `cancel` stops the engine that works for it."""

    def __init__(self, pipelines: Pipelines, pipeline: Pipeline, exchange: Exchange) -> None:
        self.pipelines = pipelines
        self.pipeline = pipeline
        self.exchange = exchange
        self.body: dict[str, Any] = {}
        self.values: dict[str, str] = {}
        """What the steps gave, by name, beside `input` and `system`."""
        self.systems: dict[str, str] = {}
        """Of prompt steps."""
        self.cited: list[dict[str, Any]] = []
        self.used = Used()
        self.finish = "stop"
        self.streamed = False
        """The last step's tokens are on their way to the client already."""
        self.calls = 0
        self.step: Step = pipeline.steps[0]
        self.told: list[dict[str, Any]] = []
        self._spans: list[Done] = []
        self._span = ""
        self._writable = asyncio.Event()
        self._writable.set()
        self._answered = ""
        self._done = False
        admitted = exchange.admitted
        self.streams = admitted is not None and admitted.stream
        self.answer = Answer(
            exchange.request_id.decode("ascii"),
            pipeline.name,
            self.streams and not getattr(admitted, "add_usage", True),
        )
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(lambda _: pipelines.ended(self))  # one that is cancelled before it began, too

    # -- what the exchange tells --

    def pause(self) -> None:
        self._writable.clear()

    def resume(self) -> None:
        self._writable.set()

    def cancel(self) -> None:
        """The request is over, or its client left."""
        if not self._done:
            self._done = True
            self._task.cancel()

    def stop(self) -> None:
        """The drain's time is over."""
        if not self._done:
            self._fail(shutting_down().problem)

    # -- for steps --

    def text(self, what: str) -> str:
        return template.fill(what, self.values)

    def inherited(self) -> Inherited:
        self.calls += 1
        exchange = self.exchange
        trace = b""
        if exchange.span is not None:
            flags = "01" if exchange.span.sampled else "00"
            trace = f"traceparent: 00-{exchange.span.trace}-{self._span}-{flags}\r\n".encode()
        return Inherited(self.pipeline.name, self.step.name, exchange.request_id, self.calls, trace, exchange.intent)

    async def progress(self, state: str, text: str = "") -> None:
        if self.streams and self.pipeline.progress and not self.exchange.response_complete:
            await self._writable.wait()
            head = b"" if self.exchange.response_started else self.exchange.begin(EVENTS, 200)
            self.exchange.write(comment(self.step.name, self.step.kind, state, text), head)

    async def relay(self, event: Mapping[str, Any]) -> None:
        """One event of the model that has the last word, as it comes."""
        await self._writable.wait()
        exchange = self.exchange
        head = b"" if exchange.response_started else exchange.begin(EVENTS, 200)
        if not self.streamed:
            self.streamed = True
            self._first()
            if self.cited:
                exchange.relay(self.answer.cited(self.cited), head)
                head = b""
        if not exchange.response_complete:
            exchange.relay(self.answer.relayed(event), head)

    def has_last_word(self, step: Model) -> bool:
        """Whether nothing follows a step, so that its tokens may go to the client as they come."""
        at = self.pipeline.steps.index(step)
        return self.streams and following(self.pipeline, at) == END

    # -- the run --

    async def _run(self) -> None:
        pipeline = self.pipeline
        try:
            self._read()
            async with asyncio.timeout(pipeline.max_seconds):
                await self._steps()
            self._finish()
        except Refused as refused:
            self._fail(refused.problem)
        except StepFailed as failed:
            self._fail(self._problem(failed.problem))
        except template.TooLongError as error:
            self._fail(self._problem(Problem(400, str(error), "pipeline_text_too_long")))
        except TimeoutError:
            text = f"the pipeline took longer than {pipeline.max_seconds:g} s"
            self._fail(self._problem(Problem(504, text, "timeout")))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            self._done = True
            self.exchange.broke(error)
        finally:
            self._export()

    def _read(self) -> None:
        """Raises Refused for what a pipeline cannot do."""
        body = msgspec.json.decode(self.exchange.body)
        for name in _NOT_TAKEN:
            value = body.get(name)
            if value not in (None, False, [], 0, {"type": "text"}):
                text = (
                    f"`{name}` is not supported by the pipeline `{self.pipeline.name}`: its own steps decide on that."
                )
                raise Refused(Problem(400, text, "unsupported_parameter", name))
        if body.get("n") not in (None, 1):
            text = f"`n` must be 1: the pipeline `{self.pipeline.name}` gives one answer."
            raise Refused(Problem(400, text, "unsupported_parameter", "n"))
        self.body = body
        messages = body["messages"]
        self.values = {template.INPUT: _last(messages, "user"), template.SYSTEM: _first_system(messages)}

    async def _steps(self) -> None:
        steps = self.pipeline.steps
        places = {step.name: at for at, step in enumerate(steps)}
        at = 0
        while at < len(steps):
            self.step = step = steps[at]
            to = await self._one(step) or following(self.pipeline, at)
            at = len(steps) if to == END else places[to]

    async def _one(self, step: Step) -> str:
        """Runs a step. The name of the next one, where it jumps; empty where not."""
        begun, started = monotonic(), time.time_ns()
        before = self.used.total
        self._span = new_span()
        outcome, note, to = "ok", "", ""
        try:
            await self.progress("begun")
            try:
                async with asyncio.timeout(step.seconds):
                    self.values[step.name] = await perform(self, step)
            except TimeoutError:
                text = f"it took longer than {step.seconds:g} s"
                raise StepFailed(Problem(504, text, "timeout")) from None
        except Jump as jump:
            outcome, note, to = jump.outcome, jump.note, jump.to
            self.values[step.name] = jump.text
        except StepFailed as failed:
            outcome, note = failed.problem.code or "error", failed.problem.message
            otherwise = step.otherwise if isinstance(step, MayFail) else None
            if otherwise is None or self.streamed:
                raise
            to = otherwise
            self.values[step.name] = ""
        except (Refused, template.TooLongError):
            outcome = "error"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._account(step, outcome, monotonic() - begun, started, self.used.total - before)
        if outcome == "ok" and step.kind in ("model", "text", "callOut"):
            self._answered = step.name
        if not self.streamed:
            await self.progress("ended" if outcome == "ok" else outcome, note)
        return to

    def _account(self, step: Step, outcome: str, seconds: float, started: int, tokens: int) -> None:
        told: dict[str, Any] = {"name": step.name, "kind": step.kind, "outcome": outcome, "seconds": round(seconds, 4)}
        fields: dict[str, Value] = {
            "penstock.pipeline": self.pipeline.name,
            "penstock.step": step.name,
            "penstock.step.kind": step.kind,
            "penstock.outcome": outcome,
            "penstock.request_id": self.exchange.request_id.decode("ascii"),
        }
        if tokens:
            told["tokens"] = tokens
            fields["penstock.tokens"] = tokens
        if isinstance(step, Prompt):
            told["prompt"] = fields["penstock.prompt"] = f"{step.prompt} {step.version}"
        self.told.append(told)
        self.pipelines.metrics.step(self.pipeline.name, step.name, outcome, seconds)
        span = self.exchange.span
        if span is not None:
            good = outcome in ("ok", "jumped", "cancelled")
            self._spans.append(
                Done(
                    span.trace, self._span, span.span, f"step {step.name}", "internal", started, time.time_ns(), fields,
                    "" if good else outcome, [],
                )
            )  # fmt: skip

    # -- the end --

    def _finish(self) -> None:
        exchange = self.exchange
        if exchange.response_complete:
            return
        self._done = True
        text = self.values.get(self._answered, "")
        if not self.streams:
            body = self.answer.whole(text, self.finish, self.used, self.told, self.cited)
            exchange.reply(JSON, body, _NOTHING, 200)
            return
        head = b"" if exchange.response_started else exchange.begin(EVENTS, 200)
        events = b""
        if not self.streamed:
            self._first()
            events = (self.answer.cited(self.cited) if self.cited else b"") + self.answer.text(text, self.finish)
        exchange.relay(events + self.answer.last(self.used), head)
        if not exchange.response_complete:
            exchange.end("ok", _NOTHING, 0)

    def _fail(self, problem: Problem) -> None:
        exchange = self.exchange
        if exchange.response_complete:
            return
        working, self._done = not self._done, True
        if self.streamed:
            retryable = problem.status >= 500
            exchange.cut_stream(problem.message, problem.code or "error", _NOTHING, 0, retryable=retryable)
        else:
            exchange.answer(problem)
        if working and asyncio.current_task() is not self._task:
            self._task.cancel()

    def _problem(self, inner: Problem) -> Problem:
        """The failure of a step, with its name."""
        text = f"Step `{self.step.name}` of the pipeline `{self.pipeline.name}`: {inner.message}"
        return Problem(inner.status, text, inner.code, inner.param, inner.type, inner.headers)

    def _first(self) -> None:
        exchange = self.exchange
        exchange.first_event_at = monotonic()
        if exchange.target is not None:
            exchange.target.metrics.ttft.observe(exchange.first_event_at - exchange.started_at)

    def _export(self) -> None:
        exchange = self.exchange
        span, tracer = exchange.span, exchange.service.tracer
        if span is None or tracer is None or tracer.exporter is None or not self._spans:
            return
        failed = any(one.error for one in self._spans)
        if span.sampled or (failed and tracer.config.errors):
            tracer.exporter.submit(self._spans)


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(part for part in parts if isinstance(part, str))


def _last(messages: list[Any], role: str) -> str:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == role:
            return _content(message)
    return ""


def _first_system(messages: list[Any]) -> str:
    first = messages[0] if messages else None
    return _content(first) if isinstance(first, dict) and first.get("role") in ("system", "developer") else ""
