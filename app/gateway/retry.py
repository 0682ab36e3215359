"""What a failed attempt means: may another engine try, does this one rest, what does the client get. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.gateway.errors import (
    EngineError,
    Problem,
    engine_failed,
    interrupted,
    normalise,
    overloaded,
    retry_after,
    timed_out,
    unreachable,
)

Rest = Literal["no", "short", "growing", "drain"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt's end before anything was relayed.

    `reason` is the label of `penstock_retries_total`. `budgeted`: a retry counts against the retry budget.
    """

    reason: str
    problem: Problem
    rest: Rest = "growing"
    retry: bool = True
    budgeted: bool = True
    wait_seconds: float = 0.0
    """How long the other side wants to be left alone."""


def cannot_connect(model: str) -> Failure:
    return Failure("connect", unreachable(model))


def engine_hangs(model: str) -> Failure:
    """It has the request and is silent, probes too. Each request moves once for that, so nothing is multiplied."""
    return Failure("engine_hung", engine_failed(model), budgeted=False)


def lost_before_answer(model: str) -> Failure:
    return Failure("connection_lost", engine_failed(model))


def stale_connection(model: str) -> Failure:
    """The engine closed a pooled connection as the request went out: nobody's fault, and it saw no request."""
    return Failure("stale_connection", engine_failed(model), rest="no", budgeted=False)


def lost_inside_answer(model: str) -> Failure:
    """The engine did the work and died while it sent the result. Doing it again is for the client to decide."""
    return Failure("interrupted", interrupted(model), retry=False)


def too_long_to_judge(model: str) -> Failure:
    """A guard reads whole replies, and this one is longer than it takes."""
    problem = Problem(502, f"The answer of the model `{model}` is too long to be checked. Stream it.", "engine_failed")
    return Failure("too_long", problem, rest="no", retry=False)


def no_first_byte(seconds: float) -> Failure:
    return Failure("first_byte_timeout", timed_out(f"no engine began to answer within {seconds:g} s"))


def silent_inside_answer(seconds: float) -> Failure:
    return Failure("between_bytes_timeout", timed_out(f"the engine fell silent for {seconds:g} s"), retry=False)


def out_of_time(seconds: float) -> Failure:
    """The whole request took too long. Long generations are no failure of the engine."""
    return Failure("total_timeout", timed_out(f"the request took longer than {seconds:g} s"), rest="no", retry=False)


def shutting_down() -> Failure:
    problem = Problem(
        503, "This gateway is shutting down. Send the request again.", "shutting_down", headers=retry_after()
    )
    return Failure("shutting_down", problem, rest="no", retry=False)


def bad_output(fault: str, model: str) -> Failure:
    """A whole answer that is none; `fault` says why. The engine is as well as before."""
    return Failure(fault, engine_failed(model), rest="no", retry=False)


def from_reply(error: EngineError, model: str) -> Failure:
    """An error reply. 4xx are the client's affair: passed on, never retried, never a mark against the engine."""
    problem = normalise(error, model)
    if error.draining:
        return Failure("engine_draining", problem, rest="drain", budgeted=False)
    if error.status in (429, 503):  # full: another engine may have room, and this one has again in a moment
        return Failure("overloaded", overloaded(model), rest="short")
    if error.status >= 500:
        return Failure(f"status_{error.status}" if error.status in (500, 502, 504) else "status_5xx", problem)
    return Failure("refused", problem, rest="no", retry=False)
