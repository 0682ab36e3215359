"""Keys and tenants of a deployed gateway, over its admin API."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from typing import Any

from infra.ops.context import Context
from infra.ops.endpoint import Endpoint, GatewayError, normalised, request
from infra.ops.errors import UsageError
from infra.ops.tables import table
from infra.ops.usage import admin_of

ADMIN_KEY = "PENSTOCK_ADMIN_KEY"
GATEWAY_URL = "PENSTOCK_GATEWAY_URL"
READ_SECONDS = 15.0
"""A gateway ends an admin request after 10 s."""
PAGE = 1000
LIMITS = (
    "requests_per_second",
    "requests_per_minute",
    "burst_requests",
    "tokens_per_minute",
    "concurrent_requests",
    "usd_per_day",
    "usd_per_month",
)


def admin_endpoint(context: Context, stack: str, url: str | None) -> Endpoint:
    """The stack's gateway and admin key, or those of --url and the environment: a key in argv would be seen by all.

    Raises UsageError, NotRunningError.
    """
    key = os.environ.get(ADMIN_KEY, "")
    if url and not key:
        raise UsageError(f"A gateway named by --url needs its admin key in the variable {ADMIN_KEY}.")
    # `penstock env` sets the URL for clients, without an admin key: then the stack's own is meant.
    place = url or (os.environ.get(GATEWAY_URL) if key else None)
    if not place:
        return admin_of(context.open(stack).outputs())
    return Endpoint(normalised(place), key)


def call(endpoint: Endpoint, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The reply's content. Raises GatewayError, with the gateway's own words where it refuses."""
    with request(endpoint, method, f"/admin/v1/{path}", body, READ_SECONDS) as response:
        try:
            return json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise GatewayError(f"The gateway's answer cannot be read: {error!r}.") from None


def every(endpoint: Endpoint, path: str, **query: str | None) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    rows: list[dict[str, Any]] = []
    given = {name: value for name, value in query.items() if value is not None} | {"limit": str(PAGE)}
    while True:
        page = call(endpoint, "GET", f"{path}?{urllib.parse.urlencode(given)}")
        rows += page["data"]
        if page["next"] is None:
            return rows
        given["after"] = page["next"]


def part(name: str) -> str:
    """A name as one part of a path."""
    return urllib.parse.quote(name, safe="")


def pairs(given: Iterable[str], option: str, allowed: Sequence[str] = ()) -> dict[str, float | int]:
    """`NAME=NUMBER` options. Raises UsageError."""
    found: dict[str, float | int] = {}
    for text in given:
        name, equals, number = text.partition("=")
        if not equals or not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", number):
            raise UsageError(f"{option} {text}: write NAME=NUMBER.")
        if allowed and name not in allowed:
            raise UsageError(f"{option} {text}: there is no limit {name!r}.", f"There are {', '.join(allowed)}.")
        found[name] = float(number) if "." in number else int(number)
    return found


def moment(text: str, now: dt.datetime) -> str:
    """`30d`, `12h`, a day or a time with its zone, as the API takes it. Raises UsageError."""
    if found := re.fullmatch(r"([0-9]{1,4})([dh])", text):
        return (now + dt.timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})).isoformat("T", "seconds")
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time.", "Write 30d, 12h, 2027-01-31 or 2027-01-31T12:00:00+00:00.") from None
    return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).isoformat("T", "seconds")


def state_of(key: Mapping[str, Any], now: dt.datetime) -> str:
    if key["revoked_at"]:
        return "revoked"
    if key["expires_at"] and dt.datetime.fromisoformat(key["expires_at"]) <= now:
        return "expired"
    return "active" if key["enabled"] else "disabled"


def keys_text(keys: Sequence[Mapping[str, Any]], now: dt.datetime) -> str:
    header = ("id", "name", "tenant", "state", "models", "priority", "expires", "last used")
    rows = [
        (
            key["id"],
            key["name"],
            key["tenant"],
            state_of(key, now),
            ",".join(key.get("models") or ["all"]),
            key.get("priority", "?"),
            (key["expires_at"] or "never")[:10],
            key["last_used_day"] or "never",
        )
        for key in keys
    ]
    return "\n".join(table(header, rows, indent="")) if rows else "There are no keys in the database."


def tenants_text(tenants: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (one["name"], "enabled" if one["enabled"] else "disabled", one["keys"], limits_text(one)) for one in tenants
    ]
    return "\n".join(table(("tenant", "state", "keys", "limits"), rows, indent="")) if rows else "There are no tenants."


def limits_text(one: Mapping[str, Any]) -> str:
    limits = {name: value for name, value in (one.get("limits") or {}).items() if value is not None}
    return ", ".join(f"{name}={value}" for name, value in limits.items()) or "of the configuration"


def facts_text(one: Mapping[str, Any]) -> str:
    """One line for each field that says something."""
    told = {name: value for name, value in one.items() if value not in (None, {}, []) and name != "object"}
    width = max(map(len, told))
    return "\n".join(f"{name.ljust(width)}  {_shown(value)}" for name, value in told.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items() if one is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
