"""Which engine is chosen, rested and retried, without a socket."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.choose import Engine, Pool, RetryBudget, Sighting


def pool_of(*zones: str, zone: str = "a") -> tuple[Pool, list[Engine]]:
    pool = Pool(zone)
    pool.update(Sighting(str(n), f"pod-{n}", f"10.0.0.{n}", 8000, z, True, False) for n, z in enumerate(zones))
    return pool, list(pool.engines.values())


def chosen(pool: Pool, now: float = 0.0, times: int = 40) -> set[str]:
    return {engine.key for _ in range(times) if (engine := pool.choose(now)) is not None}


def test_the_engine_with_the_least_work_is_chosen():
    pool, engines = pool_of("a", "a", "a")
    engines[0].in_flight, engines[1].in_flight, engines[2].in_flight = 3, 1, 2
    assert chosen(pool) == {"1"}


def test_ties_are_spread():
    pool, _ = pool_of("a", "a", "a", "a")
    counts = Counter(engine.key for _ in range(400) if (engine := pool.choose(0.0)))
    assert len(counts) == 4
    assert min(counts.values()) > 50


def test_the_own_zone_comes_first_and_spills_over_when_it_is_much_busier():
    pool, (own, other) = pool_of("a", "b")
    own.in_flight, other.in_flight = 2, 0
    assert chosen(pool) == {"0"}
    own.in_flight = 3
    assert chosen(pool) == {"1"}
    own.in_flight, other.in_flight = 14, 10
    assert chosen(pool) == {"0"}
    own.in_flight = 15
    assert chosen(pool) == {"1"}


def test_without_an_engine_in_the_own_zone_others_serve():
    pool, _ = pool_of("b", "c")
    assert chosen(pool) == {"0", "1"}


def test_engines_that_start_or_drain_get_nothing_new():
    pool = Pool("a")
    pool.update(
        [
            Sighting("1", "p1", "10.0.0.1", 8000, "a", False, False),
            Sighting("2", "p2", "10.0.0.2", 8000, "a", True, True),
            Sighting("3", "p3", "10.0.0.3", 8000, "b", True, False),
        ]
    )
    assert chosen(pool) == {"3"}
    assert pool.ready == 1
    assert [engine.state for engine in pool.engines.values()] == ["starting", "draining", "ready"]


def test_an_update_keeps_the_work_of_engines_that_stay_and_returns_those_that_left():
    pool, engines = pool_of("a", "a")
    engines[0].in_flight = 5
    left = pool.update([Sighting("0", "pod-0", "10.0.0.0", 8000, "a", True, False)])
    assert left == [engines[1]]
    assert pool.engines["0"].in_flight == 5


def test_a_pod_with_a_new_address_is_a_new_engine():
    pool, engines = pool_of("a")
    assert pool.update([Sighting("0", "pod-0", "10.9.9.9", 8000, "a", True, False)]) == engines


def test_a_retry_goes_to_an_engine_that_was_not_tried():
    pool, engines = pool_of("a", "a")
    assert pool.choose(0.0, [engines[0]]) is engines[1]
    assert pool.choose(0.0, engines) is None


def test_a_failed_engine_rests_and_then_gets_one_probe():
    pool, engines = pool_of("a", "a")
    pool.failed(engines[0], 10.0)
    assert chosen(pool, 10.5) == {"1"}
    engines[1].in_flight = 5
    assert chosen(pool, 11.1) == {"0"}
    engines[0].probes = 1
    assert chosen(pool, 11.1) == {"1"}
    pool.succeeded(engines[0])
    assert chosen(pool, 11.1) == {"0"}


def test_the_rest_doubles_up_to_fifteen_seconds():
    pool, (engine, _) = pool_of("a", "a")
    now, rests = 0.0, []
    for _ in range(6):
        pool.failed(engine, now)
        rests.append(engine.cool_until - now)
        now = engine.cool_until
    assert rests == [1, 2, 4, 8, 15, 15]


def test_failures_of_requests_under_way_together_count_once():
    pool, (engine, _) = pool_of("a", "a")
    for _ in range(20):
        pool.failed(engine, 5.0)
    assert engine.failures == 1


def test_an_engine_that_is_full_rests_for_a_second_and_no_longer():
    pool, (engine, _) = pool_of("a", "a")
    for now in (0.0, 2.0, 4.0):
        pool.failed(engine, now, grow=False)
        assert engine.cool_until == now + 1


@given(count=st.integers(1, 9), broken=st.integers(0, 9))
def test_at_most_half_of_a_pool_rests(count: int, broken: int):
    pool, engines = pool_of(*"a" * count)
    for engine in engines[:broken]:
        pool.failed(engine, 0.0)
    assert len(chosen(pool, 0.1, 200)) >= count - count // 2


def test_a_draining_engine_is_passed_over_while_others_are_there():
    pool, engines = pool_of("a", "a", "a")
    pool.drains(engines[0], 0.0)
    pool.drains(engines[1], 0.0)
    assert chosen(pool, 1.0) == {"2"}
    pool.drains(engines[2], 0.0)
    assert chosen(pool, 1.0) == {"0", "1", "2"}


@pytest.mark.parametrize(("requests", "allowed"), [(0, 10), (100, 30)])
def test_retries_are_a_share_of_requests_and_a_floor(requests: int, allowed: int):
    budget = RetryBudget(0.2)
    for _ in range(requests):
        budget.request(1000.0)
    assert sum(budget.take(1001.0) for _ in range(500)) == allowed


def test_the_budget_comes_back_after_its_window():
    budget = RetryBudget(0.2)
    while budget.take(1000.0):
        pass
    assert not budget.take(1005.0)
    assert budget.take(1011.0)
