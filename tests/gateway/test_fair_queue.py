"""The order in which waiting requests leave, against what fairness means."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.gateway.queue.fair import QUANTUM_TOKENS, FairQueue, Waiter

COSTS = st.integers(1, 8 * QUANTUM_TOKENS)


def waiter(number: int, tenant: str, cost: int = 1000, *, batch: bool = False) -> Waiter[int]:
    return Waiter(number, tenant, batch, cost)


def filled(*waiters: Waiter[int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for one in waiters:
        queue.push(one)
    return queue


def drained(queue: FairQueue[int]) -> list[Waiter[int]]:
    found = []
    while (one := queue.pop()) is not None:
        found.append(one)
    return found


def test_interactive_requests_leave_before_batch_ones():
    queue = filled(waiter(1, "a", batch=True), waiter(2, "a"), waiter(3, "b", batch=True), waiter(4, "b"))
    assert [one.batch for one in drained(queue)] == [False, False, True, True]


def test_requests_of_one_tenant_leave_as_they_came():
    assert [one.item for one in drained(filled(*(waiter(n, "a", 1 + n * 3000) for n in range(9))))] == list(range(9))


def test_a_tenant_with_many_requests_does_not_keep_another_from_its_turn():
    queue = filled(*(waiter(n, "flood", QUANTUM_TOKENS) for n in range(1000)), waiter(1000, "quiet", QUANTUM_TOKENS))
    order = [queue.pop() for _ in range(4)]
    assert "quiet" in {one.tenant for one in order if one is not None}


def test_long_requests_get_no_more_of_the_engines_than_short_ones():
    long = [waiter(n, "long", 10_000) for n in range(60)]
    short = [waiter(n, "short", 1000) for n in range(600)]
    queue = filled(*long, *short)
    spent: Counter[str] = Counter()
    for _ in range(330):
        one = queue.pop()
        assert one is not None
        spent[one.tenant] += one.cost
    assert abs(spent["long"] - spent["short"]) <= 2 * 10_000 + QUANTUM_TOKENS


@given(st.lists(st.tuples(st.sampled_from("abcd"), COSTS), min_size=1, max_size=60))
def test_while_two_tenants_wait_neither_is_ahead_by_more_than_a_request_and_a_quantum(requests: list[tuple[str, int]]):
    """Shreedhar and Varghese's bound: a quantum and twice the dearest request."""
    queue = filled(*(waiter(n, tenant, cost) for n, (tenant, cost) in enumerate(requests)))
    left = Counter(tenant for tenant, _ in requests)
    spent: Counter[str] = Counter()
    bound = QUANTUM_TOKENS + 2 * max(cost for _, cost in requests)
    while (one := queue.pop()) is not None:
        spent[one.tenant] += one.cost
        left[one.tenant] -= 1
        busy = [spent[tenant] for tenant in left if left[tenant] > 0]
        assert not busy or max(busy) - min(busy) <= bound


@given(st.lists(st.tuples(st.sampled_from("abc"), COSTS, st.booleans()), max_size=50), st.data())
def test_all_that_wait_leave_once_in_the_order_foretold(requests: list[tuple[str, int, bool]], data: st.DataObject):
    waiters = [waiter(n, tenant, cost, batch=batch) for n, (tenant, cost, batch) in enumerate(requests)]
    queue = filled(*waiters)
    for _ in range(data.draw(st.integers(0, len(waiters)))):
        gone = queue.pop()
        assert gone is not None
        waiters.remove(gone)
    for one in data.draw(st.lists(st.sampled_from(waiters), unique=True)) if waiters else []:
        assert queue.remove(one)
        assert not queue.remove(one)
        waiters.remove(one)
    assert len(queue) == len(waiters)
    foretold = list(queue.in_order())
    assert list(queue.in_order()) == foretold, "looking changes nothing"
    assert drained(queue) == foretold
    assert set(foretold) == set(waiters)
    assert len(queue) == 0


def test_an_empty_queue_keeps_nothing_of_its_tenants():
    queue = filled(*(waiter(n, f"tenant-{n}", batch=n % 2 == 0) for n in range(500)))
    drained(queue)
    for one in (queue._interactive, queue._batch):
        assert not one.queues
        assert not one.turns
        assert not one.deficits


def test_a_very_dear_request_takes_no_loop_of_its_size():
    queue = filled(waiter(1, "a", 10**15), waiter(2, "b", 10**15))
    assert [one.item for one in drained(queue)] == [1, 2]
