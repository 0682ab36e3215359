"""The tables of budgets in PostgreSQL, which all gateways share: signals, an override, and who reads the queue."""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_budget"
CHANNEL = "penstock_budget"
ROLE = "penstock_budget_gateway"

_FIRST = """
CREATE TABLE penstock_budget.state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    level text NOT NULL DEFAULT 'normal', -- as last recorded; gateways work it out of the signals by themselves
    source text NOT NULL DEFAULT '',
    since timestamptz NOT NULL DEFAULT now(),
    override_level text,
    override_until timestamptz,
    override_by text,
    override_reason text,
    reader text NOT NULL DEFAULT '', -- the gateway that reads the queue and sums the ledger up
    reader_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO penstock_budget.state DEFAULT VALUES;

CREATE TABLE penstock_budget.signals (
    source text PRIMARY KEY,
    kind text NOT NULL,
    percent double precision,
    month text NOT NULL,
    at timestamptz NOT NULL,
    until timestamptz,
    detail text NOT NULL
);

CREATE TABLE penstock_budget.messages (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE penstock_budget.messages IS 'Ids of messages that were acted on: SQS may deliver one twice';

DO $body$ BEGIN
    CREATE ROLE penstock_budget_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server
END $body$;
GRANT USAGE ON SCHEMA penstock_budget TO penstock_budget_gateway;
GRANT SELECT ON penstock_budget.migrations TO penstock_budget_gateway;
GRANT SELECT, UPDATE ON penstock_budget.state TO penstock_budget_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_budget.signals, penstock_budget.messages TO penstock_budget_gateway;
"""

BUDGET = Schema(SCHEMA, 8099000947049456531, ROLE, (_FIRST,))
