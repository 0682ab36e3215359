"""Keys of the database on running gateways: changed everywhere within a second, and kept while the database is away."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.gateway.database.connection import connect
from app.gateway.database.migrations import make_login, migrate
from app.gateway.database.settings import Database
from app.gateway.keys import admin as admin_module
from app.gateway.keys import follower
from app.gateway.keys.schema import KEYS
from tests.gateway.harness import KEY, eventually
from tests.gateway.key_cases import ADMIN_KEY, admin, chat, gateway_on, make_key, status_within
from tests.gateway.real_postgres import Proxy, execute, refuses


async def test_a_key_made_at_one_gateway_works_at_another_and_ends_there_within_a_second(empty_database: Database):
    async with gateway_on(empty_database) as one, gateway_on(empty_database) as two:
        identity, key = await make_key(one)
        assert (await chat(one, key)).status == 200
        made = await status_within(two, key, 200, 1.0)
        assert (await admin(one, "POST", f"keys/{identity}/revoke")).status == 200
        reply = await chat(one, key)
        assert (reply.status, reply.error["code"]) == (401, "key_revoked")
        ended = await status_within(two, key, 401, 1.0)
        print(f"seen by another gateway: made {made * 1e3:.0f} ms, revoked {ended * 1e3:.0f} ms")
        assert (await chat(two, key)).error["code"] == "key_revoked"
        assert (await chat(two, KEY)).status == 200


async def test_without_notifications_the_poll_ends_a_revoked_key_within_a_second(empty_database: Database):
    async with gateway_on(empty_database) as one, gateway_on(empty_database) as two:
        identity, key = await make_key(one)
        await status_within(two, key, 200, 1.0)
        # As a pooler between would: the session hears nothing.
        await execute(empty_database, "ALTER TABLE penstock_keys.keys DISABLE TRIGGER stamp")
        await execute(
            empty_database,
            "UPDATE penstock_keys.state SET version = version + 1",
            f"UPDATE penstock_keys.keys SET revoked_at = now(), version = (SELECT version FROM penstock_keys.state) "  # noqa: S608
            f"WHERE id = '{identity}'",
            "UPDATE penstock_keys.state SET version = version + 1",
            "UPDATE penstock_keys.keys SET version = (SELECT version FROM penstock_keys.state)",
        )
        await status_within(two, key, 401, 1.0)


async def test_a_rotated_key_works_beside_the_new_one_for_its_overlap_alone(empty_database: Database):
    async with gateway_on(empty_database) as one, gateway_on(empty_database) as two:
        identity, old = await make_key(one)
        reply = await admin(one, "POST", f"keys/{identity}/rotate", {"overlap_seconds": 1})
        new = reply.json["key"]
        assert [(await chat(one, key)).status for key in (old, new)] == [200, 200]
        await status_within(two, new, 200, 1.0)
        await asyncio.sleep(1.1)
        for gateway in (one, two):
            assert (await chat(gateway, new)).status == 200
            gone = await chat(gateway, old)
            assert (gone.status, gone.error["code"]) == (401, "key_rotated")
        (await admin(one, "POST", f"keys/{identity}/rotate")).json["key"]
        assert (await chat(one, new)).error["code"] == "key_rotated"


async def test_known_keys_work_while_the_database_is_away_and_changes_are_seen_when_it_is_back(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follower, "LONGEST_BACKOFF_SECONDS", 0.2)
    async with gateway_on(proxy.database) as other, gateway_on(proxy.before) as gateway:
        identity, key = await make_key(other)
        await status_within(gateway, key, 200, 1.0)
        assert (await gateway.get("/readyz")).json["keys"]["state"] == "current"
        assert await gateway.metric("penstock_keys_database_up") == 1
        await proxy.stop()
        found = gateway.service.key_follower
        assert found is not None
        await eventually(lambda: not found.up)
        assert [(await chat(gateway, one)).status for one in (key, KEY)] == [200, 200]
        ready = await gateway.get("/readyz")
        assert (ready.status, ready.json["keys"]["state"]) == (200, "known ones kept")
        assert await gateway.metric("penstock_keys_database_up") == 0
        away = await admin(gateway, "POST", "keys", {"name": "later"})
        assert (away.status, away.error["code"], away.headers["retry-after"]) == (503, "database_away", "2")
        await admin(other, "POST", f"keys/{identity}/revoke")
        await proxy.start()
        await status_within(gateway, key, 401, 3.0)
        await eventually(lambda: found.up)
        assert await gateway.metric("penstock_keys_database_up") == 1


async def test_a_silent_database_counts_as_away(proxy: Proxy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower, "ANSWER_SECONDS", 0.3)
    async with gateway_on(proxy.before) as gateway:
        proxy.mode = "silent"
        found = gateway.service.key_follower
        assert found is not None
        await eventually(lambda: not found.up)
        assert (await chat(gateway, KEY)).status == 200


async def test_before_the_first_read_a_strange_key_is_not_called_wrong(proxy: Proxy):
    await proxy.stop()
    async with gateway_on(proxy.before, wait=False) as gateway:
        reply = await chat(gateway, "pk-perhaps-of-the-database")
        assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (503, "keys_unavailable", "2")
        assert (await chat(gateway, KEY)).status == 200
        ready = await gateway.get("/readyz")
        assert (ready.status, ready.json["status"]) == (503, "waiting for keys")
        gateway.service.started_at -= 60
        ready = await gateway.get("/readyz")
        assert (ready.status, ready.json["keys"]["state"]) == (200, "not read yet")


async def test_deleted_rows_and_rows_that_nobody_can_read_open_nothing(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        first, first_key = await make_key(gateway)
        second, second_key = await make_key(gateway)
        await execute(
            empty_database,
            f"DELETE FROM penstock_keys.keys WHERE id = '{first}'",  # noqa: S608 - the test's own
            f"UPDATE penstock_keys.keys SET access = '{{\"models\": 7}}' WHERE id = '{second}'",  # noqa: S608
        )
        await status_within(gateway, first_key, 401, 1.0)
        await status_within(gateway, second_key, 503, 1.0)
        assert (await chat(gateway, second_key)).error["code"] == "key_unreadable"
        assert await gateway.metric("penstock_keys_unreadable_total") >= 1


async def test_a_tenants_limits_count_over_the_configurations_and_change_at_once(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        _, key = await make_key(gateway, tenant="acme")
        assert [(await chat(gateway, key)).status for _ in range(3)] == [200] * 3
        limits = {"requests_per_minute": 1, "burst_requests": 1}
        assert (await admin(gateway, "POST", "tenants", {"name": "acme", "limits": limits})).status == 201
        assert [(await chat(gateway, key)).status for _ in range(2)] == [200, 429]
        await admin(gateway, "PATCH", "tenants/acme", {"limits": None})
        assert (await chat(gateway, key)).status == 200
        await admin(gateway, "PATCH", "tenants/acme", {"enabled": False})
        reply = await chat(gateway, key)
        assert (reply.status, reply.error["code"]) == (403, "tenant_disabled")
        assert (await admin(gateway, "GET", "tenants")).json["data"][0]["keys"] == 1


async def test_the_last_day_of_use_is_kept(empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follower, "USES_SECONDS", 0.0)
    async with gateway_on(empty_database) as gateway:
        identity, key = await make_key(gateway)
        before = (await admin(gateway, "GET", f"keys/{identity}")).json
        assert before["last_used_day"] is None
        await chat(gateway, key)
        await asyncio.sleep(0.6)
        shown = (await admin(gateway, "GET", f"keys/{identity}")).json
        assert shown["last_used_day"] in {f"{datetime.now(UTC) - timedelta(days=n):%Y-%m-%d}" for n in (0, 1)}
        version = gateway.service.key_follower and gateway.service.key_follower.known
        await chat(gateway, key)
        await asyncio.sleep(0.6)
        assert gateway.service.key_follower is not None
        assert gateway.service.key_follower.known == version  # a use is no change that others must read


async def test_many_keys_are_read_in_parts_and_looked_up_at_once(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(follower, "ROWS_AT_ONCE", 100)
    async with gateway_on(empty_database):
        pass
    await execute(
        empty_database,
        "INSERT INTO penstock_keys.keys (id, name, tenant, access, sha256, created_by, version) "
        "SELECT 'k-' || n, 'many', 'a', '{}', sha256(('pk-' || n)::bytea), 'test', 0 FROM generate_series(1, 1050) n",
    )
    async with gateway_on(empty_database) as gateway:
        assert gateway.service.keys.stored == 1050
        assert [(await chat(gateway, f"pk-{n}")).status for n in (1, 555, 1050, 1051)] == [200, 200, 200, 401]


# -- rights --


async def test_a_gateways_login_changes_keys_but_not_the_audit(empty_database: Database):
    owner = await connect(empty_database)
    await migrate(owner, KEYS)
    await make_login(owner, "keeper", "word", (KEYS,), KEYS.lock)
    as_keeper = Database("127.0.0.1", empty_database.port, empty_database.name, "keeper", "word")
    async with gateway_on(as_keeper) as gateway:
        identity, key = await make_key(gateway)
        assert (await admin(gateway, "POST", f"keys/{identity}/revoke")).status == 200
        assert (await chat(gateway, key)).status == 401
    keeper = await connect(as_keeper)
    try:
        await refuses(
            keeper,
            "DELETE FROM penstock_keys.audit",
            "UPDATE penstock_keys.audit SET actor = 'nobody'",
            "DELETE FROM penstock_keys.keys",
            "UPDATE penstock_keys.state SET version = 0",
            "CREATE TABLE penstock_keys.mine (a int)",
        )
    finally:
        await keeper.close()
        await owner.execute("DROP OWNED BY keeper; DROP ROLE keeper")
        await owner.close()


# -- the admin API --


async def test_a_key_is_shown_once_and_is_in_no_log_and_no_table(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        identity, key = await make_key(gateway, name="search", tenant="acme", priority="batch")
        new = (await admin(gateway, "POST", f"keys/{identity}/rotate")).json["key"]
        await chat(gateway, key)
        await chat(gateway, new)
        shown = (await admin(gateway, "GET", f"keys/{identity}")).body + (await admin(gateway, "GET", "keys")).body
        shown += (await admin(gateway, "GET", "audit")).body + (await gateway.get("/metrics")).body
        shown += (await gateway.get("/debug", authorization=f"Bearer {ADMIN_KEY}")).body
        log = json.dumps(gateway.log.events)
    connection = await connect(empty_database)
    stored = str(await connection.fetch("SELECT keys::text, audit::text FROM penstock_keys.keys, penstock_keys.audit"))
    await connection.close()
    for secret in (key, new, ADMIN_KEY, KEY):
        assert secret not in log
        assert secret not in stored
        assert secret.encode() not in shown


async def test_every_change_leaves_an_audit_row_with_its_actor(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        identity, _ = await make_key(gateway)
        await admin(gateway, "PATCH", f"keys/{identity}", {"models": ["tiny"]}, x_request_id="change-1")
        await admin(gateway, "POST", f"keys/{identity}/rotate", {"overlap_seconds": 60})
        for _ in range(2):
            await admin(gateway, "POST", f"keys/{identity}/revoke")
        await admin(gateway, "POST", "tenants", {"name": "acme"})
        await admin(gateway, "PATCH", f"keys/{identity}", {"enabled": True})
        found = (await admin(gateway, "GET", "audit?limit=4")).json
        older = (await admin(gateway, "GET", f"audit?limit=4&before={found['next']}")).json
    seen = [(row["action"], row["target"]) for row in found["data"] + older["data"]]
    assert seen == [
        ("tenant.create", "acme"),
        ("key.revoke", identity),
        ("key.rotate", identity),
        ("key.change", identity),
        ("key.create", identity),
    ]
    assert {row["actor"] for row in found["data"]} == {"ops"}
    assert found["data"][3] | {"id": 0, "at": "", "hash": ""} == {
        "id": 0, "at": "", "hash": "", "object": "audit", "actor": "ops", "action": "key.change", "target": identity,
        "detail": {"models": ["tiny"]}, "request_id": "change-1",
    }  # fmt: skip


async def test_a_repeated_creation_makes_one_key_and_another_body_is_refused(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        asked = {"name": "once"}
        replies = await asyncio.gather(
            *(admin(gateway, "POST", "keys", asked, idempotency_key="abc-1") for _ in range(3))
        )
        assert sorted(reply.status for reply in replies) == [200, 200, 201]
        assert len({reply.json["id"] for reply in replies}) == 1
        assert [reply.json["key"] for reply in replies].count(None) == 2
        other = await admin(gateway, "POST", "keys", {"name": "twice"}, idempotency_key="abc-1")
        assert (other.status, other.error["code"]) == (409, "idempotency_mismatch")
        assert len((await admin(gateway, "GET", "keys")).json["data"]) == 1


async def test_a_change_sets_what_is_given_and_null_takes_a_bound_away(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        identity, _ = await make_key(
            gateway, models=["tiny"], max_output_tokens=5, limits={"tokens_per_minute": 9}, tenant="acme"
        )
        change = {"models": None, "name": "new", "priority": "batch"}
        reply = await admin(gateway, "PATCH", f"keys/{identity}", change)
    shown = reply.json
    assert (shown["models"], shown["name"], shown["priority"], shown["tenant"]) == (None, "new", "batch", "acme")
    assert (shown["max_output_tokens"], shown["limits"]["tokens_per_minute"]) == (5, 9)


async def test_lists_come_in_pages_and_by_tenant(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        made = sorted([(await make_key(gateway, tenant="a" if n % 2 else "b"))[0] for n in range(5)])
        first = (await admin(gateway, "GET", "keys?limit=3")).json
        rest = (await admin(gateway, "GET", f"keys?limit=3&after={first['next']}")).json
        assert [row["id"] for row in first["data"] + rest["data"]] == made
        assert rest["next"] is None
        assert len((await admin(gateway, "GET", "keys?tenant=a")).json["data"]) == 2


BAD = [
    ("POST", "keys", {}, 400, "name"),
    ("POST", "keys", b"{", 400, "JSON"),
    ("POST", "keys", b"[]", 400, "The body"),
    ("POST", "keys", {"name": "a", "speed": 1}, 400, "speed: unknown field; allowed are"),
    ("POST", "keys", {"name": "a", "models": []}, 400, "an empty list allows nothing"),
    ("POST", "keys", {"name": "a", "routes": ["chats"]}, 400, "routes.0"),
    ("POST", "keys", {"name": "a", "expires_at": "2030-01-01T00:00:00"}, 400, "expires_at"),
    ("POST", "keys", {"name": "a\n"}, 400, "name"),
    ("POST", "keys", {"name": "a", "limits": {"usd_per_day": -1}}, 400, "limits.usd_per_day"),
    ("POST", "keys", b" " * 70_000, 413, "65536"),
    ("PUT", "keys", b"", 405, "GET, POST"),
    ("GET", "keys/none", b"", 404, "`none`"),
    ("GET", "keys/%00", b"", 404, "Unknown request URL"),
    ("GET", "keys?limit=0", b"", 400, "`limit` must be 1 to 1000"),
    ("GET", "keys?colour=blue", b"", 400, "allowed are after, tenant, limit"),
    ("GET", "audit?before=x", b"", 400, "`before`"),
    ("PATCH", "keys/none", {}, 400, "nothing to change"),
    ("PATCH", "keys/none", {"name": "x"}, 404, "`none`"),
    ("POST", "keys/none/rotate", {"overlap_seconds": 10**9}, 400, "overlap_seconds"),
    ("PATCH", "tenants/none", {"enabled": True}, 404, "`none`"),
    ("POST", "tenants", {"name": "A b"}, 400, "name"),
    ("GET", "secrets", b"", 404, "Unknown request URL"),
]


async def test_bad_admin_requests_get_a_sentence_that_names_the_mistake(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        found = [(await admin(gateway, method, path, body), said, path) for method, path, body, _, said in BAD]
        assert (await admin(gateway, "GET", "keys")).json["data"] == []
    assert [reply.status for reply, _, _ in found] == [case[3] for case in BAD]
    for reply, said, path in found:
        assert said in reply.error["message"], (path, reply.error)


async def test_the_admin_api_is_closed_to_clients_and_strangers_and_absent_without_an_admin(empty_database: Database):
    paths = ("/admin/v1/keys", "/admin/v1/audit", "/debug", "/admin/v1/openapi.json")
    async with gateway_on(empty_database) as gateway:
        for path in paths:
            assert (await gateway.get(path)).error["code"] == "not_an_admin_key"  # the harness's client key
            for wrong in ("Bearer none", "", "Basic abc"):
                assert (await gateway.get(path, authorization=wrong)).status == 401
            assert (await gateway.get(path, authorization=f"Bearer {ADMIN_KEY}")).status == 200
        assert (await chat(gateway, ADMIN_KEY)).status == 401
        file = gateway.service.keys
        file.take_file([], [])
        for path in paths:
            assert (await gateway.get(path, authorization=f"Bearer {ADMIN_KEY}")).status == 404


async def test_without_a_database_the_admin_api_says_so_and_debug_works():
    async with gateway_on(None) as gateway:
        reply = await admin(gateway, "GET", "keys")
        assert (reply.status, reply.error["code"]) == (503, "no_keys_database")
        shown = (await gateway.get("/debug", authorization=f"Bearer {ADMIN_KEY}")).json
        assert shown["models"]["tiny"]["engines"][0]["state"] == "ready"
        assert shown["keys"] == {"all": 1, "database": None, "tokens": None}


async def test_admin_requests_beyond_the_bound_are_refused(empty_database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin_module, "MOST_WAITING", 2)
    async with gateway_on(empty_database) as gateway:
        replies = await asyncio.gather(*(admin(gateway, "GET", "keys") for _ in range(8)))
        assert {reply.status for reply in replies} == {200, 503}
        assert (await admin(gateway, "GET", "keys")).status == 200


async def test_the_admin_document_describes_every_route(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        document = (await admin(gateway, "GET", "openapi.json")).json
        for path, methods in document["paths"].items():
            for method in methods:
                plain: Any = path.replace("{id}", "none").replace("{name}", "none")
                reply = await admin(gateway, method.upper(), plain.removeprefix("/admin/v1/"))
                assert reply.status in (200, 400, 404), (path, method)
                assert reply.status != 404 or "There is no" in reply.error["message"]
