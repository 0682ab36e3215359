"""The tables of feedback in PostgreSQL. One row for each request of a tenant; the newest word stays."""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_feedback"
ROLE = "penstock_feedback_gateway"

_FIRST = """
CREATE TABLE penstock_feedback.feedback (
    tenant text NOT NULL,
    request_id text NOT NULL,
    key_id text NOT NULL,
    model text NOT NULL,
    colour text NOT NULL,
    rating smallint NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment text NOT NULL, -- masked
    tags text[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX feedback_at ON penstock_feedback.feedback (at);
CREATE INDEX feedback_end ON penstock_feedback.feedback (expires_at);

CREATE TABLE penstock_feedback.evaluation (
    tenant text NOT NULL,
    request_id text NOT NULL,
    input text NOT NULL, -- masked, as is the output
    output text NOT NULL,
    PRIMARY KEY (tenant, request_id),
    FOREIGN KEY (tenant, request_id) REFERENCES penstock_feedback.feedback ON DELETE CASCADE
);
COMMENT ON TABLE penstock_feedback.evaluation IS 'A sample of what was given with consent; it ends with its feedback';

DO $body$ BEGIN
    CREATE ROLE penstock_feedback_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server
END $body$;
GRANT USAGE ON SCHEMA penstock_feedback TO penstock_feedback_gateway;
GRANT SELECT ON penstock_feedback.migrations TO penstock_feedback_gateway;
GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_feedback.feedback, penstock_feedback.evaluation
    TO penstock_feedback_gateway;
"""

_PRIVACY = """
CREATE TABLE penstock_feedback.privacy (
    tenant text NOT NULL,
    month date NOT NULL, -- UTC, its first day: when the reports were made
    epsilon numeric NOT NULL CHECK (epsilon >= 0),
    PRIMARY KEY (tenant, month)
);
COMMENT ON TABLE penstock_feedback.privacy IS 'What private reports told: spent epsilon never comes back';
GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_feedback.privacy TO penstock_feedback_gateway;
"""

FEEDBACK = Schema(SCHEMA, 8099000947049456532, ROLE, (_FIRST, _PRIVACY))

SPEND = """
INSERT INTO penstock_feedback.privacy AS spent (tenant, month, epsilon)
SELECT DISTINCT tenant, date_trunc('month', now() AT TIME ZONE 'UTC')::date, $3::numeric
FROM penstock_feedback.feedback WHERE at >= $1 AND at < $2 ORDER BY 1
ON CONFLICT (tenant, month) DO UPDATE SET epsilon = spent.epsilon + excluded.epsilon
RETURNING tenant, epsilon::float8 AS epsilon
"""
"""Charges a report to each tenant that it is about. Of two reports at once the second sees what the first spent."""
