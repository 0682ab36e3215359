"""The semantic cache's tables in PostgreSQL (15 or later, with pgvector 0.5 or later).

Who may do what: the owner (who migrates) does all. The gateways' role may read, add and remove answers.

There is no index over the vectors: the equality of tenant, model, context and facts leaves so few rows that reading
them all is both exact and quick.
"""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_cache"
ROLE = "penstock_cache_gateway"
LOCK = 8099000947049456493

_FIRST = """
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE penstock_cache.answers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    model text NOT NULL,
    context bytea NOT NULL,
    facts bytea NOT NULL,
    words bigint[] NOT NULL,
    embedding vector NOT NULL,
    entry bytea NOT NULL,
    begun timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX answers_compared ON penstock_cache.answers (tenant, model, context, facts);
CREATE INDEX answers_newest ON penstock_cache.answers (tenant, model, context, id);
CREATE INDEX answers_expire ON penstock_cache.answers (expires_at);
COMMENT ON COLUMN penstock_cache.answers.context IS 'digest of all that makes the answer but the last question';
COMMENT ON COLUMN penstock_cache.answers.facts IS 'digest of numbers, names, dates and negations of the question';

CREATE TABLE penstock_cache.purges (
    tenant text NOT NULL,
    model text NOT NULL,
    at timestamptz NOT NULL
);
COMMENT ON TABLE penstock_cache.purges IS 'answers begun before are not served; an empty name stands for all';

DO $body$ BEGIN
    CREATE ROLE penstock_cache_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server, and another database of it may hold this schema too
END $body$;
GRANT USAGE ON SCHEMA penstock_cache TO penstock_cache_gateway;
GRANT SELECT ON penstock_cache.migrations TO penstock_cache_gateway;
GRANT SELECT, INSERT, DELETE ON penstock_cache.answers, penstock_cache.purges TO penstock_cache_gateway;
"""

CACHE = Schema(SCHEMA, LOCK, ROLE, (_FIRST,))

FIND = """
SELECT words, entry, 1 - (embedding <=> $5::text::vector) AS alike
FROM penstock_cache.answers AS kept
WHERE tenant = $1 AND model = $2 AND context = $3 AND facts = $4 AND expires_at > now() AND vector_dims(embedding) = $6
AND NOT EXISTS (
    SELECT FROM penstock_cache.purges
    WHERE at >= kept.begun AND purges.tenant IN ('', kept.tenant) AND purges.model IN ('', kept.model)
)
ORDER BY embedding <=> $5::text::vector
LIMIT 8
"""
KEEP = """
INSERT INTO penstock_cache.answers (tenant, model, context, facts, words, embedding, entry, begun, expires_at)
VALUES ($1, $2, $3, $4, $5, $6::text::vector, $7, to_timestamp($8), now() + make_interval(secs => $9))
"""
TRIM = """
DELETE FROM penstock_cache.answers WHERE id IN (
    SELECT id FROM penstock_cache.answers WHERE tenant = $1 AND model = $2 AND context = $3 ORDER BY id DESC OFFSET $4
)
"""
EXPIRE = """
DELETE FROM penstock_cache.answers WHERE id IN (
    SELECT id FROM penstock_cache.answers WHERE expires_at <= now() LIMIT 500
)
"""
FORGET_PURGES = "DELETE FROM penstock_cache.purges WHERE at < now() - interval '31 days'"
MARK_PURGE = "INSERT INTO penstock_cache.purges VALUES ($1, $2, to_timestamp($3))"
PURGE = "DELETE FROM penstock_cache.answers WHERE ($1 = '' OR tenant = $1) AND ($2 = '' OR model = $2)"
