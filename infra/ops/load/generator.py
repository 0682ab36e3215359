"""A load generator.

Constant load: JSON requests at a constant rate, and a number of streams that are open at all times. A workload: streams
of the lengths that real traffic has. Open loop sends each when it is due, whether or not earlier ones have been
answered; closed loop has clients that wait for their answer and think. One process, one thread; 2 cores serve generator
and platform alike, so the work for each event is small.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import itertools
import random
import time
import urllib.parse
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
import msgspec

from infra.ops.endpoint import Endpoint
from infra.ops.errors import PenstockError, UsageError
from infra.ops.load import retry
from infra.ops.load.buckets import Buckets
from infra.ops.load.reader import Expected, StreamReader, answer_of
from infra.ops.load.records import Records, Request, Stream
from infra.ops.load.workloads import WORDS_ARE_TOKENS, WORKLOADS, Ask, Tokens, Workload, asks, gaps

Headers = Mapping[str, str]
PATH = "/v1/chat/completions"
MOST_REQUESTS = 1_000_000
PROMPT = "Count the litres that a penstock carries."
TICK_SECONDS = 0.02
REFERENCE_TRIES = 5
PAST_THE_CACHES = {"x-penstock-cache": "no-store"}
REOPEN_SECONDS = 0.2
"""Pause after a failed stream, so that an outage is not met with a storm."""


@dataclass(frozen=True)
class Plan:
    """What to send. `rate` in requests per second, times in seconds, lengths in tokens."""

    model: str
    rate: float = 50.0
    streams: int = 20
    seconds: float = 30.0
    request_tokens: int = 8
    stream_tokens: int = 64
    timeout_seconds: float = 60.0
    allow_remote: bool = False
    workload: Workload | None = None
    """Streams of this workload, at `rate` or from `clients`; without one the load is constant."""
    clients: int = 0
    """Closed loop: so many clients, each of which waits for its answer."""
    think_seconds: float = 1.0
    """Between an answer and the client's next request, on the average."""
    scale: float = 1.0
    """The workload's lengths are multiplied by it."""
    most_tokens: int | None = None
    """Of prompt and output together."""
    tokens: Tokens = WORDS_ARE_TOKENS
    """How the model counts the workload's words."""
    seed: int = 1
    retries: int = 0
    """How often a client sends a request again, as OpenAI's does it (infra/ops/load/retry.py)."""
    same_text: bool = False
    """Constant load: streams are asked at temperature 0, past the caches, and must have the very text and usage of an
    answer that was asked for beforehand. What is missing, or comes twice, then shows whatever an event holds."""

    def check(self, endpoint: Endpoint) -> None:
        """Raises UsageError for a plan beyond the bounds, or a target that is not on this machine."""
        bounds = (
            ("rate", self.rate, 0, 5000),
            ("streams", self.streams, 0, 2000),
            ("seconds", self.seconds, 0.1, 3600),
            ("timeout", self.timeout_seconds, 0.1, 3600),
            ("request-tokens", self.request_tokens, 1, 100_000),
            ("stream-tokens", self.stream_tokens, 1, 100_000),
            ("clients", self.clients, 0, 2000),
            ("think-seconds", self.think_seconds, 0, 3600),
            ("scale", self.scale, 0.001, 10),
            ("most-tokens", self.most_tokens or 2, 2, 1_000_000),
            ("retries", self.retries, 0, 10),
        )
        for name, value, least, most in bounds:
            if not least <= value <= most:
                raise UsageError(f"--{name} is {value:g}; allowed: {least:g} to {most:g}.")
        if self.rate * self.seconds > MOST_REQUESTS:
            raise UsageError(f"--rate times --seconds is more than {MOST_REQUESTS} requests.")
        if self.workload is None and self.clients:
            raise UsageError(f"--clients needs --workload; allowed: {', '.join(WORKLOADS)}.")
        if self.workload is not None and self.same_text:
            raise UsageError("--same-text is for constant load: a workload's requests all differ.")
        if not (self.allow_remote or is_loopback(endpoint.url)):
            raise UsageError(f"{endpoint.url} is not on this machine.", "Pass --allow-remote to send load there.")


