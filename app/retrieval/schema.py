"""The tables of retrieval in PostgreSQL (15 or later, with pgvector 0.8 or later).

Each row belongs to a tenant, and row-level security shows a transaction only the rows of its `app.tenant`; it is forced
on the tables' owner too. The gateways' role holds for each transaction (SET LOCAL ROLE), so that no other right of the
login counts.
"""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_retrieval"
ROLE = "penstock_retrieval_gateway"
LOCK = 8099000947049456497
DIMENSIONS = (256, 384, 512, 768, 1024, 1536, 2048, 3072)
"""Each has an index of its own; vectors between are filled up with zeros, which changes no cosine."""

_TABLES = """
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE penstock_retrieval.collections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL CHECK (tenant <> ''),
    name text NOT NULL,
    language text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, name),
    UNIQUE (tenant, id)
);

CREATE TABLE penstock_retrieval.indexes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    collection bigint NOT NULL,
    model text NOT NULL,
    chunk_tokens integer NOT NULL,
    overlap_tokens integer NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'current', 'old')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, id),
    FOREIGN KEY (tenant, collection) REFERENCES penstock_retrieval.collections (tenant, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX indexes_current ON penstock_retrieval.indexes (collection) WHERE state = 'current';
CREATE UNIQUE INDEX indexes_building ON penstock_retrieval.indexes (collection) WHERE state = 'building';

CREATE TABLE penstock_retrieval.documents (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    collection bigint NOT NULL,
    digest bytea NOT NULL,
    name text NOT NULL,
    media_type text NOT NULL,
    bytes bigint NOT NULL,
    text text NOT NULL,
    metadata jsonb NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, id),
    UNIQUE (tenant, collection, digest),
    FOREIGN KEY (tenant, collection) REFERENCES penstock_retrieval.collections (tenant, id) ON DELETE CASCADE
);
CREATE INDEX documents_listed ON penstock_retrieval.documents (tenant, collection, seq);
COMMENT ON COLUMN penstock_retrieval.documents.digest IS 'of content, media type, name and metadata';

CREATE TABLE penstock_retrieval.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text NOT NULL,
    index_id bigint NOT NULL,
    document text NOT NULL,
    ordinal integer NOT NULL,
    heading text NOT NULL,
    page integer,
    text text NOT NULL,
    words tsvector NOT NULL,
    dimensions smallint NOT NULL,
    embedding halfvec NOT NULL,
    UNIQUE (tenant, index_id, document, ordinal),
    FOREIGN KEY (tenant, index_id) REFERENCES penstock_retrieval.indexes (tenant, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant, document) REFERENCES penstock_retrieval.documents (tenant, id) ON DELETE CASCADE
);
CREATE INDEX chunks_document ON penstock_retrieval.chunks (tenant, document);
CREATE INDEX chunks_words ON penstock_retrieval.chunks USING gin (words);
"""

_VECTORS = "\n".join(
    f"CREATE INDEX chunks_near_{size} ON penstock_retrieval.chunks "
    f"USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops) WHERE dimensions = {size};"
    for size in DIMENSIONS
)

_ROLES = "\n".join(
    f"""
DO $body$ BEGIN
    CREATE ROLE {role} NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server, and another database of it may hold this schema too
END $body$;"""
    for role in (ROLE, "penstock_retrieval_words")
)

_SECURITY = "\n".join(
    f"""
ALTER TABLE penstock_retrieval.{table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE penstock_retrieval.{table} FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON penstock_retrieval.{table} TO {ROLE}
    USING (tenant = current_setting('app.tenant', true)) WITH CHECK (tenant = current_setting('app.tenant', true));"""
    for table in ("collections", "indexes", "documents", "chunks")
)

_GRANTS = f"""
GRANT USAGE ON SCHEMA penstock_retrieval TO {ROLE}, penstock_retrieval_words;
GRANT SELECT ON penstock_retrieval.migrations TO {ROLE};
GRANT SELECT, INSERT, DELETE ON penstock_retrieval.collections, penstock_retrieval.indexes,
    penstock_retrieval.documents, penstock_retrieval.chunks TO {ROLE};
GRANT UPDATE (state) ON penstock_retrieval.indexes TO {ROLE};
GRANT UPDATE (language) ON penstock_retrieval.collections TO {ROLE}; -- a row lock needs the right to change a column
"""

