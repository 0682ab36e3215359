"""The console's tables in PostgreSQL: sign-ins, the release under way with the wishes of clickers, drills' results."""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_console"
ROLE = "penstock_console_gateway"

_FIRST = """
CREATE TABLE penstock_console.sessions (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32), -- SHA-256 of the cookie's value
    actor text NOT NULL,
    admin bytea NOT NULL, -- SHA-256 of the admin key: the session ends with the key
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_end ON penstock_console.sessions (expires_at);

CREATE TABLE penstock_console.release (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    content jsonb NOT NULL,
    runner text NOT NULL, -- who attends: one process of the `penstock` command
    told_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE penstock_console.wishes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('promote', 'rollback')),
    release text NOT NULL,
    step text NOT NULL, -- as the clicker saw it
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    taken_at timestamptz,
    taken_by text,
    done_at timestamptz,
    outcome text
);
CREATE UNIQUE INDEX wishes_once ON penstock_console.wishes (release, step, kind) WHERE done_at IS NULL;

CREATE TABLE penstock_console.drills (
    drill text PRIMARY KEY,
    result jsonb NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

DO $body$ BEGIN
    CREATE ROLE penstock_console_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server
END $body$;
GRANT USAGE ON SCHEMA penstock_console TO penstock_console_gateway;
GRANT SELECT ON penstock_console.migrations TO penstock_console_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_console.sessions, penstock_console.release, penstock_console.wishes,
    penstock_console.drills TO penstock_console_gateway;
"""

CONSOLE = Schema(SCHEMA, 8099000947049456588, ROLE, (_FIRST,))
