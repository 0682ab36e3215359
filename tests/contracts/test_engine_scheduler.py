"""The simulated scheduler under any load: no token is lost, the cache never overfull, first come first served."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.kv import BLOCK, BlockPool, chain
from app.engine.scheduler import END, Rates, Scheduler, Sequence

RATES = Rates(prefill=1000.0, decode=10.0, knee=4)


def scheduler(blocks: int = 64, **options: int) -> Scheduler:
    return Scheduler(BlockPool(blocks), RATES, max_model_len=256, **options)  # ty: ignore[invalid-argument-type]


def sequence(prompt: int, limit: int, first: int = 100, end_after: int | None = None) -> Sequence:
    counter = itertools.count()

    def draw() -> int:
        index = next(counter)
        return END if index == end_after else first + index

    return Sequence([first] * prompt, draw, limit)


def run(under_test: Scheduler, steps: int = 5000) -> list[tuple[Sequence, int, str | None]]:
    """Runs until nothing is left to do. Checks the cache after each step."""
    now, events = 0.0, []
    for _ in range(steps):
        step = under_test.plan(now)
        assert under_test.pool.used + under_test.pool.idle <= under_test.pool.capacity, "the cache must not be overfull"
        if step is None:
            assert not under_test.running
            assert not under_test.waiting, "what waits must be admitted in the end"
            return events
        assert sum(count for _, count in step.work) <= under_test.max_num_batched_tokens
        assert len(under_test.running) <= under_test.max_num_seqs
        now += step.seconds
        events += under_test.complete(step, now)
    raise AssertionError("the scheduler did not come to an end")


LOADS = st.lists(st.tuples(st.integers(1, 120), st.integers(1, 100), st.integers(0, 2)), min_size=1, max_size=12)


@settings(max_examples=60)
@given(LOADS, st.integers(16, 40), st.integers(1, 6), st.sampled_from([16, 48, 512]))
def test_each_sequence_gets_all_its_tokens_in_order(
    load: list[tuple[int, int, int]], blocks: int, most: int, budget: int
) -> None:
    under_test = scheduler(blocks, max_num_seqs=most, max_num_batched_tokens=budget)
    # Three kinds of prompt, so that some share a prefix.
    added = [sequence(prompt, limit, 1000 * kind + 100) for prompt, limit, kind in load]
    for one in added:
        under_test.add(one)
    events = run(under_test)
    for one, (prompt, limit, kind) in zip(added, load, strict=True):
        mine = [(token, reason) for owner, token, reason in events if owner is one]
        assert [token for token, _ in mine] == [1000 * kind + 100 + index for index in range(limit)]
        assert [reason for _, reason in mine] == [None] * (limit - 1) + ["length"]
        assert one.prompt == prompt
    assert under_test.pool.used == 0, "every block is given back"
    assert under_test.totals.generated == sum(limit for _, limit, _ in load)
    assert under_test.totals.prompt == sum(prompt for prompt, _, _ in load)


@settings(max_examples=40)
@given(LOADS, st.integers(16, 30))
def test_first_come_is_first_served(load: list[tuple[int, int, int]], blocks: int) -> None:
    under_test = scheduler(blocks, max_num_seqs=3)
    added = [sequence(prompt, limit) for prompt, limit, _ in load]
    for one in added:
        under_test.add(one)
    run(under_test)
    starts = [one.scheduled for one in added]
    assert starts == sorted(starts), "no sequence may start before one that came earlier"


def test_a_full_cache_preempts_the_youngest() -> None:
    under_test = scheduler(blocks=16)
    old, young = sequence(100, 100, 100), sequence(100, 100, 5000)
    under_test.add(old)
    under_test.add(young)
    run(under_test)
    assert (old.preemptions, young.preemptions > 0) == (0, True)
    assert under_test.totals.preemptions == young.preemptions


def test_a_preempted_sequence_goes_on_before_those_that_came_later() -> None:
    under_test = scheduler(blocks=16, max_num_seqs=2)
    added = [sequence(100, 100, 1000 * number) for number in (1, 2, 3)]
    for one in added:
        under_test.add(one)
    while not under_test.totals.preemptions:
        step = under_test.plan(0.0)
        assert step is not None
        under_test.complete(step, 0.0)
    assert list(under_test.waiting) == added[1:]


def test_an_end_of_sequence_token_stops_an_answer() -> None:
    under_test = scheduler()
    under_test.add(one := sequence(5, 50, end_after=3))
    events = run(under_test)
    assert [reason for _, _, reason in events] == [None, None, None, "stop"]
    assert one.finished == "stop"


def test_an_aborted_sequence_gets_no_more_tokens_and_frees_its_blocks() -> None:
    under_test = scheduler()
    under_test.add(one := sequence(40, 50))
    step = under_test.plan(0.0)
    assert step is not None
    under_test.abort(one)
    assert under_test.complete(step, 1.0) == []
    assert under_test.pool.used == 0
    assert under_test.plan(2.0) is None


def test_prefill_takes_time_in_proportion_to_what_the_cache_lacks() -> None:
    under_test = scheduler()
    seconds = []
    for _ in range(2):
        under_test.add(one := sequence(200, 1))
        step = under_test.plan(0.0)
        assert step is not None
        seconds.append(step.seconds)
        under_test.complete(step, 0.0)
    assert seconds == [pytest.approx(0.2), pytest.approx(0.008)]
    assert one.cached == 192
    assert (under_test.totals.prefix_queries, under_test.totals.prefix_hits) == (400, 192)


def test_beyond_the_knee_sequences_share_the_decode_rate() -> None:
    assert RATES.seconds(0, 1) == RATES.seconds(0, 4) == pytest.approx(0.1)
    assert RATES.seconds(0, 8) == pytest.approx(0.2)


def test_a_long_prompt_is_computed_in_chunks_beside_the_decodes() -> None:
    under_test = scheduler(max_num_batched_tokens=32)
    under_test.add(short := sequence(4, 20))
    under_test.complete(under_test.plan(0.0), 0.0)  # ty: ignore[invalid-argument-type]
    under_test.add(long := sequence(200, 1, 5000))
    step = under_test.plan(0.0)
    assert step is not None
    assert step.work == [(short, 1), (long, 31)]


def test_a_cache_smaller_than_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than max_model_len=256"):
        scheduler(blocks=15)


@given(st.lists(st.integers(0, 3), max_size=80), st.lists(st.integers(0, 3), max_size=80))
def test_two_texts_share_exactly_the_blocks_of_their_common_beginning(first: list[int], second: list[int]) -> None:
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    shared = sum(1 for pair in zip(chain(first), chain(second), strict=False) if pair[0] == pair[1])
    assert shared == common // BLOCK


def test_a_salt_keeps_caches_apart() -> None:
    assert chain([1] * 16, salt=1) != chain([1] * 16, salt=2)


def test_the_least_recently_used_block_is_dropped_first() -> None:
    pool = BlockPool(4)
    for value in (1, 2, 3):
        assert pool.allocate(1)
        pool.seal(value)
        pool.release([value], 0)
    pool.pin([1])
    pool.release([1], 0)
    assert pool.allocate(2)
    assert [pool.leading_hits([value], 1) for value in (1, 2, 3)] == [1, 0, 1]
