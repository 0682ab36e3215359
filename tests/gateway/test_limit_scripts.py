"""The Lua scripts on a real Redis server give the verdicts of the plain reference, whatever happens in what order."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from app.gateway.config import Limits
from app.gateway.limits.book import EPOCH, Book, Verdict
from app.gateway.limits.policy import NANO, Policy, Rule, Scope, policy
from app.gateway.limits.scripts import ADMIT, RENEW, SETTLE
from tests.gateway.redis_server import RedisServer

LEASE = 30_000_000
FAKE_TIME = "redis.call('MGET', 'test:seconds', 'test:micros')"


def rule_arguments(rules: tuple[Rule, ...]) -> list[Any]:
    return [part for rule in rules for part in (rule.scope + 1, rule.code, repr(rule.most), repr(rule.interval))]


class Scripts:
    """The scripts on a server. With `clock` (microseconds since EPOCH) time is what the test says."""

    def __init__(self, client: redis.Redis, *, fake: bool) -> None:
        change = (lambda text: text.replace("redis.call('TIME')", FAKE_TIME)) if fake else (lambda text: text)
        self.client = client
        self._admit, self._settle, self._renew = (
            client.register_script(change(text)) for text in (ADMIT, SETTLE, RENEW)
        )

    def clock(self, now: int) -> None:
        self.client.mset({"test:seconds": EPOCH + now // 1_000_000, "test:micros": now % 1_000_000})

    @staticmethod
    def keys(policy: Policy) -> list[str]:
        return [key for scope in policy.scopes for key in (f"{{t}}{scope.key}", f"{{t}}{scope.key}:open")]

    def admit(self, policy: Policy, name: str, tokens: int = 0, nano: int = 0, lease: int = LEASE) -> Verdict:
        return self.admit_all(policy, (name, tokens, nano), lease=lease)[0]

    def admit_all(self, policy: Policy, *asked: tuple[str, int, int], lease: int = LEASE) -> list[Verdict]:
        """Several requests in one call."""
        rules = [len(policy.rules), *rule_arguments(policy.rules)]
        items = [part for name, tokens, nano in asked for part in (f"{name}|{tokens}|{nano}", tokens, nano)]
        reply: Any = self._admit(self.keys(policy), [lease, *rules, *items])
        width = 2 + 2 * len(policy.rules)
        assert len(reply) == width * len(asked)
        each = [reply[at : at + width] for at in range(0, len(reply), width)]
        return [Verdict(one[0], one[1], tuple(zip(one[2::2], one[3::2], strict=True))) for one in each]

    def settle(
        self, policy: Policy, name: str, reserved: tuple[int, int], used: tuple[int, int], *, force: bool = False
    ) -> bool:
        return self.settle_all(policy, (name, reserved, used, force)) == 1

    def settle_all(self, policy: Policy, *ended: tuple[str, tuple[int, int], tuple[int, int], bool]) -> int:
        """Several requests in one call; returns how many had a reservation."""
        rules = [len(policy.rules), *rule_arguments(policy.rules)]
        items: list[Any] = []
        for name, reserved, used, force in ended:
            items += [f"{name}|{reserved[0]}|{reserved[1]}", *reserved, *used, int(force)]
        return int(self._settle(self.keys(policy), [*rules, *items]))

    def renew(self, policy: Policy, *members: str, lease: int = LEASE) -> None:
        self._renew(self.keys(policy), [lease, *members])


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def scripts(server: RedisServer) -> Iterator[Scripts]:
    with server.client() as client:
        client.flushall()
        yield Scripts(client, fake=True)


KEY, TENANT, ALL = Scope("key", "a"), Scope("tenant", "t"), Scope("all", "")


def one(**limits: Any) -> Policy:
    found = policy([(KEY, Limits(**limits))])
    assert found is not None
    return found


NOW = 40_000_000_000_000


class Both(RuleBasedStateMachine):
    """Redis and the reference side by side, and what was really used beside both."""

    scripts: Scripts
    held = Bundle("held")

    @initialize(
        key=st.builds(
            Limits,
            requests_per_second=st.none() | st.sampled_from([0.5, 3.0, 7.3]),
            burst_requests=st.none() | st.integers(1, 4),
            requests_per_minute=st.none() | st.sampled_from([10.0, 59.0]),
            concurrent_requests=st.none() | st.integers(1, 3),
        ),
        tenant=st.builds(
            Limits,
            tokens_per_minute=st.none() | st.integers(50, 700),
            usd_per_day=st.none() | st.sampled_from([0.000_001, 0.000_003]),
        ),
        everyone=st.builds(
            Limits,
            concurrent_requests=st.none() | st.integers(2, 5),
            tokens_per_minute=st.none() | st.integers(300, 900),
            usd_per_month=st.none() | st.sampled_from([0.000_004, 0.000_007]),
        ),
        now=st.integers(0, 90 * 86_400_000_000),
    )
    def begin(self, key: Limits, tenant: Limits, everyone: Limits, now: int) -> None:
        self.scripts.client.flushall()
        self.limits = {"key": key, "tenant": tenant, "all": everyone}
        self.policies = [
            policy([(Scope("key", name), key), (TENANT, tenant), (ALL, everyone)], batch_share=share)
            for name, share in (("a", 1.0), ("b", 0.6))
        ]
        self.book, self.now, self.number = Book(), NOW + now, 0
        self.excess = 0
        self.scripts.clock(self.now)

    @rule(micros=st.integers(1, 3_000_000) | st.integers(1, 70_000_000) | st.sampled_from([86_400_000_000]))
    def time_passes(self, micros: int) -> None:
        self.now += micros
        self.scripts.clock(self.now)

    @rule(micros=st.integers(LEASE // 2, LEASE - 1))
    def a_part_of_a_lease_passes(self, micros: int) -> None:
        """Twice in a row: what was reserved before both expires, what was reserved between them does not."""
        self.time_passes(micros)

    @rule(
        target=held,
        who=st.integers(0, 1),
        tokens=st.integers(0, 300) | st.integers(1, 40),
        nano=st.integers(0, 2500) | st.integers(1, 300),
    )
    def asks(self, who: int, tokens: int, nano: int) -> Any:
        found = self.policies[who]
        if found is None:
            return multiple()
        self.number += 1
        name = f"r{self.number}"
        verdict = self.scripts.admit(found, name, tokens, nano)
        assert verdict == self.book.admit(found, self.now, LEASE, name, tokens, nano)
        return (found, name, (tokens, nano)) if verdict.admitted else multiple()

    @rule(
        target=held,
        who=st.integers(0, 1),
        asked=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2500)), min_size=2, max_size=5),
    )
    def several_ask_at_once(self, who: int, asked: list[tuple[int, int]]) -> Any:
        found = self.policies[who]
        if found is None:
            return multiple()
        named = []
        for tokens, nano in asked:
            self.number += 1
            named.append((f"r{self.number}", tokens, nano))
        verdicts = self.scripts.admit_all(found, *named)
        assert verdicts == [self.book.admit(found, self.now, LEASE, *one) for one in named]
        return multiple(
            *(
                (found, name, (tokens, nano))
                for (name, tokens, nano), verdict in zip(named, verdicts, strict=True)
                if verdict.admitted
            )
        )

    @rule(first=consumes(held), second=consumes(held), force=st.booleans())
    def several_end_at_once(self, first: Any, second: Any, force: bool) -> None:
        """Of one policy in one call; the second time a member comes nothing is left of its reservation."""
        if first[0] is not second[0]:
            self._settles(first, 1.0, force)
            self._settles(second, 0.3, force)
            return
        found = first[0]
        ended = [(one[1], one[2], (one[2][0] // 2, one[2][1]), force) for one in (first, second)]
        had = [self.book.settle(found, self.now, name, used, force=by) for name, _, used, by in ended]
        assert self.scripts.settle_all(found, *ended) == sum(had)
        self.excess += sum(used[1] for (_, _, used, _), there in zip(ended, had, strict=True) if force and not there)

    def _settles(self, one: Any, share: float, force: bool) -> None:
        found, name, reserved = one
        used = (int(reserved[0] * share), int(reserved[1] * share))
        had = self.scripts.settle(found, name, reserved, used, force=force)
        assert had == self.book.settle(found, self.now, name, used, force=force)
        if had:
            self.excess += max(used[1] - reserved[1], 0)
        elif force:  # the reservation expired: none of it was held back for this
            self.excess += used[1]

    @rule(one=consumes(held), share=st.sampled_from([0.0, 0.3, 1.0, 1.5]), force=st.booleans())
    def ends(self, one: Any, share: float, force: bool) -> None:
        self._settles(one, share, force)

    @rule(one=held)
    def ends_twice(self, one: Any) -> None:
        self._settles(one, 0.5, force=False)
        self._settles(one, 1.0, force=False)

    @invariant()
    def money_is_over_its_limit_at_most_by_what_was_not_reserved(self) -> None:
        if not hasattr(self, "limits"):
            return
        for scope, code, limit in (("tenant:t", b"ds", "usd_per_day"), ("all", b"os", "usd_per_month")):
            most = getattr(self.limits[scope.partition(":")[0]], limit)
            if most is not None:
                spent = int(self.scripts.client.hget(f"{{t}}{scope}", code) or 0)
                assert spent <= most * NANO + self.excess


def test_redis_and_the_reference_agree_in_every_order_of_events(scripts: Scripts) -> None:
    class Here(Both):
        pass

    Here.scripts = scripts
    case = Here.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))
    case("runTest").runTest()


def test_a_rate_lets_its_burst_through_and_then_one_each_interval(scripts: Scripts) -> None:
    found = one(requests_per_second=2, burst_requests=3)
    scripts.clock(NOW)
    verdicts = [scripts.admit(found, str(number)) for number in range(4)]
    assert [verdict.admitted for verdict in verdicts] == [True, True, True, False]
    assert [verdict.left[0][0] for verdict in verdicts] == [2, 1, 0, 0]
    assert verdicts[3].wait == 500_000
    scripts.clock(NOW + 499_999)
    assert not scripts.admit(found, "early").admitted
    scripts.clock(NOW + 500_000)
    assert scripts.admit(found, "due").admitted


def test_retry_after_is_the_first_moment_at_which_tokens_suffice(scripts: Scripts) -> None:
    found = one(tokens_per_minute=600)
    scripts.clock(NOW)
    assert scripts.admit(found, "1", tokens=600).admitted
    scripts.settle(found, "1", (600, 0), (590, 0))
    refused = scripts.admit(found, "2", tokens=60)
    assert refused.wait == 5_000_000  # 50 tokens at ten a second
    scripts.clock(NOW + refused.wait - 1)
    assert not scripts.admit(found, "3", tokens=60).admitted
    scripts.clock(NOW + refused.wait)
    assert scripts.admit(found, "4", tokens=60).admitted


def test_what_is_reserved_and_not_used_comes_back_at_once(scripts: Scripts) -> None:
    found = one(tokens_per_minute=100, usd_per_day=0.000_001)
    scripts.clock(NOW)
    assert scripts.admit(found, "1", 100, 1000).admitted
    assert not scripts.admit(found, "2", 1, 1).admitted
    assert scripts.settle(found, "1", (100, 1000), (0, 0))
    assert scripts.admit(found, "3", 100, 1000).admitted


def test_nothing_is_reserved_under_one_limit_when_another_refuses(scripts: Scripts) -> None:
    found = policy([(KEY, Limits(requests_per_second=1)), (ALL, Limits(concurrent_requests=1))])
    assert found is not None
    scripts.clock(NOW)
    other = policy([(ALL, Limits(concurrent_requests=1))])
    assert other is not None
    assert scripts.admit(other, "blocks").admitted
    refused = scripts.admit(found, "1")
    assert found.rules[refused.refused_by].code == "c"
    scripts.settle(other, "blocks", (0, 0), (0, 0))
    assert scripts.admit(found, "2").admitted


def test_reservations_of_a_dead_gateway_expire_and_those_of_a_live_one_are_renewed(scripts: Scripts) -> None:
    found = one(concurrent_requests=1, usd_per_day=0.000_001)
    scripts.clock(NOW)
    assert scripts.admit(found, "1", 5, 900).admitted
    scripts.clock(NOW + LEASE - 1)
    scripts.renew(found, "1|5|900", "gone|0|0")
    scripts.clock(NOW + 2 * LEASE - 2)
    assert not scripts.admit(found, "2", 5, 900).admitted
    scripts.clock(NOW + 2 * LEASE)
    assert scripts.admit(found, "3", 5, 900).admitted


def test_what_a_dead_gateway_reserved_comes_back_though_others_hold_on(scripts: Scripts) -> None:
    found = one(tokens_per_minute=100, usd_per_day=0.000_001)
    scripts.clock(NOW)
    assert scripts.admit(found, "dead", 40, 700).admitted
    scripts.clock(NOW + LEASE // 2)
    assert scripts.admit(found, "lives", 30, 200).admitted
    scripts.clock(NOW + LEASE)
    verdict = scripts.admit(found, "next", 0, 0)
    assert {rule.code: left for rule, (left, _) in zip(found.rules, verdict.left, strict=True)} == {"t": 70, "d": 800}


def test_a_reservation_is_settled_once(scripts: Scripts) -> None:
    found = one(usd_per_day=0.000_01)
    scripts.clock(NOW)
    scripts.admit(found, "1", 0, 5000)
    assert scripts.settle(found, "1", (0, 5000), (0, 4000))
    assert not scripts.settle(found, "1", (0, 5000), (0, 4000))
    assert scripts.admit(found, "2", 0, 0).left[0][0] == 6000


@pytest.mark.parametrize("day", ["2025-12-31", "2026-02-28", "2028-02-29", "2026-11-30", "2100-02-28", "2027-07-04"])
def test_money_of_a_month_is_new_at_the_first_of_the_next(scripts: Scripts, day: str) -> None:

    evening = datetime.datetime.fromisoformat(f"{day}T22:00:00+00:00")
    following = (evening.replace(day=1) + datetime.timedelta(days=31)).replace(day=1, hour=0)
    now = (int(evening.timestamp()) - EPOCH) * 1_000_000
    found = one(usd_per_month=0.000_001)
    scripts.clock(now)
    scripts.admit(found, "1", 0, 1000)
    scripts.settle(found, "1", (0, 1000), (0, 1000))
    refused = scripts.admit(found, "2", 0, 1)
    assert refused.wait == (following - evening).total_seconds() * 1e6
    scripts.clock(now + refused.wait)
    assert scripts.admit(found, "3", 0, 1000).admitted


def test_time_is_the_servers(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()
        real = Scripts(client, fake=False)
        found = one(requests_per_second=5, burst_requests=1)
        assert real.admit(found, "1").admitted
        refused = real.admit(found, "2")
        assert 0 < refused.wait <= 200_000
        time.sleep(refused.wait / 1e6)
        assert real.admit(found, "3").admitted


def test_a_request_that_no_waiting_helps_is_known_without_redis() -> None:
    found = one(tokens_per_minute=100, usd_per_day=0.000_001)
    assert found.impossible(100, 1000) is None
    assert found.impossible(101, 0) is found.rules[0]
    assert found.impossible(0, 1001) is found.rules[1]


def test_a_key_in_use_lives_on_and_the_server_is_not_asked_for_that_each_time(scripts: Scripts) -> None:
    found = one(requests_per_second=1000, concurrent_requests=50)
    scripts.clock(NOW)
    scripts.admit(found, "1")
    keys = scripts.keys(found)
    for key in keys:
        scripts.client.expire(key, 100)
    scripts.clock(NOW + 599_000_000)
    scripts.admit(found, "2")
    scripts.admit(found, "3")
    assert scripts.client.ttl(keys[0]) <= 100
    scripts.clock(NOW + 601_000_000)
    scripts.admit(found, "4")
    assert all(3500 < scripts.client.ttl(key) <= 3600 for key in keys)


def test_reservations_that_begin_anew_do_not_stay_for_ever(scripts: Scripts) -> None:
    """Redis removes a set with its last member, and with it the time that it was to live."""
    found = one(concurrent_requests=5)
    scripts.clock(NOW)
    scripts.admit(found, "1")
    scripts.settle(found, "1", (0, 0), (0, 0))
    assert not scripts.client.exists(scripts.keys(found)[1])
    scripts.admit(found, "2")
    assert scripts.client.ttl(scripts.keys(found)[1]) > 0


def test_a_reservation_with_a_shorter_lease_expires_in_its_own_time(scripts: Scripts) -> None:
    found = one(concurrent_requests=2)
    scripts.clock(NOW)
    scripts.admit(found, "long")
    scripts.admit(found, "short", lease=LEASE // 10)
    scripts.clock(NOW + LEASE // 10)
    assert scripts.admit(found, "next").left[0][0] == 0
    assert scripts.client.zcard(scripts.keys(found)[1]) == 2


def test_all_keys_of_one_call_are_in_one_slot_and_expire(scripts: Scripts) -> None:
    found = one(requests_per_second=5, concurrent_requests=2, usd_per_day=1)
    scripts.clock(NOW)
    scripts.admit(found, "1", 0, 10)
    keys = [key for key in scripts.client.scan_iter() if not key.startswith(b"test:")]
    assert len(keys) == 2
    assert all(scripts.client.ttl(key) > 0 for key in keys)
