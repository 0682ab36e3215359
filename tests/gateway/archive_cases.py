"""A database with a row in each table that an archive carries, and what a database holds, for comparing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.gateway.budget.schema import BUDGET
from app.gateway.cache.schema import CACHE
from app.gateway.console.schema import CONSOLE
from app.gateway.database.archive import CARRIED
from app.gateway.database.connection import connect
from app.gateway.database.migrations import migrate
from app.gateway.database.settings import Database
from app.gateway.feedback.schema import FEEDBACK
from app.gateway.keys.schema import KEYS
from app.gateway.ledger.schema import LEDGER
from app.jobs.schema import JOBS
from app.retrieval.schema import RETRIEVAL
from tests.gateway.real_postgres import Postgres, execute

OWNER, PASSWORD = "archive_owner", "not a superuser"
LOST_DAY = (datetime.now(UTC) - timedelta(days=40)).date()
"""A day that a new server has no partition for."""
_NUMBERS = itertools.count(1)
_OWNED = f"""
DO $body$ DECLARE one record; BEGIN
    FOR one IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname LIKE 'penstock\\_%' AND c.relkind IN ('r', 'p')
    LOOP EXECUTE format('ALTER TABLE %s OWNER TO {OWNER}', one.name); END LOOP;
    FOR one IN SELECT nspname AS name FROM pg_namespace WHERE nspname LIKE 'penstock\\_%'
    LOOP EXECUTE format('ALTER SCHEMA %I OWNER TO {OWNER}', one.name); END LOOP;
END $body$"""  # noqa: S608 - constants

ROWS = f"""
SELECT penstock_ledger.prepare_days();
CREATE TABLE penstock_ledger.usage_{LOST_DAY:%Y%m%d} PARTITION OF penstock_ledger.usage
    FOR VALUES FROM ('{LOST_DAY}') TO (date '{LOST_DAY}' + 1);
INSERT INTO penstock_ledger.usage (day, id, ended_at, request_id, tenant, key_id, feature, model, colour, route, status,
        outcome, stream, input_tokens, output_tokens, cached_tokens, estimated, ttft_ms, duration_ms, tries, resumed,
        cost_usd)
    SELECT day, gen_random_uuid(), day::timestamp, 'r', 'acme', 'key-1', E'a\\tb', 'tiny', 'blue', 'chat', 200,
        'ok', true, 12, 34, 5, false, 0.1, 123.456789012345, 1, 0, 0.0000123456
    FROM (VALUES ((now() AT TIME ZONE 'UTC')::date), (date '{LOST_DAY}')) AS t (day);
UPDATE penstock_ledger.settings SET keep_days = 99;
INSERT INTO penstock_keys.tenants (name, limits) VALUES ('acme', '{{"usd_per_day": 5}}'), ('other', NULL);
INSERT INTO penstock_keys.keys (id, name, tenant, access, sha256, created_by)
    SELECT 'key-' || n, E'na\\\\me\\n', 'acme', '{{}}', sha256(n::text::bytea), 'me' FROM generate_series(1, 3) AS n;
UPDATE penstock_keys.keys SET revoked_at = now() WHERE id = 'key-2';
INSERT INTO penstock_keys.uses VALUES ('key-1', '2026-11-01');
INSERT INTO penstock_keys.creations (actor, idempotency_key, request, key_id) VALUES ('me', 'x', '\\x00', 'key-1');
INSERT INTO penstock_keys.audit (actor, action, target, detail, request_id)
    SELECT 'me', 'create', 'key-1', '{{"a": 1}}', '' FROM generate_series(1, 2);
UPDATE penstock_budget.state SET override_level = 'cheaper', override_by = 'me';
INSERT INTO penstock_budget.signals VALUES ('aws', 'budget', 80, '2026-11', now(), NULL, '');
INSERT INTO penstock_budget.messages (id) VALUES ('m1');
INSERT INTO penstock_feedback.feedback
    VALUES ('acme', 'r', 'key-1', 'tiny', 'blue', 5, 'good', ARRAY['a', 'b,c'], now(), now() + interval '1 day');