_WORDS = """
-- `@@` is not leakproof, so that under row-level security no index serves it. This function reads as a role that may
-- see the words of all rows, asks for one tenant itself, and gives away numbers alone; texts are read under security.
CREATE POLICY words ON penstock_retrieval.chunks FOR SELECT TO penstock_retrieval_words USING (true);
GRANT SELECT (id, tenant, index_id, words) ON penstock_retrieval.chunks TO penstock_retrieval_words;
-- `few`: rows of the tenant are read one by one (`IS TRUE` is no condition of an index): else the words of large
-- tenants would cost small ones their time.
CREATE FUNCTION penstock_retrieval.by_words(
    wanted bigint, some_words tsquery, all_words tsquery, most integer, few boolean
)
RETURNS TABLE (id bigint, score real, has_all boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
BEGIN
    IF few THEN
        RETURN QUERY SELECT one.id, ts_rank(one.words, some_words, 1), one.words @@ all_words
        FROM penstock_retrieval.chunks AS one
        WHERE one.tenant = current_setting('app.tenant', true) AND one.index_id = wanted
        AND (one.words @@ some_words) IS TRUE
        ORDER BY 3 DESC, 2 DESC, 1
        LIMIT most;
    ELSE
        RETURN QUERY SELECT one.id, ts_rank(one.words, some_words, 1), one.words @@ all_words
        FROM penstock_retrieval.chunks AS one
        WHERE one.tenant = current_setting('app.tenant', true) AND one.index_id = wanted AND one.words @@ some_words
        ORDER BY 3 DESC, 2 DESC, 1
        LIMIT most;
    END IF;
END
$body$;
REVOKE ALL ON FUNCTION penstock_retrieval.by_words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_retrieval.by_words TO penstock_retrieval_gateway;
GRANT penstock_retrieval_words TO CURRENT_USER;
GRANT CREATE ON SCHEMA penstock_retrieval TO penstock_retrieval_words;
ALTER FUNCTION penstock_retrieval.by_words OWNER TO penstock_retrieval_words;
REVOKE CREATE ON SCHEMA penstock_retrieval FROM penstock_retrieval_words;
"""

_LEASES = """
ALTER TABLE penstock_retrieval.indexes
    ADD COLUMN key_id text, ADD COLUMN lease uuid, ADD COLUMN lease_until timestamptz;
COMMENT ON COLUMN penstock_retrieval.indexes.key_id IS 'in whose name any gateway may go on with it; null: nobody''s';
CREATE INDEX indexes_left ON penstock_retrieval.indexes (lease_until) WHERE state = 'building' AND key_id IS NOT NULL;
GRANT UPDATE (key_id, lease, lease_until) ON penstock_retrieval.indexes TO penstock_retrieval_gateway;
DO $body$ BEGIN
    CREATE ROLE penstock_retrieval_keeper NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $body$;
GRANT USAGE ON SCHEMA penstock_retrieval TO penstock_retrieval_keeper;
CREATE POLICY left_over ON penstock_retrieval.indexes TO penstock_retrieval_keeper
    USING (state = 'building') WITH CHECK (state = 'building');
GRANT SELECT (id, tenant, state, key_id, lease_until), UPDATE (lease, lease_until)
    ON penstock_retrieval.indexes TO penstock_retrieval_keeper;
-- A gateway sees no tenant that it does not name. So it learns of one index at a time, by its number and whose it is.
CREATE FUNCTION penstock_retrieval.take_over(taker uuid, seconds double precision)
RETURNS TABLE (index_id bigint, tenant text, key_id text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $body$
    UPDATE penstock_retrieval.indexes AS one
    SET lease = taker, lease_until = now() + least(seconds, 600) * interval '1 second'
    WHERE one.id = (
        SELECT i.id FROM penstock_retrieval.indexes AS i
        WHERE i.state = 'building' AND i.key_id IS NOT NULL AND i.lease_until < now()
        ORDER BY i.lease_until LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING one.id, one.tenant, one.key_id
$body$;
REVOKE ALL ON FUNCTION penstock_retrieval.take_over FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_retrieval.take_over TO penstock_retrieval_gateway;
GRANT penstock_retrieval_keeper TO CURRENT_USER;
GRANT CREATE ON SCHEMA penstock_retrieval TO penstock_retrieval_keeper;
ALTER FUNCTION penstock_retrieval.take_over OWNER TO penstock_retrieval_keeper;
REVOKE CREATE ON SCHEMA penstock_retrieval FROM penstock_retrieval_keeper;
"""

RETRIEVAL = Schema(SCHEMA, LOCK, ROLE, (_TABLES + _VECTORS + _ROLES + _SECURITY + _GRANTS + _WORDS, _LEASES))