def is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Load:
    """One run. `run` sends until the time is over or `stop` is called, then lets what is open end."""

    def __init__(self, endpoint: Endpoint, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> None:
        plan.check(endpoint)
        self._url = endpoint.url + PATH
        self._headers = {"Authorization": f"Bearer {endpoint.key}", "Content-Type": "application/json"}
        self._plan = plan
        self._clock = clock
        self._started = clock()
        self._stopping = asyncio.Event()
        self.stopped_early = False
        self.finished = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._expected: Expected | None = None
        self._chance = random.Random(plan.seed)  # noqa: S311 (spreads retries)
        self._under_way: dict[int, float] = {}
        self._numbers = itertools.count()
        self.records = Records()
        self.open_streams = 0
        """Streams whose answer is arriving now."""

        self.late = 0.0
        """The longest time, in seconds, that this process wanted to run and did not: a gap that it measured in a stream
        may be so much too long. May be set back to 0."""

    @property
    def oldest(self) -> float | None:
        """When the oldest request or stream that has not ended was due, on this run's clock."""
        return min(self._under_way.values(), default=None)

    @contextmanager
    def _counted(self, due: float) -> Generator[None]:
        number = next(self._numbers)
        self._under_way[number] = due
        try:
            yield
        finally:
            del self._under_way[number]

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def stop(self) -> None:
        """Before its time is over."""
        self.stopped_early = True
        self._stopping.set()

    async def run(self) -> Records:
        plan = self._plan
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=plan.timeout_seconds)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers) as session:
            self._session = session
            if plan.same_text:
                self._expected = await self._undisturbed()
            self._started = self._clock()
            ending = asyncio.get_running_loop().call_later(plan.seconds, self._stopping.set)
            ticking = asyncio.create_task(self._tick())
            try:
                async with asyncio.TaskGroup() as group:
                    for starting in self._parts(group):
                        group.create_task(starting)
            finally:
                ticking.cancel()
                ending.cancel()
                self.finished.set()
        return self.records

    async def _tick(self) -> None:
        while True:
            due = self.now + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.late = max(self.late, self.now - due)

    async def _undisturbed(self) -> Expected:
        """The streams' answer in one piece. Raises PenstockError where there is none."""
        body = self._body(self._plan.stream_tokens, stream=False, exact=True)
        problem = ""
        for tried in range(REFERENCE_TRIES):
            await self._pause(retry.FIRST_SECONDS * tried)
            try:
                async with self._post(body) as response:
                    content = await response.read()
                    if response.status == 200:
                        return answer_of(content)
                    problem = f"HTTP {response.status}: {content[:200].decode('utf-8', 'replace')}"
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                problem = _reason(error)
        raise PenstockError(f"The answer to compare streams with could not be had: {problem}", "See `penstock status`.")

    def _parts(self, group: asyncio.TaskGroup) -> Iterator[Coroutine[None, None, None]]:
        plan = self._plan
        if plan.workload is None:
            yield from (self._keep_open(number) for number in range(plan.streams))
            if plan.rate:
                yield self._pace(group)
        elif plan.clients:
            yield from (self._client(number, plan.workload) for number in range(plan.clients))
        else:
            yield self._arrivals(group, plan.workload)

    async def _arrivals(self, group: asyncio.TaskGroup, workload: Workload) -> None:
        """Open loop: each stream at its own time."""
        plan, due = self._plan, 0.0
        sent = asks(workload, plan.seed, scale=plan.scale, most_tokens=plan.most_tokens, tokens=plan.tokens)
        for gap, ask in zip(gaps(plan.rate, workload.gap_cv, plan.seed), sent, strict=False):
            due += gap
            if due > self.now:
                await self._pause(due - self.now)
            if self._stopping.is_set() or due >= plan.seconds:
                return
            group.create_task(self._asked(ask, due))

    async def _asked(self, ask: Ask, due: float) -> None:
        self.records.streams.append(await self._stream(self._ask_body(ask), due))

    async def _client(self, number: int, workload: Workload) -> None:
        """Closed loop: ask, read, think."""
        plan = self._plan
        seed = plan.seed * 1_000_003 + number
        sent = asks(workload, seed, scale=plan.scale, most_tokens=plan.most_tokens, tokens=plan.tokens)
        thoughts = gaps(1 / plan.think_seconds, 1.0, seed) if plan.think_seconds else itertools.repeat(0.0)
        for ask, thought in zip(sent, thoughts, strict=False):
            await self._pause(thought)
            if self._stopping.is_set():
                return
            stream = await self._stream(self._ask_body(ask))
            self.records.streams.append(stream)
            if stream.failure:
                await self._pause(REOPEN_SECONDS)

    async def _pace(self, group: asyncio.TaskGroup) -> None:
        """Starts each request at its own time. A late wake-up starts all that are due."""
        number = 0
        body = self._body(self._plan.request_tokens, stream=False)
        while not self._stopping.is_set():
            due = number / self._plan.rate
            if due >= self._plan.seconds:
                return
            if due > self.now:
                await self._pause(due - self.now)
                continue
            group.create_task(self._request(due, body))
            number += 1
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _request(self, due: float, body: bytes) -> None:
        retries = 0
        with self._counted(due):
            colour, failure, again = await self._tried(body)
            while await self._tries_again(retries, again):
                retries += 1
                colour, failure, again = await self._tried(body)
            self.records.requests.append(Request(due, self.now - due, colour, failure, retries))

    async def _tries_again(self, retries: int, again: Headers | None) -> bool:
        """After the pause. `again`: the headers of an answer that a client asks for again, None for any other."""
        if again is None or retries >= self._plan.retries or self._stopping.is_set():
            return False
        await self._pause(retry.pause(retries, again, self._chance.random()))
        return True

    async def _tried(self, body: bytes) -> tuple[str, str, Headers | None]:
        """Colour, failure, and what `_tries_again` goes by."""
        colour, failure = "", ""
        again: Headers | None = None
        try:
            async with self._post(body) as response:
                colour = response.headers.get("x-penstock-colour", "")
                content = await response.read()
                if response.status != 200:
                    again = response.headers if retry.worth_it(response.status, response.headers) else None
                    failure = f"HTTP {response.status}: {content[:200].decode('utf-8', 'replace')}"
                elif b'"finish_reason"' not in content:
                    failure = "the answer is not a chat completion"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failure, again = _reason(error), {}
        return colour, failure, again

    async def _keep_open(self, number: int) -> None:
        """One place for a stream. The first ones start spread over a second, so that they do not end together."""
        await self._pause(number / max(1, self._plan.streams))
        body = self._body(self._plan.stream_tokens, stream=True, exact=self._plan.same_text)
        while not self._stopping.is_set():
            with self._counted(self.now):
                stream = await self._stream(body)
                self.records.streams.append(stream)
            if stream.failure:
                await self._pause(REOPEN_SECONDS)

    async def _stream(self, body: bytes, due: float | None = None) -> Stream:
        """A stream that never began is sent again as a request is; one that was cut is the caller's to repeat."""
        start, retries = self.now if due is None else due, 0
        stream, again = await self._streamed(body, start)
        while await self._tries_again(retries, again):
            retries += 1
            stream, again = await self._streamed(body, start)
        return dataclasses.replace(stream, retries=retries)

    async def _streamed(self, body: bytes, start: float) -> tuple[Stream, Headers | None]:
        ttft, colour, failure, began = None, "", "", False
        again: Headers | None = None
        reader = StreamReader()
        seen, last = 0, 0.0
        try:
            async with self._post(body) as response:
                colour = response.headers.get("x-penstock-colour", "")
                if response.status == 200:
                    began = True
                    self.open_streams += 1
                    stalls = self.records.gaps.setdefault(colour, Buckets())
                    async for chunk in response.content.iter_any():
                        reader.feed(chunk)
                        if reader.tokens == seen:
                            continue
                        now = self.now
                        if ttft is None:
                            ttft = now - start
                        else:
                            stalls.add(now - last)
                        seen, last = reader.tokens, now
                else:
                    again = response.headers if retry.worth_it(response.status, response.headers) else None
                    failure = f"HTTP {response.status}: {(await response.read())[:200].decode('utf-8', 'replace')}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = f"cut: {_reason(error)}" if began else _reason(error)
            again = None if began else {}
        finally:
            self.open_streams -= began
        failure = failure or reader.fault(self._expected)
        cut = began and bool(failure)
        return Stream(start, ttft, self.now - start, reader.tokens, colour, failure, cut=cut), again

    def _post(self, body: bytes) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            raise RuntimeError("the run has not begun")
        return self._session.post(self._url, data=body, headers=PAST_THE_CACHES if self._plan.same_text else None)

    def _ask_body(self, ask: Ask) -> bytes:
        return self._body(ask.output_tokens, stream=True, prompt=ask.prompt)

    def _body(self, tokens: int, *, stream: bool, prompt: str = PROMPT, exact: bool = False) -> bytes:
        content: dict[str, object] = {
            "model": self._plan.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
        }
        if exact:
            content["temperature"] = 0
        if stream:
            content |= {"stream": True, "stream_options": {"include_usage": True}}
        return msgspec.json.encode(content)


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return f"{type(error).__name__}: {text}"[:200]