INSERT INTO penstock_feedback.evaluation VALUES ('acme', 'r', 'in', 'out');
INSERT INTO penstock_feedback.privacy VALUES ('acme', '2026-11-01', 1.25);
INSERT INTO penstock_jobs.files (id, tenant, key_id, purpose, filename, bytes, object_key, expires_at)
    VALUES ('file-1', 'acme', 'key-1', 'batch', 'in.jsonl', 10, 'acme/file-1', now() + interval '9 days');
INSERT INTO penstock_jobs.batches (id, kind, tenant, key_id, endpoint, input_object, input_bytes, status, expires_at)
    VALUES ('batch-1', 'batch', 'acme', 'key-1', '/v1', 'acme/file-1', 10, 'in_progress', now());
INSERT INTO penstock_jobs.rows (id, batch, tenant, key_id, rank, batch_seq, line, custom_id, start, size)
    VALUES (gen_random_uuid(), 'batch-1', 'acme', 'key-1', 1, 1, 0, 'c', 0, 10);
INSERT INTO penstock_jobs.parts (id, batch, failed, object_key)
    VALUES (gen_random_uuid(), 'batch-1', false, 'acme/part-1');
INSERT INTO penstock_jobs.tenants VALUES ('acme');
INSERT INTO penstock_jobs.deliveries (batch, tenant, url, body) VALUES ('batch-1', 'acme', 'https://a.test', '{{}}');
INSERT INTO penstock_retrieval.collections (tenant, name, language) VALUES ('acme', 'notes', 'english');
INSERT INTO penstock_retrieval.indexes (tenant, collection, model, chunk_tokens, overlap_tokens, state)
    VALUES ('acme', 1, 'small', 300, 40, 'current');
INSERT INTO penstock_retrieval.documents (id, tenant, collection, digest, name, media_type, bytes, text, metadata)
    VALUES ('doc-1', 'acme', 1, '\\x01ff', 'n', 'text/plain', 3, 'a — b', '{{}}');
INSERT INTO penstock_retrieval.chunks (tenant, index_id, document, ordinal, heading, text, words, dimensions, embedding)
    VALUES ('acme', 1, 'doc-1', 0, '', 'a b', to_tsvector('english', 'sails and winds'), 256,
        array_fill(0.123::real, ARRAY[256])::halfvec);
"""  # noqa: S608 - constants


async def made(postgres: Postgres) -> Database:
    """A database with every table, whose owner has no right beyond it."""
    database = postgres.database(f"archive_{next(_NUMBERS)}")
    await execute(
        postgres.database("postgres"),
        f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN PASSWORD '{PASSWORD}'; EXCEPTION WHEN duplicate_object THEN END $$",
        f"CREATE DATABASE {database.name} OWNER {OWNER}",
    )
    connection = await connect(database)
    try:
        for schema in (LEDGER, KEYS, BUDGET, FEEDBACK, CONSOLE, CACHE, JOBS, RETRIEVAL):
            await migrate(connection, schema)
        await connection.execute(_OWNED)
    finally:
        connection.terminate()
    return replace(database, user=OWNER, password=PASSWORD)


def superuser(database: Database) -> Database:
    from tests.gateway.real_postgres import OWNER_PASSWORD

    return replace(database, user="owner", password=OWNER_PASSWORD)


async def filled(database: Database) -> None:
    await execute(superuser(database), ROWS)


async def told(database: Database) -> dict[str, list[str]]:
    """Every row of every carried table as text, by table; `keys.state`, which a restore raises, by its presence."""
    connection = await connect(superuser(database))
    try:
        names = await connection.fetch(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "AND c.relname <> 'migrations'",
            list(CARRIED),
        )
        found = {}
        for (name,) in names:
            column = "'one row'" if name == "penstock_keys.state" else "t::text"
            found[name] = sorted(row[0] for row in await connection.fetch(f"SELECT {column} FROM {name} AS t"))  # noqa: S608
        return found
    finally:
        connection.terminate()
