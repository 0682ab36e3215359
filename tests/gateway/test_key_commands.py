"""`penstock key` and `penstock tenant` before a running gateway with its database."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from app.gateway.config import Limits
from app.gateway.config import Route as GatewayRoute
from app.gateway.database.settings import Database
from app.gateway.keys.forms import LONGEST_OVERLAP_SECONDS
from infra.ops import keys
from infra.ops.cli import cli
from infra.ops.commands import key as command
from infra.ops.context import Context
from infra.ops.errors import UsageError
from tests.gateway.harness import Running
from tests.gateway.key_cases import ADMIN_KEY, chat, gateway_on

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def gateway(empty_database: Database) -> AsyncIterator[Running]:
    async with gateway_on(empty_database) as one:
        yield one


@pytest.fixture
def run(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", ADMIN_KEY)
    monkeypatch.setenv("PENSTOCK_GATEWAY_URL", f"http://127.0.0.1:{gateway.port}")

    async def one(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))

    return one


async def test_a_key_lives_from_create_to_revoke(gateway: Running, run: Run):
    made = await run("key", "create", "search team", "--tenant", "acme", "--model", "tiny", "--route", "chat",
                     "--expires", "30d", "--limit", "tokens_per_minute=100000")  # fmt: skip
    assert made.exit_code == 0, made.output
    key = made.stdout.strip()
    assert "it is not shown again" in made.stderr
    assert (await chat(gateway, key)).status == 200
    (listed,) = json.loads((await run("key", "list", "--tenant", "acme", "--json")).stdout)
    assert (listed["name"], listed["models"], listed["limits"]["tokens_per_minute"]) == (
        "search team",
        ["tiny"],
        100000,
    )
    identity = listed["id"]
    shown = (await run("key", "show", identity)).stdout
    assert "search team" in shown
    assert key not in shown
    rotated = json.loads((await run("key", "rotate", identity, "--overlap-seconds", "60", "--json")).stdout)
    assert [(await chat(gateway, one)).status for one in (key, rotated["key"])] == [200, 200]
    assert (await run("key", "revoke", identity)).stdout == f"The key {identity} (search team) is revoked.\n"
    assert (await chat(gateway, rotated["key"])).status == 401
    assert " revoked " in (await run("key", "list")).stdout


async def test_a_tenant_is_named_limited_and_disabled(gateway: Running, run: Run):
    assert (await run("tenant", "list")).stdout == "There are no tenants.\n"
    made = await run("tenant", "create", "acme", "--limit", "usd_per_day=2.5")
    assert "usd_per_day=2.5" in made.stdout
    key = (await run("key", "create", "a", "--tenant", "acme")).stdout.strip()
    assert "disabled" in (await run("tenant", "set", "acme", "--disable")).stdout
    assert (await chat(gateway, key)).status == 403
    changed = json.loads((await run("tenant", "set", "acme", "--enable", "--no-limits", "--json")).stdout)
    assert (changed["enabled"], changed["limits"], changed["keys"]) == (True, None, 1)
    assert (await chat(gateway, key)).status == 200


async def test_what_the_gateway_refuses_is_told_in_its_words_and_without_the_key(run: Run):
    for arguments, said in (
        (("key", "show", "none?tenant=%"), "There is no key `none?tenant=%`"),
        (("tenant", "create", "A b"), "name: "),
        (("tenant", "set", "none", "--enable"), "There is no tenant `none`"),
    ):
        done = await run(*arguments)
        assert done.exit_code != 0
        assert said in str(done.exception)
        assert ADMIN_KEY not in str(done.exception) + done.output


async def test_a_url_without_an_admin_key_in_the_environment_is_a_usage_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PENSTOCK_ADMIN_KEY")
    done = await run("key", "list", "--url", "http://127.0.0.1:1")
    assert isinstance(done.exception, UsageError)
    assert "PENSTOCK_ADMIN_KEY" in str(done.exception)


async def test_the_url_that_clients_use_does_not_stand_in_the_way_of_the_stacks_own_admin_key(
    gateway: Running, run: Run, monkeypatch: pytest.MonkeyPatch
):
    url = f"http://127.0.0.1:{gateway.port}"
    monkeypatch.delenv("PENSTOCK_ADMIN_KEY")
    monkeypatch.setenv("PENSTOCK_GATEWAY_URL", "http://127.0.0.1:1")
    stack = SimpleNamespace(outputs=lambda: {"gatewayUrl": url, "adminKey": ADMIN_KEY, "apiKey": "unused"})
    monkeypatch.setattr(Context, "open", lambda *_: stack)
    assert (await run("key", "list")).exit_code == 0


async def test_long_lists_are_read_page_by_page(gateway: Running, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(keys, "PAGE", 2)
    for number in range(5):
        await run("tenant", "create", f"t{number}")
    found = json.loads((await run("tenant", "list", "--json")).stdout)
    assert [one["name"] for one in found] == [f"t{number}" for number in range(5)]


NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("30d", "2026-12-21T12:00:00+00:00"),
        ("12h", "2026-11-22T00:00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T10:00:00+02:00", "2027-01-31T10:00:00+02:00"),
    ],
)
def test_times_may_be_written_in_several_ways(text: str, found: str):
    assert keys.moment(text, NOW) == found


def test_wrong_options_say_what_is_right():
    with pytest.raises(UsageError, match="is no time"):
        keys.moment("soon", NOW)
    with pytest.raises(UsageError, match="NAME=NUMBER"):
        keys.pairs(["usd_per_day"], "--limit", keys.LIMITS)
    with pytest.raises(UsageError, match="there is no limit 'speed'"):
        keys.pairs(["speed=1"], "--limit", keys.LIMITS)


def test_the_command_knows_what_the_gateway_knows():
    assert tuple(Limits.model_fields) == keys.LIMITS
    assert GatewayRoute.__args__ == command.ROUTES
    assert command.LONGEST_OVERLAP_SECONDS == LONGEST_OVERLAP_SECONDS
