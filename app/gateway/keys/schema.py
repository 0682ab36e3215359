"""The tables of keys and tenants in PostgreSQL (15 or later), and what keeps gateways up to date with them.

Each change of a key or tenant, by whatever statement, raises the one version number, stamps the row with it, and
notifies. The number's row stays locked until the change commits, so numbers become visible in their order: a gateway
that read up to number n has missed nothing up to n.
"""

from __future__ import annotations

from app.gateway.database.migrations import Schema

SCHEMA = "penstock_keys"
CHANNEL = "penstock_keys"
ROLE = "penstock_keys_gateway"
"""A group without a login. Its members read and change keys and tenants, and can only add to the audit."""

_FIRST = """
CREATE TABLE penstock_keys.state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version bigint NOT NULL,
    reload bigint NOT NULL -- whoever knows less than this must read everything: a row was deleted
);
INSERT INTO penstock_keys.state (version, reload) VALUES (1, 0);

CREATE TABLE penstock_keys.tenants (
    name text PRIMARY KEY,
    limits jsonb,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL
);
CREATE INDEX tenants_version ON penstock_keys.tenants (version);

CREATE TABLE penstock_keys.keys (
    id text PRIMARY KEY,
    name text NOT NULL,
    tenant text NOT NULL,
    access jsonb NOT NULL, -- priority, limits, models, routes and ceilings, as in the key file
    enabled boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    sha256 bytea NOT NULL UNIQUE CHECK (length(sha256) = 32),
    previous_sha256 bytea CHECK (length(previous_sha256) = 32), -- still taken until previous_until
    previous_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    rotated_at timestamptz,
    revoked_at timestamptz,
    version bigint NOT NULL
);
CREATE INDEX keys_version ON penstock_keys.keys (version);
CREATE INDEX keys_tenant ON penstock_keys.keys (tenant, id);

CREATE TABLE penstock_keys.uses (
    key_id text PRIMARY KEY REFERENCES penstock_keys.keys ON DELETE CASCADE,
    day date NOT NULL
);
COMMENT ON TABLE penstock_keys.uses IS 'The last UTC day on which a key was used';

CREATE TABLE penstock_keys.creations (
    actor text NOT NULL,
    idempotency_key text NOT NULL,
    request bytea NOT NULL, -- SHA-256 of the body
    key_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, idempotency_key)
);

CREATE TABLE penstock_keys.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL,
    request_id text NOT NULL
);

CREATE FUNCTION penstock_keys.stamp() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE penstock_keys.state SET version = version + 1 RETURNING version INTO NEW.version;
    PERFORM pg_notify('penstock_keys', '');
    RETURN NEW;
END
$body$;

CREATE FUNCTION penstock_keys.deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    UPDATE penstock_keys.state SET version = version + 1, reload = version + 1;
    PERFORM pg_notify('penstock_keys', '');
    RETURN NULL;
END
$body$;
REVOKE ALL ON FUNCTION penstock_keys.stamp(), penstock_keys.deleted() FROM PUBLIC;

CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON penstock_keys.keys
    FOR EACH ROW EXECUTE FUNCTION penstock_keys.stamp();
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON penstock_keys.tenants
    FOR EACH ROW EXECUTE FUNCTION penstock_keys.stamp();
CREATE TRIGGER deleted AFTER DELETE OR TRUNCATE ON penstock_keys.keys
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_keys.deleted();
CREATE TRIGGER deleted AFTER DELETE OR TRUNCATE ON penstock_keys.tenants
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_keys.deleted();

DO $body$ BEGIN
    CREATE ROLE penstock_keys_gateway NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server, and another database of it may hold keys too
END $body$;
GRANT USAGE ON SCHEMA penstock_keys TO penstock_keys_gateway;
GRANT SELECT ON penstock_keys.migrations, penstock_keys.state TO penstock_keys_gateway;
GRANT SELECT, INSERT, UPDATE ON penstock_keys.keys, penstock_keys.tenants, penstock_keys.uses TO penstock_keys_gateway;
GRANT SELECT, INSERT, DELETE ON penstock_keys.creations TO penstock_keys_gateway;
GRANT SELECT, INSERT ON penstock_keys.audit TO penstock_keys_gateway;
"""

_SECOND = """
CREATE FUNCTION penstock_keys.audit_stays() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'the audit is added to, and never changed';
END
$body$;
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON penstock_keys.audit
    FOR EACH STATEMENT EXECUTE FUNCTION penstock_keys.audit_stays();
ALTER TABLE penstock_keys.audit ENABLE ALWAYS TRIGGER stays; -- for replicas and restores as well
"""

FIRST_LINK = f"'\\x{'00' * 32}'::bytea"
"""What stands before the first row of the audit."""


def link(previous: str, row: str) -> str:
    """SQL of a row's hash: SHA-256 over that of the row before it and the SHA-256 of each column as text (UTF-8).

    Released: rows bear it, and so it is never changed. `at` is in UTC with microseconds, `detail` as jsonb prints it.
    """
    at = f"to_char({row}.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    own = (f"{row}.id::text", at, f"{row}.actor", f"{row}.action", f"{row}.target", f"{row}.detail::text")
    digests = [f"sha256(convert_to({column}, 'UTF8'))" for column in (*own, f"{row}.request_id")]
    return f"sha256({' || '.join((previous, *digests))})"


_THIRD = f"""
CREATE TABLE penstock_keys.audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id bigint NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
ALTER TABLE penstock_keys.audit ADD COLUMN hash bytea CHECK (length(hash) = 32);
ALTER TABLE penstock_keys.audit DISABLE TRIGGER stays;
DO $body$
DECLARE
    head bytea := {FIRST_LINK};
    last bigint := 0;
    one penstock_keys.audit;
BEGIN
    FOR one IN SELECT * FROM penstock_keys.audit ORDER BY id LOOP
        head := {link("head", "one")};
        last := one.id;
        UPDATE penstock_keys.audit SET hash = head WHERE id = last;
    END LOOP;
    INSERT INTO penstock_keys.audit_head (id, hash) VALUES (last, head);
END $body$;
ALTER TABLE penstock_keys.audit ALTER COLUMN hash SET NOT NULL;
ALTER TABLE penstock_keys.audit ENABLE ALWAYS TRIGGER stays;

CREATE FUNCTION penstock_keys.audit_grows() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    head penstock_keys.audit_head;
BEGIN
    SELECT * INTO STRICT head FROM penstock_keys.audit_head FOR UPDATE; -- one writer at a time, until it commits
    NEW.id := head.id + 1;
    NEW.hash := {link("head.hash", "NEW")};
    UPDATE penstock_keys.audit_head SET id = NEW.id, hash = NEW.hash;
    RETURN NEW;
END
$body$;
REVOKE ALL ON FUNCTION penstock_keys.audit_grows() FROM PUBLIC;
CREATE TRIGGER grows BEFORE INSERT ON penstock_keys.audit
    FOR EACH ROW EXECUTE FUNCTION penstock_keys.audit_grows();
GRANT SELECT ON penstock_keys.audit_head TO penstock_keys_gateway;
"""  # noqa: S608 - constants

KEYS = Schema(SCHEMA, 8099000947049456492, ROLE, (_FIRST, _SECOND, _THIRD))
