"""Keys, tenants and audit in the database: what the admin API reads and changes. Each change is one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from pydantic import ValidationError

from app.gateway.config import Access
from app.gateway.errors import Problem, Refused
from app.gateway.keys.follower import MOST_KEYS, dump_access
from app.gateway.keys.forms import KeyChange, NewKey, NewTenant, TenantChange

REPLAY_HOURS = 24
"""How long an idempotency key is known."""
COLUMNS = (
    "keys.id, name, tenant, access, enabled, expires_at, created_at, created_by, rotated_at, revoked_at, "
    "previous_until, uses.day AS last_used_day"
)
KEY = f"SELECT {COLUMNS} FROM penstock_keys.keys LEFT JOIN penstock_keys.uses ON key_id = keys.id"  # noqa: S608
TENANT = (
    "SELECT name, limits, enabled, created_at, updated_at, "
    "(SELECT count(*) FROM penstock_keys.keys WHERE tenant = tenants.name AND revoked_at IS NULL) AS keys "
    "FROM penstock_keys.tenants"
)


@dataclass(frozen=True)
class Actor:
    """Who changes something, by which request."""

    name: str
    request_id: str


def show_time(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


def show_key(row: asyncpg.Record) -> dict[str, Any]:
    """A key for its admin: all but its hash."""
    try:
        access = Access.model_validate_json(row["access"]).model_dump(mode="json")
    except ValidationError:
        access = {"unreadable": True}  # changed by hand; gateways refuse this key
    day = row["last_used_day"]
    return {
        "object": "key",
        "id": row["id"],
        "name": row["name"],
        **access,
        "tenant": row["tenant"],
        "enabled": row["enabled"],
        "expires_at": show_time(row["expires_at"]),
        "created_at": show_time(row["created_at"]),
        "created_by": row["created_by"],
        "rotated_at": show_time(row["rotated_at"]),
        "previous_key_until": show_time(row["previous_until"]),
        "revoked_at": show_time(row["revoked_at"]),
        "last_used_day": None if day is None else day.isoformat(),
    }


def show_tenant(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "object": "tenant",
        "name": row["name"],
        "limits": None if row["limits"] is None else json.loads(row["limits"]),
        "enabled": row["enabled"],
        "keys": row["keys"],
        "created_at": show_time(row["created_at"]),
        "updated_at": show_time(row["updated_at"]),
    }


def unknown(kind: str, name: str) -> Refused:
    return Refused(Problem(404, f"There is no {kind} `{name[:100]}`.", f"{kind}_not_found"))


class Store:
    """The admin API's statements over one connection. Methods raise Refused, and FAILURES of the database."""

    def __init__(self, connection: asyncpg.Connection, actor: Actor) -> None:
        self._connection = connection
        self._actor = actor

    @property
    def connection(self) -> asyncpg.Connection:
        """For other parts of the admin API."""
        return self._connection

    @property
    def actor(self) -> Actor:
        return self._actor

    async def audit_row(self, action: str, target: str, detail: Mapping[str, Any]) -> None:
        """The last write of its transaction: from here to the commit no other row of the audit can be written."""
        await self._connection.execute(
            "INSERT INTO penstock_keys.audit (actor, action, target, detail, request_id) VALUES ($1, $2, $3, $4, $5)",
            self._actor.name,
            action,
            target,
            json.dumps(detail),
            self._actor.request_id,
        )

    async def version(self) -> int:
        return await self._connection.fetchval("SELECT version FROM penstock_keys.state")

    # -- keys --

    async def create_key(
        self, identity: str, digest: bytes, key: NewKey, replay: tuple[str, bytes] | None
    ) -> tuple[dict[str, Any], bool]:
        """`replay`: idempotency key and digest of the request. Returns the key, and whether it was made now."""
        connection = self._connection
        async with connection.transaction():
            if replay is not None:
                await connection.execute(
                    "DELETE FROM penstock_keys.creations WHERE created_at < now() - make_interval(hours => $1)",
                    REPLAY_HOURS,
                )
                # Two requests with one idempotency key at the same time: the later waits here for the earlier.
                said = await connection.execute(
                    "INSERT INTO penstock_keys.creations (actor, idempotency_key, request, key_id) "
                    "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                    self._actor.name,
                    replay[0],
                    replay[1],
                    identity,
                )
                if said.endswith(" 0"):
                    return await self._created_before(replay), False
            count = await connection.fetchval("SELECT count(*) FROM penstock_keys.keys WHERE revoked_at IS NULL")
            if count >= MOST_KEYS:
                message = f"There are {count} keys; gateways hold at most {MOST_KEYS}. Revoke some."
                raise Refused(Problem(409, message, "too_many_keys"))
            await connection.execute(
                "INSERT INTO penstock_keys.keys (id, name, tenant, access, enabled, expires_at, sha256, created_by, "
                "version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
                identity,
                key.name,
                key.tenant,
                dump_access(key),
                key.enabled,
                key.expires_at,
                digest,
                self._actor.name,
            )
            await self.audit_row("key.create", identity, key.model_dump(mode="json", exclude_defaults=True))
            return await self.key(identity), True

    async def _created_before(self, replay: tuple[str, bytes]) -> dict[str, Any]:
        row = await self._connection.fetchrow(
            "SELECT request, key_id FROM penstock_keys.creations WHERE actor = $1 AND idempotency_key = $2",
            self._actor.name,
            replay[0],
        )
        if row is None or row["request"] != replay[1]:
            message = "This `Idempotency-Key` was used with another body; take a new one for another key."
            raise Refused(Problem(409, message, "idempotency_mismatch"))
        return await self.key(row["key_id"])

    async def key(self, identity: str) -> dict[str, Any]:
        row = await self._connection.fetchrow(f"{KEY} WHERE keys.id = $1", identity)
        if row is None:
            raise unknown("key", identity)
        return show_key(row)

    async def keys(self, tenant: str | None, after: str, limit: int) -> list[dict[str, Any]]:
        rows = await self._connection.fetch(
            f"{KEY} WHERE keys.id > $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY keys.id LIMIT $3",
            after,
            tenant,
            limit,
        )
        return [show_key(row) for row in rows]

    async def _locked(self, identity: str) -> asyncpg.Record:
        """The row of a key that is to be changed. A revoked one stays as it is."""
        row = await self._connection.fetchrow("SELECT * FROM penstock_keys.keys WHERE id = $1 FOR UPDATE", identity)
        if row is None:
            raise unknown("key", identity)
        if row["revoked_at"] is not None:
            raise Refused(Problem(409, f"The key `{identity}` is revoked, for good. Make a new one.", "key_revoked"))
        return row

    async def change_key(self, identity: str, change: KeyChange) -> dict[str, Any]:
        given = change.given()
        async with self._connection.transaction():
            row = await self._locked(identity)
            before = json.loads(row["access"])
            told = json.loads(change.model_dump_json(include=set(given)))
            own = ("name", "tenant", "enabled", "expires_at")
            access = Access.model_validate(before | {name: told[name] for name in given if name not in own})
            await self._connection.execute(
                "UPDATE penstock_keys.keys SET name = $2, tenant = $3, enabled = $4, expires_at = $5, access = $6 "
                "WHERE id = $1",
                identity,
                *(given.get(name, row[name]) for name in own),
                dump_access(access),
            )
            await self.audit_row("key.change", identity, told)
            return await self.key(identity)

    async def rotate_key(self, identity: str, digest: bytes, overlap_seconds: int) -> dict[str, Any]:
        async with self._connection.transaction():
            await self._locked(identity)
            await self._connection.execute(
                "UPDATE penstock_keys.keys SET previous_sha256 = sha256, "
                "previous_until = now() + make_interval(secs => $3), sha256 = $2, rotated_at = now() WHERE id = $1",
                identity,
                digest,
                float(overlap_seconds),
            )
            await self.audit_row("key.rotate", identity, {"overlap_seconds": overlap_seconds})
            return await self.key(identity)

    async def revoke_key(self, identity: str) -> dict[str, Any]:
        """Safe to repeat."""
        async with self._connection.transaction():
            said = await self._connection.execute(
                "UPDATE penstock_keys.keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", identity
            )
            if said.endswith(" 1"):
                await self.audit_row("key.revoke", identity, {})
            return await self.key(identity)

    # -- tenants --

    async def tenant(self, name: str) -> dict[str, Any]:
        row = await self._connection.fetchrow(f"{TENANT} WHERE name = $1", name)
        if row is None:
            raise unknown("tenant", name)
        return show_tenant(row)

    async def tenants(self, after: str, limit: int) -> list[dict[str, Any]]:
        rows = await self._connection.fetch(f"{TENANT} WHERE name > $1 ORDER BY name LIMIT $2", after, limit)
        return [show_tenant(row) for row in rows]

    async def create_tenant(self, tenant: NewTenant) -> dict[str, Any]:
        limits = None if tenant.limits is None else tenant.limits.model_dump_json(exclude_none=True)
        async with self._connection.transaction():
            said = await self._connection.execute(
                "INSERT INTO penstock_keys.tenants (name, limits, enabled, version) VALUES ($1, $2, $3, 0) "
                "ON CONFLICT DO NOTHING",
                tenant.name,
                limits,
                tenant.enabled,
            )
            if said.endswith(" 0"):
                message = f"The tenant `{tenant.name}` exists already; change it with PATCH."
                raise Refused(Problem(409, message, "tenant_exists"))
            await self.audit_row("tenant.create", tenant.name, tenant.model_dump(mode="json", exclude_none=True))
            return await self.tenant(tenant.name)

    async def change_tenant(self, name: str, change: TenantChange) -> dict[str, Any]:
        given = change.model_fields_set
        limits = None if change.limits is None else change.limits.model_dump_json(exclude_none=True)
        async with self._connection.transaction():
            said = await self._connection.execute(
                "UPDATE penstock_keys.tenants SET updated_at = now(), "
                "limits = CASE WHEN $2 THEN $3::jsonb ELSE limits END, "
                "enabled = CASE WHEN $4 THEN $5 ELSE enabled END WHERE name = $1",
                name,
                "limits" in given,
                limits,
                "enabled" in given,
                change.enabled,
            )
            if said.endswith(" 0"):
                raise unknown("tenant", name)
            await self.audit_row("tenant.change", name, change.model_dump(mode="json", include=given))
            return await self.tenant(name)

    async def audit(self, before: int, limit: int) -> list[dict[str, Any]]:
        """The newest first."""
        rows = await self._connection.fetch(
            "SELECT id, at, actor, action, target, detail, request_id, hash FROM penstock_keys.audit WHERE id < $1 "
            "ORDER BY id DESC LIMIT $2",
            before,
            limit,
        )
        return [
            {
                **row,
                "object": "audit",
                "at": show_time(row["at"]),
                "detail": json.loads(row["detail"]),
                "hash": row["hash"].hex(),
            }
            for row in rows
        ]
