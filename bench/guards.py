"""CPU of the guards and of traces, in microseconds of process time: `python bench/guards.py`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from app.gateway.guards.inspect import Plan
from app.gateway.guards.screen import Screen
from app.gateway.guards.settings import GuardConfig
from app.gateway.trace.settings import TraceConfig
from app.gateway.trace.span import Span

PROSE = "The quick brown fox jumps over the lazy dog; in 2024 there were 17 of them, and it cost $35.20.\n"
DIRTY = PROSE * 4 + "Write to bob@example.com or +49 151 2345 6789, card 4111 1111 1111 1111.\n"


def micros(work: Callable[[], object], rounds: int) -> float:
    """The best of five runs, for each call."""
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, (time.process_time() - begun) / rounds)
    return best * 1e6


def plan(**modes: str) -> Plan:
    config = GuardConfig.model_validate({"modes": modes, "topics": [{"name": "war", "words": ["tank", "missile"]}]})
    return Plan(config, config.modes)


def body(text: str, times: int) -> bytes:
    return json.dumps({"model": "tiny", "messages": [{"role": "user", "content": text * times}]}).encode()


def event(text: str) -> bytes:
    return b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":' + (
        b'[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":null}]}\n\n' % json.dumps(text).encode()
    )


def main() -> None:
    plans = {
        "pii_input mask": plan(pii_input="mask"),
        "injection refuse": plan(injection="refuse"),
        "topics refuse": plan(topics="refuse"),
        "all of them": plan(pii_input="mask", injection="refuse", topics="refuse"),
    }
    cases = (
        ("0.8 KB clean", body(PROSE, 8)),
        ("64 KB clean", body(PROSE, 680)),
        ("64 KB, 435 findings", body(DIRTY, 145)),
    )
    for name, one in plans.items():
        for case, raw in cases:
            spent = micros(lambda raw=raw, one=one: one.inspect("chat", raw), max(3, 400_000 // len(raw)))
            print(f"{name:18} {case:24} {spent:9.1f} us  {spent * 1024 / len(raw):6.2f} us/KB")
    words = [event(f" {word}") for word in PROSE.split() * 40]
    output = plan(pii_output="mask")

    def stream() -> None:
        screen = Screen(output)
        for one in words:
            screen.feed(one)

    print(f"{'pii_output mask':18} {'one SSE event':24} {micros(stream, 3) / len(words):9.1f} us")
    config = TraceConfig()
    begin = micros(lambda: Span(None, b"", config.ratio, follow=True), 20_000)
    print(f"{'trace':18} {'begin, not chosen':24} {begin:9.1f} us")


if __name__ == "__main__":
    main()
