"""In whose name workers may ask: tickets, and what they cannot be made to say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.gateway.config import ApiKey
from app.gateway.errors import Refused
from app.gateway.keys.grant import Grant
from app.gateway.keys.ring import KeyRing, StoredKey
from app.jobs import ticket
from tests.gateway.harness import key_file

SECRET = b"a-secret-of-the-tests-alone"


def ring(**access: Any) -> KeyRing:
    (key,) = key_file(first="sk-first").keys
    one = KeyRing([ApiKey.model_validate(key.model_dump() | access)])
    one.tickets = ticket.Tickets(SECRET, one)
    return one


def ask(keys: KeyRing, secret: bytes = SECRET, key_id: str = "first", age: float = 0) -> Grant:
    return keys.authenticate(f"Bearer {ticket.issue(secret, key_id, time.time() - age)}".encode())


def test_a_ticket_stands_for_the_key_at_batch_priority():
    keys = ring(tenant="acme", routes=("chat",), models=("tiny",))
    grant = ask(keys)
    assert (grant.id, grant.tenant, grant.priority, grant.job) == ("first", "acme", "batch", True)
    assert (grant.routes, grant.models) == (frozenset({"chat"}), frozenset({"tiny"}))
    assert ask(keys) is grant, "limits count by grant"
    assert keys.authenticate(b"Bearer sk-first").job is False


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"secret": b"another-secret-of-the-tests"}, "invalid_api_key"),
        ({"age": ticket.SECONDS + 1}, "invalid_api_key"),
        ({"key_id": "unknown"}, "key_revoked"),
    ],
)
def test_a_ticket_that_is_forged_old_or_of_no_key_is_refused(given: dict[str, Any], code: str):
    with pytest.raises(Refused) as refused:
        ask(ring(), **given)
    assert (refused.value.problem.status, refused.value.problem.code) == (401, code)


@pytest.mark.parametrize("end", [b"", b".", b"x", b"W10.", b".AAAA", b"\xff\xff.\xff"])
def test_what_only_begins_like_a_ticket_is_refused(end: bytes):
    with pytest.raises(Refused) as refused:
        ring().authenticate(b"Bearer pj-" + end)
    assert refused.value.problem.code == "invalid_api_key"


def test_a_key_that_is_disabled_or_revoked_ends_its_tickets():
    with pytest.raises(Refused) as refused:
        ask(ring(enabled=False))
    assert refused.value.problem.status in (401, 403)
    keys = ring()
    keys.take_stored([StoredKey(Grant("stored"), b"d" * 32)])
    assert ask(keys, key_id="stored").job
    keys.take_stored([StoredKey(Grant("stored"), b"d" * 32, revoked=True)])
    with pytest.raises(Refused) as refused:
        ask(keys, key_id="stored")
    assert refused.value.problem.code == "key_revoked"


def test_each_attempt_of_a_row_is_billed_as_the_same_row_and_time():
    row = "0123456789abcdef" * 2
    first, second = (ticket.request_id(row, 1_800_000_000.25, attempt).encode() for attempt in (1, 2))
    assert first != second
    assert ticket.billed_as(first, paid=True) == ticket.billed_as(second, paid=True) == (row, 1_800_000_000.25)
    assert ticket.billed_as(first, paid=False) is None
    assert ticket.billed_as(b"req-1", paid=True) is None
