"""What a key may ask for: models, routes, ceilings, time. The same for keys of the file and of the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openai import AsyncOpenAI, PermissionDeniedError

from app.gateway.config import Access, ApiKey, KeyFile
from app.gateway.database.settings import Database
from app.gateway.keys.follower import dump_access
from app.gateway.keys.forms import KeyChange
from app.gateway.settings import SettingsError
from app.gateway.surroundings import surroundings
from tests.gateway import harness
from tests.gateway.harness import CHAT, KEY, Running, make_config
from tests.gateway.key_cases import ADMIN_KEY, admin, chat, digest, file_with_admin, gateway_on, make_key

MODELS = [
    {
        "name": name,
        "aliases": [f"{name}-latest"],
        "selector": "a=b",
        "context_tokens": 2048,
        "max_output_tokens": 512,
    }
    for name in ("tiny", "big")
]
TWO = make_config(models=MODELS)


def last_request(gateway: Running) -> Any:
    return gateway.requests[-1]


async def test_a_key_of_some_models_is_refused_others_and_sees_its_own_alone():
    async with gateway_on(None, config=TWO, models=["tiny"]) as gateway:
        for name in ("tiny", "tiny-latest"):
            assert (await chat(gateway, KEY, model=name)).status == 200
        for name in ("big", "big-latest"):
            reply = await chat(gateway, KEY, model=name)
            assert (reply.status, reply.error["code"], reply.error["param"]) == (403, "model_not_allowed", "model")
            assert f"`{name}`; it may use `tiny`, `tiny-latest`" in reply.error["message"]
        assert (await chat(gateway, KEY, model="none")).status == 404
        listed = (await gateway.get("/v1/models")).json["data"]
        assert [one["id"] for one in listed] == ["tiny", "tiny-latest"]
        assert (await gateway.get("/v1/models/tiny")).status == 200
        assert (await gateway.get("/v1/models/big")).error["code"] == "model_not_allowed"


async def test_a_key_of_an_alias_may_not_use_the_models_other_names():
    async with gateway_on(None, config=TWO, models=["big-latest"]) as gateway:
        assert (await chat(gateway, KEY, model="big-latest")).status == 200
        assert (await chat(gateway, KEY, model="big")).status == 403


async def test_a_key_of_some_routes_is_refused_others_before_its_body_is_read():
    async with gateway_on(None, routes=["chat"]) as gateway:
        assert (await chat(gateway, KEY)).status == 200
        reply = await gateway.ask({"model": "tiny", "input": "a"}, "/v1/embeddings")
        assert (reply.status, reply.error["code"]) == (403, "route_not_allowed")
        assert "/v1/embeddings; it may use `/v1/chat/completions`" in reply.error["message"]
        assert (last_request(gateway)["key"], last_request(gateway)["status"]) == ("test", 403)
        assert (await gateway.get("/v1/models")).status == 200


@pytest.mark.parametrize(
    ("fields", "ceiling"),
    [
        ({"max_output_tokens": 7}, 7),
        ({"max_output_tokens_by_model": {"tiny": 9}}, 9),
        ({"max_output_tokens": 9, "max_output_tokens_by_model": {"tiny": 7, "big": 1}}, 7),
        ({"max_output_tokens": 100_000}, 512),
    ],
)
async def test_the_lowest_ceiling_holds_a_request_and_is_given_to_one_that_names_none(
    fields: dict[str, Any], ceiling: int
):
    async with gateway_on(None, **fields) as gateway:
        reply = await chat(gateway, KEY, max_tokens=ceiling + 1)
        assert (reply.status, reply.error["code"]) == (400, "integer_out_of_range")
        assert f"allowed are 1 to {ceiling}" in reply.error["message"]
        assert (await chat(gateway, KEY, max_tokens=ceiling)).status == 200
        assert (await gateway.get("/v1/models/tiny")).json["max_output_tokens"] == ceiling
        assert (await gateway.ask(CHAT)).status == 200


async def test_the_ceiling_of_a_key_reaches_the_engine():
    engine = harness.Engine()
    async with harness.running(engine) as gateway:
        file = file_with_admin(max_output_tokens=7)
        gateway.service.keys.take_file(file.keys, file.admins)
        await gateway.ask(CHAT)
    assert engine.requests[-1].body["max_tokens"] == 7


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"expires_at": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}, 401, "key_expired"),
        ({"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, 200, None),
        ({"enabled": False}, 401, "key_disabled"),
    ],
)
async def test_a_key_works_in_its_time_alone(fields: dict[str, Any], status: int, code: str | None):
    async with gateway_on(None, **fields) as gateway:
        reply = await chat(gateway, KEY)
        assert reply.status == status
        assert reply.json.get("error", {}).get("code") == code


async def test_a_stored_key_has_the_same_scopes_and_changes_at_once(empty_database: Database):
    async with gateway_on(empty_database, config=TWO) as gateway:
        identity, key = await make_key(gateway, models=["big"], routes=["chat"], max_output_tokens=4)
        assert (await chat(gateway, key)).error["code"] == "model_not_allowed"
        assert (await chat(gateway, key, model="big", max_tokens=5)).status == 400
        assert (await gateway.ask({"model": "big", "prompt": "a"}, "/v1/completions", authorization=f"Bearer {key}")
                ).error["code"] == "route_not_allowed"  # fmt: skip
        await admin(gateway, "PATCH", f"keys/{identity}", {"models": None, "max_output_tokens": None})
        assert (await chat(gateway, key, max_tokens=5)).status == 200
        await admin(gateway, "PATCH", f"keys/{identity}", {"expires_at": "2020-01-01T00:00:00Z"})
        assert (await chat(gateway, key)).error["code"] == "key_expired"
        await admin(gateway, "PATCH", f"keys/{identity}", {"expires_at": None, "enabled": False})
        assert (await chat(gateway, key)).error["code"] == "key_disabled"


async def test_a_model_that_nobody_serves_yet_is_allowed_with_a_warning(empty_database: Database):
    async with gateway_on(empty_database) as gateway:
        reply = await admin(gateway, "POST", "keys", {"name": "a", "models": ["tiny", "next"]})
    assert (reply.status, reply.json["warnings"]) == (201, ["this gateway serves no model `next`"])


async def test_the_official_client_raises_its_own_errors():
    async with gateway_on(None, config=TWO, models=["tiny"]) as gateway:
        client = AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{gateway.port}/v1", max_retries=0)
        assert [model.id async for model in client.models.list()] == ["tiny", "tiny-latest"]
        with pytest.raises(PermissionDeniedError, match="it may use `tiny`"):
            await client.chat.completions.create(model="big", messages=[{"role": "user", "content": "a"}])
        await client.close()


def test_one_key_cannot_be_a_clients_and_an_admins():
    both = {"keys": [{"id": "a", "sha256": digest(KEY)}], "admins": [{"id": "b", "sha256": digest(KEY)}]}
    with pytest.raises(ValueError, match="make two"):
        KeyFile.model_validate(both)
    with pytest.raises(ValueError, match="neither"):
        KeyFile.model_validate({})
    assert KeyFile.model_validate({"admins": [{"id": "b", "sha256": digest(ADMIN_KEY)}]}).keys == ()
    assert ApiKey(id="a", sha256=digest(KEY)).model_dump(exclude_defaults=True).keys() == {"id", "sha256"}


# -- settings --


def test_keys_in_a_database_need_its_address_and_user():
    engines = "http://127.0.0.1:8000"
    address = {"PENSTOCK_DATABASE_ADDRESS": "db:5432", "PENSTOCK_DATABASE_USER": "gateway"}
    assert surroundings(address, engines).keys is None
    found = surroundings(address | {"PENSTOCK_KEYS_DATABASE": "true"}, engines).keys
    assert found is not None
    assert (found.host, found.user) == ("db", "gateway")
    with pytest.raises(SettingsError, match="PENSTOCK_KEYS_DATABASE: keys need PENSTOCK_DATABASE_ADDRESS"):
        surroundings({"PENSTOCK_KEYS_DATABASE": "true"}, engines)
    with pytest.raises(SettingsError, match="PENSTOCK_KEYS_DATABASE: 'yes' is not allowed"):
        surroundings(address | {"PENSTOCK_KEYS_DATABASE": "yes"}, engines)


def test_all_that_a_key_may_have_can_be_changed_and_is_stored():
    assert set(KeyChange.model_fields) == {*Access.model_fields, "name"}
    given: dict[str, Any] = {
        "priority": "batch", "limits": {"usd_per_day": 1.0}, "models": ["a"], "routes": ["chat"],
        "max_output_tokens": 1, "max_output_tokens_by_model": {"a": 1}, "max_usd_per_request": 0.5,
    }  # fmt: skip
    access = Access.model_validate(given)
    assert Access.model_validate_json(dump_access(access)) == access
    assert given.keys() | {"tenant", "enabled", "expires_at"} == Access.model_fields.keys()
