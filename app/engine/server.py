"""The engine's server: one loop of steps over all generations, and the bookkeeping around it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import quote
from zlib import crc32

from app.engine import replies, streams
from app.engine.flags import EngineFlags
from app.engine.generation import Answer, ChatJob, CompletionJob, Job, MessagesJob, ResponsesJob
from app.engine.kv import BLOCK, BlockPool
from app.engine.metrics import Metrics
from app.engine.observer import Observer, cache_config
from app.engine.pooling import Embeddings
from app.engine.protocol import Connection, Request
from app.engine.replies import ApiError, Identity
from app.engine.requests import Plan, Prompt, Served, room
from app.engine.scheduler import Rates, Scheduler, Sequence, Step
from app.engine.settings import SimulatorSettings
from app.engine.text import FixedWriter, Writer, drawer
from app.engine.tokens import Tokenizer

KINDS: dict[str, tuple[str, type[Job], type[streams.EventStream]]] = {
    "chat": ("chatcmpl-", ChatJob, streams.ChatStream),
    "completion": ("cmpl-", CompletionJob, streams.CompletionStream),
    "responses": ("resp_", ResponsesJob, streams.ResponsesStream),
    "messages": ("chatcmpl-", MessagesJob, streams.MessagesStream),
}
"""Kind of request -> its ids' prefix, the job that answers with JSON, the job that streams."""

UNCOUNTED = frozenset(("/metrics", "/health", "/load", "/ping", "/version"))
STREAM_ERROR_TOKENS = 3
LATENESS = 0.05
"""Seconds that a step may be late before the schedule is moved, rather than caught up with."""


