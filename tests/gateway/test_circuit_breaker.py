"""The circuit breaker as a state machine, by hand and against a plain model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.routing.breaker import Breaker
from app.gateway.routing.config import BreakerSettings

SETTINGS = BreakerSettings(
    window_seconds=10, least_calls=4, failure_share=0.5, slow_share=0.75, open_seconds=5, probes=2
)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        breaker.failed(now)
    return breaker


def test_it_opens_at_the_share_of_failures_and_not_below_the_least_number():
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(1)
    assert breaker.state(1) == "closed"
    breaker.succeeded(1)
    assert breaker.state(1) == "open"
    assert not breaker.allows(1)


def test_failures_that_left_the_window_do_not_count():
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(1)
    breaker.failed(12)
    assert breaker.state(12) == "closed"


def test_slow_calls_open_it_too():
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        breaker.succeeded(1, slow=True)
    assert breaker.state(1) == "open"


def test_half_open_it_lets_the_probes_through_and_closes_when_they_succeed():
    breaker = opened()
    assert breaker.state(4.9) == "open"
    assert breaker.state(5) == "half-open"
    probes = [breaker.enter(5), breaker.enter(5)]
    assert probes == [True, True]
    assert not breaker.allows(5), "no more than the probes at once"
    breaker.succeeded(6, probe=True)
    assert breaker.state(6) == "half-open"
    breaker.succeeded(6, probe=True)
    assert breaker.state(6) == "closed"
    breaker.failed(6)
    assert breaker.state(6) == "closed", "what was counted before it opened is forgotten"


def test_a_failed_probe_opens_it_for_twice_as_long():
    breaker = opened()
    breaker.failed(5, probe=breaker.enter(5))
    assert breaker.opens_in(5) == 10
    assert breaker.state(14.9) == "open"


def test_a_call_from_before_the_opening_tells_nothing():
    breaker = opened()
    assert not breaker.enter(0)
    breaker.succeeded(6)
    breaker.failed(6)
    assert breaker.state(6) == "half-open"


def test_a_probe_that_the_client_left_gives_its_place_back():
    breaker = opened()
    breaker.enter(5)
    breaker.enter(5)
    breaker.forget(probe=True)
    assert breaker.allows(5)


def test_a_named_time_is_waited_for_and_then_calls_go_as_before():
    breaker = Breaker(SETTINGS)
    breaker.hold(30)
    assert breaker.state(29) == "open"
    assert breaker.state(30) == "closed"


ROUNDING = 1e-9
"""Of sums of floats."""


@given(st.lists(st.tuples(st.sampled_from(["ok", "slow", "bad", "forget", "hold"]), st.floats(0, 8)), max_size=200))
def test_it_never_allows_more_probes_than_set_and_always_opens_again_after_a_while(steps: list[tuple[str, float]]):
    breaker, now, under_way = Breaker(SETTINGS), 0.0, []
    for step, passed in steps:
        now += passed
        if breaker.allows(now):
            under_way.append(breaker.enter(now))
        if breaker.state(now) == "half-open":
            assert sum(under_way) <= 2 * SETTINGS.probes  # those of the time before count no longer
        if under_way and step != "hold":
            probe = under_way.pop(0)
            if step == "bad":
                breaker.failed(now, probe=probe)
            elif step == "forget":
                breaker.forget(probe=probe)
            else:
                breaker.succeeded(now, probe=probe, slow=step == "slow")
        elif step == "hold":
            breaker.hold(now + 3)
        assert breaker.opens_in(now) <= 8 * SETTINGS.open_seconds + ROUNDING
    for probe in under_way:
        breaker.forget(probe=probe)
    later = now + 8 * SETTINGS.open_seconds + ROUNDING
    assert breaker.allows(later), "no way to be open for ever"
