"""The tables of files, batches and their rows in PostgreSQL (15 or later).

A job is a batch of one row. Two groups of logins: gateways take work in and tell of it, workers do it.
"""

from __future__ import annotations

from dataclasses import replace

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_jobs"
LOCK = 8099000947049456494
API_ROLE = "penstock_jobs_api"
WORKER_ROLE = "penstock_jobs_worker"

QUEUED, CLAIMED, DONE, FAILED, EXPIRED, CANCELLED = range(6)
"""States of a row."""

_FIRST = """
CREATE TABLE penstock_jobs.files (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    tenant text NOT NULL,
    key_id text NOT NULL,
    purpose text NOT NULL,
    filename text NOT NULL,
    bytes bigint NOT NULL,
    object_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX files_tenant ON penstock_jobs.files (tenant, seq);
CREATE INDEX files_end ON penstock_jobs.files (expires_at);

CREATE TABLE penstock_jobs.batches (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('batch', 'job')),
    tenant text NOT NULL,
    key_id text NOT NULL,
    endpoint text NOT NULL,
    input_file text,
    input_object text NOT NULL,
    input_bytes bigint NOT NULL,
    status text NOT NULL CHECK (status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired',
        'cancelling', 'cancelled')),
    ending text, -- what a batch becomes once its files are made
    metadata jsonb,
    errors jsonb,
    total integer NOT NULL DEFAULT 0,
    completed integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    open integer NOT NULL DEFAULT 0, -- rows that have not ended
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    in_progress_at timestamptz,
    finalizing_at timestamptz,
    cancelling_at timestamptz,
    ended_at timestamptz,
    output_file text,
    error_file text,
    webhook text,
    idempotency_key text,
    fingerprint bytea,
    lease_token uuid,
    lease_until timestamptz,
    UNIQUE (tenant, key_id, kind, idempotency_key)
);
CREATE INDEX batches_tenant ON penstock_jobs.batches (tenant, kind, seq);
CREATE INDEX batches_open ON penstock_jobs.batches (seq)
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling');
CREATE INDEX batches_input ON penstock_jobs.batches (input_file);

CREATE TABLE penstock_jobs.rows (
    id uuid PRIMARY KEY,
    batch text NOT NULL REFERENCES penstock_jobs.batches ON DELETE CASCADE,
    tenant text NOT NULL,
    key_id text NOT NULL,
    rank smallint NOT NULL, -- 0: a job, which goes before batches of its tenant
    batch_seq bigint NOT NULL,
    line integer NOT NULL,
    custom_id text NOT NULL,
    start bigint NOT NULL, -- of the line in the input, in bytes
    size integer NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_token uuid,
    lease_until timestamptz,
    part uuid,
    UNIQUE (batch, line)
);
CREATE INDEX rows_queued ON penstock_jobs.rows (tenant, rank, batch_seq, line) WHERE state = 0;
CREATE INDEX rows_claimed ON penstock_jobs.rows (lease_until) WHERE state = 1;
CREATE INDEX rows_part ON penstock_jobs.rows (part) WHERE part IS NOT NULL;

CREATE TABLE penstock_jobs.parts (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id uuid PRIMARY KEY,
    batch text NOT NULL REFERENCES penstock_jobs.batches ON DELETE CASCADE,
    failed boolean NOT NULL, -- it goes into the error file
    object_key text NOT NULL
);
CREATE INDEX parts_batch ON penstock_jobs.parts (batch, seq);

CREATE TABLE penstock_jobs.tenants (
    tenant text PRIMARY KEY,
    last_claim timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE penstock_jobs.deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    batch text NOT NULL REFERENCES penstock_jobs.batches ON DELETE CASCADE,
    tenant text NOT NULL,
    url text NOT NULL,
    body text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    last_result text,
    done boolean NOT NULL DEFAULT false
);
CREATE INDEX deliveries_due ON penstock_jobs.deliveries (due_at) WHERE NOT done;

DO $body$ BEGIN
    CREATE ROLE penstock_jobs_api NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server
END $body$;
DO $body$ BEGIN
    CREATE ROLE penstock_jobs_worker NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $body$;
GRANT USAGE ON SCHEMA penstock_jobs TO penstock_jobs_api, penstock_jobs_worker;
GRANT SELECT ON ALL TABLES IN SCHEMA penstock_jobs TO penstock_jobs_api, penstock_jobs_worker;
GRANT INSERT, DELETE ON penstock_jobs.files TO penstock_jobs_api, penstock_jobs_worker;
GRANT INSERT ON penstock_jobs.batches TO penstock_jobs_api;
GRANT UPDATE (status, cancelling_at) ON penstock_jobs.batches TO penstock_jobs_api;
GRANT UPDATE, DELETE ON penstock_jobs.batches TO penstock_jobs_worker;
GRANT INSERT, UPDATE, DELETE ON penstock_jobs.rows, penstock_jobs.parts, penstock_jobs.deliveries, penstock_jobs.tenants
    TO penstock_jobs_worker;
"""

_ERASE = """
-- All rows of one tenant go, and the names of its objects in the bucket come back: gateways cannot delete batches.
CREATE FUNCTION penstock_jobs.erase(whose text) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RETURN QUERY SELECT p.object_key FROM penstock_jobs.parts p JOIN penstock_jobs.batches b ON b.id = p.batch
        WHERE b.tenant = whose;
    RETURN QUERY SELECT b.input_object FROM penstock_jobs.batches b WHERE b.tenant = whose;
    RETURN QUERY DELETE FROM penstock_jobs.files f WHERE f.tenant = whose RETURNING f.object_key;
    DELETE FROM penstock_jobs.batches b WHERE b.tenant = whose;
    DELETE FROM penstock_jobs.tenants t WHERE t.tenant = whose;
END
$body$;
REVOKE ALL ON FUNCTION penstock_jobs.erase(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_jobs.erase(text) TO penstock_jobs_api;
"""

JOBS = Schema(SCHEMA, LOCK, API_ROLE, (_FIRST, _ERASE))
WORKERS = replace(JOBS, role=WORKER_ROLE)
"""The same tables, for the logins of workers."""