class EngineServer:
    """Raises ValueError where flags and settings contradict each other."""

    def __init__(
        self,
        flags: EngineFlags,
        settings: SimulatorSettings,
        loop: asyncio.AbstractEventLoop,
        dispatch: Callable[[EngineServer, Request], None],
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """`dispatch` answers a request, now or later, or raises ApiError. Engines may share a tokenizer."""
        self.flags = flags
        self.settings = settings
        self.loop = loop
        self.tokenizer = tokenizer or Tokenizer()
        self.served = Served(self.tokenizer, flags.names, flags.max_model_len, tuple(flags.lora_modules))
        blocks = (settings.kv_cache_tokens or max(131_072, flags.max_model_len)) // BLOCK
        if not settings.kv_cache_tokens and flags.max_model_len % BLOCK:
            blocks += 1
        rates = Rates(
            settings.prefill_tokens_per_second,
            settings.decode_tokens_per_second,
            settings.decode_knee,
            settings.slow_factor,
        )
        self.scheduler = Scheduler(
            BlockPool(blocks, caching=flags.enable_prefix_caching),
            rates,
            max_model_len=flags.max_model_len,
            max_num_seqs=flags.max_num_seqs,
            max_num_batched_tokens=max(flags.max_num_batched_tokens, 1),
            chunked_prefill=flags.enable_chunked_prefill,
        )
        self.metrics = Metrics(flags.names[0], flags.max_model_len, time.time(), cache_config(flags, blocks))
        self.observer = Observer(self.metrics, self.scheduler)
        self.fingerprint = f"vllm-{replies.VERSION}-{crc32(repr(flags.model).encode()):08x}"
        self.connections: set[Connection] = set()
        self.jobs: set[Job | Embeddings] = set()
        self.draining = False
        self.on_idle: Callable[[], None] | None = None
        """Called when the last job ends."""
        self.date = b""
        self._clock = time.monotonic
        self._deadline = 0.0
        self._stepping = False
        self._random = random.Random(f"{flags.seed}:{settings.seed}")  # noqa: S311  (sampling, not secrets)
        self._ids = random.SystemRandom()
        self._errors = self._stream_errors = 0.0
        self._log = not flags.disable_uvicorn_access_log and flags.uvicorn_log_level in ("info", "debug", "trace")
        self._iteration = self.metrics.histograms["iteration_tokens_total"]
        self._between = self.metrics.histograms["inter_token_latency_seconds"]
        self._dispatch = dispatch
        self.tick()

    def tick(self) -> None:
        """Keeps the `date` header current."""
        self.date = formatdate(usegmt=True).encode()
        self.loop.call_later(1.0, self.tick)

    # Requests.

    def handle(self, request: Request) -> None:
        """Answers any request; an error of the simulator itself is a 500, as with vLLM, and is logged."""
        try:
            self._dispatch(self, request)
        except ApiError as error:
            request.send(error.status, replies.dump(error.body))
        except Exception as error:  # noqa: BLE001  (the server's last resort: one request must not end the process)
            print(f"ERROR: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            request.send(500, replies.dump(replies.internal_error(str(error)).body))

    def record(self, request: Request, status: int, size: int) -> None:
        """One request is answered: metrics and access log."""
        if request.route not in UNCOUNTED:
            length = request.headers.get("content-length", "0")
            sizes = (int(length) if length.isdigit() else 0, size)
            seconds = self.loop.time() - request.received
            self.metrics.http(request.route, request.method, status, sizes, seconds, time.time())
        if self._log and request.path not in self.flags.disable_access_log_for_endpoints:
            line = f'{request.peer} - "{request.method} {quote(request.path)} HTTP/{request.version}"'
            print(f"INFO:     {line} {status} {HTTPStatus(status).phrase}", flush=True)

    def now(self) -> int:
        """Seconds since the epoch, for `created`."""
        return int(time.time())

    def new_id(self) -> str:
        return f"{self._ids.getrandbits(64):016x}"

    def admit(self, count: int) -> None:
        """Raises ApiError where a queue is full or the engine drains. `count`: sequences that the request would add."""
        if self.draining:
            raise replies.draining()
        self._errors += self.settings.error_rate
        if self._errors >= 1:
            self._errors -= 1
            raise replies.engine_dead()
        flags, scheduler = self.flags, self.scheduler
        under_way = len(scheduler.running) + len(scheduler.waiting)
        if flags.max_num_queued_reqs is not None and under_way + count > flags.max_num_queued_reqs:
            self.metrics.add("admission_rejections", "max_num_queued_reqs")
            raise replies.queue_full("max_num_queued_reqs", flags.max_num_queued_reqs)
        if flags.max_num_queued_tokens is not None and scheduler.prefill_backlog >= flags.max_num_queued_tokens:
            self.metrics.add("admission_rejections", "max_num_queued_tokens")
            raise replies.queue_full("max_num_queued_tokens", flags.max_num_queued_tokens)

    def generate(self, request: Request, kind: str, plan: Plan) -> None:
        """Queues a checked request. Raises ApiError where it does not fit the model or the queue."""
        self.admit(plan.n * len(plan.prompts))
        limits = [room(self.served, plan, prompt) for prompt in plan.prompts]
        prefix, whole, streamed = KINDS[kind]
        request_id = request.headers.get("x-request-id") or self.new_id()
        identity = Identity(prefix + request_id, self.now(), plan.model, self.fingerprint)
        answers: list[Answer] = []
        now = self._clock()
        for prompt, limit in zip(plan.prompts, limits, strict=True):
            for _ in range(plan.n):
                answer = Answer(self.tokenizer, plan, prompt, len(answers))
                answers.append(answer)
                answer.sequence = Sequence(list(prompt.tokens), self._drawer(plan, prompt, answer.index), limit, now)
                answer.sequence.salt = plan.salt
        job = (streamed if plan.stream else whole)(self, request, plan, identity, answers)
        if isinstance(job, ChatJob | CompletionJob):
            job.details = self.flags.enable_prompt_tokens_details
        if self.flags.enable_force_include_usage:
            plan.include_usage = True
        self._stream_errors += self.settings.stream_error_rate
        if self._stream_errors >= 1:
            self._stream_errors -= 1
            job.fail_after = STREAM_ERROR_TOKENS
        if isinstance(job, streams.EventStream) and self.flags.enable_request_id_headers:
            job.extra = b"x-request-id: %b\r\n" % request_id.encode("latin-1", "replace")
        self.jobs.add(job)
        for answer in answers:
            assert answer.sequence is not None  # noqa: S101  (set above)
            answer.sequence.owner = (job, answer)
            answer.sequence.asked = plan.n
            self.scheduler.add(answer.sequence)
        job.start()
        self._advance()

    def _drawer(self, plan: Plan, prompt: Prompt, index: int) -> Callable[[], int]:
        key = crc32(f"{plan.model}:{self.settings.seed}".encode())
        if plan.temperature > 0:
            chance = self._random.getrandbits(32) if plan.seed is None else plan.seed
            key = crc32(f"{key}:{chance}:{index}".encode())
        if plan.answer is not None:
            written = prompt.text[prompt.start :] if prompt.start is not None else ""
            writer: Writer | FixedWriter = FixedWriter(plan.answer, written)
        else:
            writer = Writer(prompt.text, key=key, start=prompt.start, subject=prompt.subject)
        return drawer(self.tokenizer, writer.next, ignore_end=plan.ignore_end, least=plan.least, join=prompt.join)

    def abort(self, sequence: Sequence, reason: str) -> None:
        self.scheduler.abort(sequence, reason)
        self.observer.ended(sequence, self._clock())

    def forget(self, job: Job | Embeddings) -> None:
        self.jobs.discard(job)
        if not self.jobs and self.on_idle is not None:
            self.on_idle()

    def fail_all(self, error: ApiError) -> None:
        for job in list(self.jobs):
            job.fail(error)

    def keep_alive(self) -> None:
        """Sends a comment on every open stream, so that proxies do not take it for dead."""
        for job in self.jobs:
            if isinstance(job, streams.EventStream) and job.request.streaming:
                job.request.event(b": keep-alive\n\n")
        self.loop.call_later(self.flags.sse_keep_alive_interval, self.keep_alive)

    # Steps.

    def _advance(self, *, chained: bool = False) -> None:
        """Begins a step unless one is under way; `chained` says that the last one has just ended."""
        if self._stepping:
            return
        limit = self.settings.hang_after_tokens
        if limit and self.scheduler.totals.generated >= limit:
            return
        now = self._clock()
        step = self.scheduler.plan(now)
        if step is None:
            return
        self._stepping = True
        # Timers come a little late or early; counting from the deadline keeps the rate true.
        start = self._deadline if chained and abs(now - self._deadline) < LATENESS else now
        self._deadline = start + step.seconds
        self.loop.call_later(max(0.0, self._deadline - now), self._complete, step)

    def _complete(self, step: Step) -> None:
        now = self._clock()
        self._stepping = False
        events = self.scheduler.complete(step, now)
        self._iteration.observe(step.prefill_tokens + len(events))
        limit = self.settings.crash_after_tokens
        if limit and self.scheduler.totals.generated >= limit:
            os._exit(1)
        between = self._between
        for sequence, token, reason in events:
            owner = sequence.owner
            if not isinstance(owner, tuple) or sequence.finished not in (None, reason):
                continue  # another event of this step ended it
            if sequence.generated == 1:
                sequence.first = now
                self.observer.first(sequence)
            else:
                between.observe(now - sequence.last)
            sequence.last = now
            job, answer = owner
            if reason is not None:
                self.observer.ended(sequence, now)
            if job.fail_after and sequence.generated > job.fail_after:
                job.fail(replies.engine_dead())
            else:
                job.token(answer, token, reason)
        self._advance(chained=True)
