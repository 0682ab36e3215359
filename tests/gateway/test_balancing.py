"""How keys, turns and shares spread requests over engines, as properties of pure functions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.balance.pick import (
    BASE_ROOM,
    MARKED_BYTES,
    Known,
    affine,
    bounds,
    prefix_key,
    prefix_marks,
    session_key,
)
from app.gateway.choose import Engine, Near, Pool, PoolRules, Sighting

FACTOR = 1.25


def sightings(*keys: object, zone: str = "a", weights: tuple[float, ...] = ()) -> list[Sighting]:
    given_weights = weights or (1.0,) * len(keys)
    return [
        Sighting(f"uid-{key}", f"pod-{key}", "10.0.0.1", 8000, zone, True, False, weight)
        for key, weight in zip(keys, given_weights, strict=True)
    ]


def pool(rules: PoolRules, *seen: Sighting, zone: str = "a") -> Pool:
    made = Pool(zone, rules=rules)
    made.update(seen)
    return made


def engines(count: int) -> list[Engine]:
    return list(pool(PoolRules(), *sightings(*range(count))).engines.values())


def place(made: Pool, key: int, now: float = 0.0, *, session: bool = False) -> str:
    engine = made.choose(now, near=Near(key, session))
    assert engine is not None
    return engine.key


# -- keys --


@given(st.integers(2, 24), st.integers(0, 1_000_000))
def test_when_an_engine_goes_only_its_own_keys_move(count: int, salt: int):
    all_of_them = engines(count)
    gone = all_of_them[salt % count]
    left = [engine for engine in all_of_them if engine is not gone]
    for number in range(50):
        key = prefix_key(b"%d %d" % (salt, number))
        home, _ = affine(all_of_them, key, FACTOR, 0.0)
        after, _ = affine(left, key, FACTOR, 0.0)
        assert after is home or home is gone


def test_an_engine_that_comes_takes_its_part_of_the_keys_and_no_key_moves_between_the_others():
    eight = engines(9)
    keys = [session_key("t", b"%d" % number) for number in range(3000)]
    before = {key: affine(eight[:8], key, FACTOR, 0.0)[0] for key in keys}
    after = {key: affine(eight, key, FACTOR, 0.0)[0] for key in keys}
    moved = [key for key in keys if before[key] is not after[key]]
    assert all(after[key] is eight[8] for key in moved)
    assert 3000 / 9 * 0.8 < len(moved) < 3000 / 9 * 1.2


@pytest.mark.parametrize("count", [2, 5, 16])
@pytest.mark.parametrize("make", [lambda n: prefix_key(b"prompt %d" % n), lambda n: session_key("t", b"%d" % n)])
def test_keys_are_spread_evenly(count: int, make):
    counts = Counter(affine(engines(count), make(number), FACTOR, 0.0)[0].key for number in range(4000))
    assert len(counts) == count
    mean = 4000 / count
    assert all(abs(found - mean) < 5 * mean**0.5 for found in counts.values())


def test_the_keys_of_an_engine_that_goes_spread_over_all_others():
    six = engines(6)
    keys = [prefix_key(b"%d" % number) for number in range(6000)]
    orphans = [key for key in keys if affine(six, key, FACTOR, 0.0)[0] is six[0]]
    counts = Counter(affine(six[1:], key, FACTOR, 0.0)[0].key for key in orphans)
    assert len(counts) == 5
    assert min(counts.values()) > len(orphans) / 5 * 0.6


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=300),
    st.sampled_from([1.05, 1.25, 2.0]),
)
def test_no_engine_exceeds_its_bound_however_uneven_the_keys_are(
    count: int, steps: list[tuple[int, bool]], factor: float
):
    """Few keys, each of any number of requests, which begin and end in any order."""
    made = pool(PoolRules("prefix", factor), *sightings(*range(count)))
    under_way: list[Engine] = []
    for key, ends in steps:
        if ends and under_way:
            under_way.pop(key % len(under_way)).in_flight -= 1
            continue
        engine = made.choose(0.0, near=Near(prefix_key(b"%d" % key)))
        assert engine is not None
        engine.in_flight += 1
        under_way.append(engine)
        mean = len(under_way) / count
        assert engine.in_flight <= max(BASE_ROOM, -int(-factor * mean // 1))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=20), st.floats(1.01, 5))
def test_some_engine_always_has_room(loads: list[int], factor: float):
    found = engines(len(loads))
    for engine, load in zip(found, loads, strict=True):
        engine.in_flight = load
    assert any(e.in_flight < bound for e, bound in zip(found, bounds(found, factor, 0.0), strict=True))


def test_a_hot_prefix_stays_home_at_low_load_and_overflows_in_one_order():
    made = pool(PoolRules("prefix"), *sightings(*range(4)))
    near = Near(prefix_key(b"the same system prompt"))
    for _ in range(40):
        engine = made.choose(0.0, near=near)
        assert engine is not None
        engine.in_flight += 1
    loads = sorted((engine.in_flight for engine in made.engines.values()), reverse=True)
    assert loads[0] == 13, "1.25 times the mean of 10, rounded up"
    assert made.at_home == 13
    assert made.moved == 27


def test_replicas_agree_on_a_keys_engine():
    one, two = (pool(PoolRules("prefix"), *order) for order in (sightings(1, 2, 3), sightings(3, 1, 2)))
    keys = [prefix_key(b"%d" % number) for number in range(200)]
    assert [place(one, key) for key in keys] == [place(two, key) for key in keys]


def test_a_session_has_one_engine_for_gateways_of_all_zones_and_a_prefix_has_one_in_each():
    seen = [*sightings(1, 2, 3, zone="a"), *sightings(4, 5, 6, zone="b")]
    in_a, in_b = (pool(PoolRules("prefix"), *seen, zone=zone) for zone in ("a", "b"))
    keys = [session_key("t", b"%d" % number) for number in range(100)]
    assert [place(in_a, key, session=True) for key in keys] == [place(in_b, key, session=True) for key in keys]
    assert {in_a.engines[place(in_a, key)].zone for key in keys} == {"a"}
    assert {in_b.engines[place(in_b, key)].zone for key in keys} == {"b"}


def test_equal_sessions_of_two_tenants_are_two_sessions():
    assert session_key("one", b"s") != session_key("two", b"s")


# -- prompts that are known --


def near(prompt: bytes) -> Near:
    return Near(prefix_key(prompt[:256]), marks=prefix_marks(prompt))


@given(st.binary(max_size=3000), st.binary(max_size=3000), st.binary(max_size=3000))
def test_marks_are_equal_as_far_as_prompts_are(common: bytes, one: bytes, two: bytes):
    first, second = prefix_marks(common + one), prefix_marks(common + two)
    alike = sum(size <= len(common) for size in MARKED_BYTES)
    assert first[:alike] == second[:alike]
    if one[:1] != two[:1] or not one:
        assert len(first) == sum(size <= len(common + one) for size in MARKED_BYTES)


def test_the_next_turn_of_a_conversation_goes_where_the_last_one_was_though_its_home_is_elsewhere():
    made = pool(PoolRules("prefix"), *sightings(*range(4)))
    system = b"the same instructions for all " * 20
    first = near(system + b"a question" * 30)
    home = place_near(made, first)
    made.engines[home].in_flight = 30  # busy: the conversation begins elsewhere
    talk = system + b"another question" * 30
    begun = place_near(made, near(talk))
    assert begun != home
    made.engines[home].in_flight = 0
    assert place_near(made, near(talk + b"an answer, and the next question" * 20)) == begun
    assert made.engines[begun].left is False
    made.update(sightings(*(n for n in range(4) if f"uid-{n}" != begun)))
    assert place_near(made, near(talk + b"more")) != begun


def place_near(made: Pool, what: Near) -> str:
    engine = made.choose(0.0, near=what)
    assert engine is not None
    return engine.key


@given(st.lists(st.binary(min_size=1, max_size=2000), max_size=60), st.integers(1, 20))
def test_what_is_known_of_prompts_has_a_fixed_size_and_the_oldest_goes_first(prompts: list[bytes], most: int):
    known, engine = Known(most), engines(1)[0]
    for prompt in prompts:
        marks = prefix_marks(prompt)
        known.keep(marks, engine)
        assert len(known) <= most
        assert not marks or known.find(marks[-1:]) is engine


@given(st.integers(2, 6), st.lists(st.integers(0, 3), min_size=30, max_size=120))
def test_known_prompts_keep_to_the_bound_too(count: int, talks: list[int]):
    made = pool(PoolRules("prefix"), *sightings(*range(count)))
    for placed, talk in enumerate(talks, 1):
        engine = made.choose(0.0, near=near(b"%d" % talk * 600))
        assert engine is not None
        engine.in_flight += 1
        assert engine.in_flight <= max(BASE_ROOM, -int(-1.25 * placed / count // 1))


def test_made_up_keys_leave_nothing_behind():
    made = pool(PoolRules("prefix"), *sightings(*range(4)))
    before = {slot: len(value) for slot, value in vars(made).items() if hasattr(value, "__len__")}
    for number in range(5000):
        made.choose(0.0, near=Near(session_key("t", b"%d" % number), session=True))
    assert {slot: len(value) for slot, value in vars(made).items() if hasattr(value, "__len__")} == before


# -- turns and weights --


@given(st.integers(1, 12), st.integers(1, 20))
def test_round_robin_gives_each_engine_the_same_number(count: int, rounds: int):
    made = pool(PoolRules("round-robin"), *sightings(*range(count)))
    counts = Counter(engine.key for _ in range(count * rounds) if (engine := made.choose(0.0)))
    assert set(counts.values()) == {rounds}
    assert len(counts) == count


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6))
def test_weights_are_kept_exactly_over_each_round(weights: list[int]):
    made = pool(PoolRules("weighted"), *sightings(*range(len(weights)), weights=tuple(map(float, weights))))
    for _ in range(3):
        counts = Counter(engine.key for _ in range(sum(weights)) if (engine := made.choose(0.0)))
        assert [counts[f"uid-{number}"] for number in range(len(weights))] == weights


def test_a_heavy_engines_turns_are_spread_over_the_round():
    made = pool(PoolRules("weighted"), *sightings(0, 1, 2, weights=(5.0, 1.0, 1.0)))
    order = "".join(engine.key[-1] for _ in range(7) if (engine := made.choose(0.0)))
    assert order == "0010200"


def test_turns_go_to_the_own_zone_until_it_is_much_busier():
    made = pool(PoolRules("round-robin"), *sightings(0, 1, zone="a"), *sightings(2, 3, zone="b"))
    assert {engine.key for _ in range(8) if (engine := made.choose(0.0))} == {"uid-0", "uid-1"}
    for key in ("uid-0", "uid-1"):
        made.engines[key].in_flight = 3
    assert {engine.key for _ in range(8) if (engine := made.choose(0.0))} == {"uid-2", "uid-3"}
    assert made.spilled == 8


# -- slow start, bound --


@pytest.mark.parametrize("policy", ["least", "round-robin", "weighted"])
def test_the_share_of_a_fresh_engine_grows_to_its_full(policy):
    made = pool(PoolRules(policy, slow_start_seconds=10), *sightings(0, 1))
    made.update(sightings(0, 1, 2), now=100.0)
    parts = []
    for now in (100.0, 105.0, 111.0):
        for engine in made.engines.values():
            engine.in_flight, engine.turn = 0, 0.0
        for _ in range(210):
            engine = made.choose(now)
            assert engine is not None
            engine.in_flight += 1
        parts.append(made.engines["uid-2"].in_flight)
    assert parts == pytest.approx([210 * 0.1 / 2.1, 210 * 0.5 / 2.5, 70], abs=2)


def test_a_fresh_engine_takes_few_of_its_keys_at_first():
    made = pool(PoolRules("prefix", slow_start_seconds=10), *sightings(0, 1))
    made.update(sightings(0, 1, 2), now=100.0)
    for number in range(210):
        engine = made.choose(100.0, near=Near(prefix_key(b"%d" % number)))
        assert engine is not None
        engine.in_flight += 1
    assert made.engines["uid-2"].in_flight <= 1.25 * 210 * 0.1 / 2.1 + 1


def test_engines_that_are_there_at_the_start_are_not_fresh():
    made = pool(PoolRules(slow_start_seconds=10), *sightings(0, 1))
    assert all(engine.fresh_until == 0 for engine in made.engines.values())


def test_an_engine_that_was_away_starts_slowly_again():
    made = pool(PoolRules(slow_start_seconds=10), *sightings(0, 1))
    away = [sightings(0)[0], Sighting("uid-1", "pod-1", "10.0.0.1", 8000, "a", False, False)]
    made.update(away, now=50.0)
    made.update(sightings(0, 1), now=60.0)
    assert made.engines["uid-1"].fresh_until == 70.0
    assert made.engines["uid-0"].fresh_until == 0.0


@pytest.mark.parametrize("policy", ["least", "round-robin", "weighted", "prefix"])
@pytest.mark.parametrize("near", [None, Near(17), Near(17, session=True)])
def test_an_engine_never_gets_more_than_it_may_have(policy, near):
    made = pool(PoolRules(policy, most_in_flight=3), *sightings(*range(3)))
    for _ in range(9):
        engine = made.choose(0.0, near=near)
        assert engine is not None
        engine.in_flight += 1
    assert made.choose(0.0, near=near) is None
    assert not made.has_room(0.0)
    assert made.choose(0.0, near=near, over=True) is not None, "a stream under way may go on all the same"
    made.engines["uid-1"].in_flight -= 1
    assert made.has_room(0.0)
    assert made.choose(0.0, near=near) is made.engines["uid-1"]


# -- hung engines --


def test_a_hung_engine_gets_nothing_until_a_probe_succeeds_and_then_one_request():
    made = pool(PoolRules(), *sightings(0, 1))
    weak, strong = made.engines["uid-0"], made.engines["uid-1"]
    strong.in_flight = 100
    now = 10.0
    for _ in range(60):
        made.hangs(weak, now)
        assert made.choose(now + 0.9) is strong
        now += 1.0
    assert weak.failures == 1, "one hang is one failure, however long it lasts"
    made.lives(weak, now)
    assert made.choose(now) is weak
    weak.probes = 1
    assert made.choose(now) is strong


@given(st.integers(1, 9), st.integers(0, 9))
def test_at_most_half_of_a_pool_rests_even_when_all_hang(count: int, hung: int):
    made = pool(PoolRules("round-robin"), *sightings(*range(count)))
    for engine in list(made.engines.values())[:hung]:
        made.hangs(engine, 0.0)
    chosen = {engine.key for _ in range(count * 40) if (engine := made.choose(0.1))}
    assert len(chosen) >= count - count // 2
