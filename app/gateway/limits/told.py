"""What a client is told of limits: the headers of each reply, and the refusal. Without I/O."""

from __future__ import annotations

import math

from app.gateway.errors import NO_RETRY, Problem
from app.gateway.limits.book import Verdict
from app.gateway.limits.policy import NANO, Policy, Rule

LOCAL_LINE = b"x-penstock-limits: local\r\n"
"""Borne while Redis is away: the limits count this gateway's requests alone, each gateway has its part of them."""


def span(micros: float) -> str:
    """A duration as OpenAI writes it: 20ms, 1.5s, 6m0s."""
    millis = -int(-micros // 1000)
    if millis < 1000:
        return f"{millis}ms"
    seconds = millis / 1000
    if seconds < 60:
        return f"{seconds:g}s"
    return f"{int(seconds // 60)}m{math.ceil(seconds % 60)}s"


def limit_lines(policy: Policy, verdict: Verdict) -> bytes:
    """The `x-ratelimit-*` lines: of the request limits, and of the token limits, the one with the least left."""
    requests = tokens = -1
    for index, rule in enumerate(policy.rules):
        if rule.code == "t":
            if tokens < 0 or verdict.left[index][0] < verdict.left[tokens][0]:
                tokens = index
        elif rule.code in "sm" and (requests < 0 or verdict.left[index][0] < verdict.left[requests][0]):
            requests = index
    lines = b""
    for index, name in ((requests, b"requests"), (tokens, b"tokens")):
        if index >= 0:
            left, reset = verdict.left[index]
            lines += b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %d\r\nx-ratelimit-reset-%b: %b\r\n" % (
                name,
                int(policy.rules[index].most),
                name,
                left,
                name,
                span(reset).encode(),
            )
    return lines


class Told:
    """The same lines from Redis' own list (refused_by, wait, then left and reset of each rule), for the hot path."""

    __slots__ = ("_requests", "_tokens")

    def __init__(self, policy: Policy) -> None:
        self._requests = _places(policy, "sm", b"requests")
        self._tokens = _places(policy, "t", b"tokens")

    def lines(self, reply: list[int]) -> bytes:
        lines = b""
        for places in (self._requests, self._tokens):
            if places:
                at, line = places[0]
                for place in places[1:]:
                    if reply[place[0]] < reply[at]:
                        at, line = place
                lines += line % (reply[at], span(reply[at + 1]).encode())
        return lines


def _places(policy: Policy, codes: str, name: bytes) -> list[tuple[int, bytes]]:
    """Where the numbers of these rules are in a list, and the lines that say them."""
    line = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
    return [
        (2 + 2 * index, line % (name, int(rule.most), name, name))
        for index, rule in enumerate(policy.rules)
        if rule.code in codes
    ]


def _limit(rule: Rule) -> str:
    """For example "60 requests per minute"."""
    if rule.code in "do":
        return f"{rule.most / NANO:g} USD per {'day' if rule.code == 'd' else 'month'} (UTC)"
    if rule.code == "c":
        return f"{rule.most:.0f} requests at once"
    unit = 60e6 if rule.code in "mt" else 1e6
    what = "tokens per minute" if rule.code == "t" else f"requests per {'minute' if rule.code == 'm' else 'second'}"
    return f"{unit / rule.interval:g} {what}"


def refusal(policy: Policy, verdict: Verdict, tokens: int) -> Problem:
    """The 429 for a request that may be sent again after `verdict.wait` microseconds."""
    rule = policy.rules[verdict.refused_by]
    seconds = max(math.ceil(verdict.wait / 1e6), 1)
    asked = f", {verdict.left[verdict.refused_by][0]} are left, {tokens} requested" if rule.code == "t" else ""
    message = (
        f"The limit `{rule.name}` of {policy.scopes[rule.scope].shown} is reached: {_limit(rule)}{asked}. "
        f"Try again in {span(verdict.wait)}."
    )
    headers = [
        (b"retry-after", b"%d" % seconds),
        (b"retry-after-ms", b"%d" % math.ceil(verdict.wait / 1000)),
        (b"x-penstock-limit", f"{policy.scopes[rule.scope].kind}.{rule.name}".encode()),
    ]
    if rule.code in "do":
        headers.append(NO_RETRY)
        return Problem(429, message, "insufficient_quota", type="insufficient_quota", headers=tuple(headers))
    return Problem(
        429, message, "rate_limit_exceeded", type="tokens" if rule.code == "t" else "requests", headers=tuple(headers)
    )


def too_much(policy: Policy, rule: Rule, tokens: int, nano: int) -> Problem:
    """The 429 for a request that is larger than a limit by itself; waiting does not help it."""
    asked = f"{tokens} tokens" if rule.code == "t" else f"up to {nano / NANO:g} USD"
    message = (
        f"This request is larger than the limit `{rule.name}` of {policy.scopes[rule.scope].shown}: {_limit(rule)}, "
        f"and it asks for {asked} (its prompt and `max_tokens`). Send a shorter prompt or a smaller `max_tokens`."
    )
    headers = (NO_RETRY, (b"x-penstock-limit", f"{policy.scopes[rule.scope].kind}.{rule.name}".encode()))
    code = "rate_limit_exceeded" if rule.code == "t" else "insufficient_quota"
    return Problem(429, message, code, type="tokens" if rule.code == "t" else code, headers=headers)
