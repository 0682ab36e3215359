"""What the gateway's own login can do by SQL, beside its program."""

from __future__ import annotations

import itertools

import asyncpg
import pytest

from app.gateway.database.connection import connect
from app.retrieval.schema import ROLE
from app.retrieval.store import Stores
from tests.gateway.harness import KEY
from tests.retrieval.conftest import OTHER_KEY, Platform

TABLES = ("collections", "indexes", "documents", "chunks")


async def counts(connection: asyncpg.Connection) -> list[int]:
    return [
        await connection.fetchval(f"SELECT count(*) FROM penstock_retrieval.{table}")  # noqa: S608 - names of this file
        for table in TABLES
    ]


async def filled(platform: Platform) -> None:
    await platform.ingest("# First\n\nOf the first tenant.", key=KEY)
    await platform.ingest("# Other\n\nOf the other tenant.", key=OTHER_KEY)


async def test_the_login_sees_the_rows_of_the_tenant_that_it_names_and_no_others(platform: Platform):
    await filled(platform)
    connection = await connect(platform.database)
    try:
        assert await counts(connection) == [0, 0, 0, 0], "no tenant, no rows"
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant', 'first', true)")
            assert await counts(connection) == [1, 1, 1, 1]
            assert (
                await connection.fetchval("SELECT count(*) FROM penstock_retrieval.chunks WHERE tenant = 'other'") == 0
            )
            assert await connection.fetchval("SELECT text FROM penstock_retrieval.documents") == (
                "# First\n\nOf the first tenant."
            )
            wanted = await connection.fetchval("SELECT max(id) FROM penstock_retrieval.indexes")
            for index, few in itertools.product(range(wanted + 3), (True, False)):
                found = await connection.fetch(
                    "SELECT * FROM penstock_retrieval.by_words($1, 'tenant', 'tenant', 9, $2)", index, few
                )
                assert len(found) == (index == wanted), "the words of others are not searched either"
        assert await counts(connection) == [0, 0, 0, 0], "the tenant ends with its transaction"
    finally:
        await connection.close()


async def test_the_login_cannot_write_for_another_tenant_or_lift_the_rule(platform: Platform):
    await filled(platform)
    connection = await connect(platform.database)
    try:
        for statement in (
            "INSERT INTO penstock_retrieval.collections (tenant, name, language) VALUES ('other', 'x', 'simple')",
            "UPDATE penstock_retrieval.documents SET tenant = 'other'",
            "ALTER TABLE penstock_retrieval.chunks DISABLE ROW LEVEL SECURITY",
            "DROP POLICY own_tenant ON penstock_retrieval.chunks",
            "SET ROLE penstock_retrieval_words",
            "TRUNCATE penstock_retrieval.chunks",
        ):
            change = f"SELECT set_config('app.tenant', 'first', true); {statement}"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant', 'first', true)")
            assert (
                await connection.execute("DELETE FROM penstock_retrieval.documents WHERE tenant = 'other'")
                == "DELETE 0"
            )
            with pytest.raises(asyncpg.PostgresError):
                await connection.execute(
                    "INSERT INTO penstock_retrieval.indexes "
                    "(tenant, collection, model, chunk_tokens, overlap_tokens, state) "
                    "SELECT 'first', max(id) + 1, 'm', 1, 0, 'building' FROM penstock_retrieval.collections"
                )
    finally:
        await connection.close()


async def test_a_transaction_of_the_program_has_no_more_rights_than_its_role(platform: Platform):
    await filled(platform)
    stores = Stores(platform.owner)  # the server's superuser
    async with stores.of("first") as store:
        assert await store.connection.fetchval("SELECT current_user") == ROLE
        assert await counts(store.connection) == [1, 1, 1, 1]
    async with stores.of("") as store:
        assert await counts(store.connection) == [0, 0, 0, 0]
    stores.close()


async def test_every_table_of_the_schema_is_under_security(platform: Platform):
    connection = await connect(platform.owner)
    try:
        rows = await connection.fetch(
            "SELECT relname, relrowsecurity AND relforcerowsecurity AS held FROM pg_class "
            "WHERE relnamespace = 'penstock_retrieval'::regnamespace AND relkind IN ('r', 'p') "
            "AND relname <> 'migrations'"
        )
    finally:
        await connection.close()
    assert {row["relname"]: row["held"] for row in rows} == dict.fromkeys(TABLES, True)
