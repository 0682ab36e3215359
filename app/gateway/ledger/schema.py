"""The ledger's tables in PostgreSQL (15 or later) as numbered migrations, and the SQL of the writer.

Who may do what: the owner (who migrates) reads and changes all. The writers' role may insert rows and call
`prepare_days`, which acts with the owner's rights and can do nothing but make the partitions of the next days and drop
those older than the owner's `keep_days`. It cannot read, change or delete a row; of all rows it gets sums
(`report`).
"""

from __future__ import annotations

from app.gateway.database.migrations import Schema
from app.gateway.ledger.report_schema import REPORT, WIDER_REPORT
from app.gateway.ledger.row import COLUMNS
from app.gateway.ledger.tenant_schema import LEDGER_REQUEST

SCHEMA = "penstock_ledger"
LOCK = 8099000947049456491
"""Advisory lock: one migration at a time. The migrations below name it too."""
WRITER_ROLE = "penstock_ledger_writer"
"""A group without a login. The first migration makes it; logins become its members."""

_FIRST = """
CREATE TABLE penstock_ledger.usage (
    day date NOT NULL,
    id uuid NOT NULL,
    ended_at timestamptz NOT NULL,
    request_id text NOT NULL,
    tenant text NOT NULL,
    key_id text NOT NULL,
    feature text,
    model text NOT NULL,
    colour text NOT NULL,
    zone text,
    engine text,
    route text NOT NULL,
    status smallint NOT NULL,
    outcome text NOT NULL,
    stream boolean NOT NULL,
    input_tokens bigint NOT NULL CHECK (input_tokens >= 0),
    output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
    cached_tokens bigint NOT NULL CHECK (cached_tokens >= 0),
    estimated boolean NOT NULL,
    ttft_ms double precision,
    itl_ms double precision,
    duration_ms double precision NOT NULL,
    tries smallint NOT NULL,
    resumed smallint NOT NULL,
    cost_usd numeric(20, 10) NOT NULL CHECK (cost_usd >= 0),
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);
CREATE INDEX usage_request_id ON penstock_ledger.usage (request_id);
COMMENT ON COLUMN penstock_ledger.usage.day IS 'UTC day of ended_at';

-- Rows whose day has no partition: of a node with a wrong clock, or kept longer than keep_days. Nothing is refused.
CREATE TABLE penstock_ledger.usage_other PARTITION OF penstock_ledger.usage DEFAULT;

CREATE TABLE penstock_ledger.settings (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    keep_days integer NOT NULL CHECK (keep_days >= 2)
);
INSERT INTO penstock_ledger.settings (keep_days) VALUES (400); -- a year of invoices and a month to dispute them

CREATE FUNCTION penstock_ledger.prepare_days() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    keep integer := (SELECT keep_days FROM penstock_ledger.settings);
    one date;
    old name;
    fresh text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(8099000947049456491);
    FOR one IN SELECT today + n FROM generate_series(-1, 7) AS n LOOP
        fresh := 'usage_' || to_char(one, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('penstock_ledger.' || fresh) IS NOT NULL;
        BEGIN
            -- Attached and not made in place: that would wait for every report that reads, and hold up all writers.
            EXECUTE format('CREATE TABLE penstock_ledger.%I (LIKE penstock_ledger.usage INCLUDING ALL)', fresh);
            EXECUTE format(
                'ALTER TABLE penstock_ledger.usage ATTACH PARTITION penstock_ledger.%I FOR VALUES FROM (%L) TO (%L)',
                fresh, one, one + 1
            );
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            NULL; -- rows of that day are in usage_other, and stay there
        END;
    END LOOP;
    FOR old IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'penstock_ledger.usage'::regclass AND relname ~ '^usage_[0-9]{8}$'
        AND to_date(substr(relname, 7), 'YYYYMMDD') < today - keep
    LOOP
        EXECUTE format('DROP TABLE penstock_ledger.%I', old);
    END LOOP;
    RETURN made;
END
$body$;
REVOKE ALL ON FUNCTION penstock_ledger.prepare_days() FROM PUBLIC;

DO $body$ BEGIN
    CREATE ROLE penstock_ledger_writer NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- roles belong to the server, and another database of it may hold a ledger too
END $body$;
GRANT USAGE ON SCHEMA penstock_ledger TO penstock_ledger_writer;
GRANT SELECT ON penstock_ledger.migrations TO penstock_ledger_writer;
GRANT INSERT ON penstock_ledger.usage TO penstock_ledger_writer;
GRANT EXECUTE ON FUNCTION penstock_ledger.prepare_days() TO penstock_ledger_writer;
"""

_SECOND = """
ALTER TABLE penstock_ledger.usage ADD COLUMN cache text;
COMMENT ON COLUMN penstock_ledger.usage.cache IS
    'hit, semantic and coalesced: tokens of an answer that no engine made for this request, at no cost';
"""

LEDGER = Schema(
    SCHEMA,
    LOCK,
    WRITER_ROLE,
    (_FIRST, _SECOND, REPORT, LEDGER_REQUEST, WIDER_REPORT),
    after=f"SELECT {SCHEMA}.prepare_days()",
)

STAGING = "penstock_ledger_staging"
MAKE_STAGING = (
    f"CREATE TEMPORARY TABLE {STAGING} ("
    + ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
    + ") ON COMMIT DELETE ROWS"
)
_PLAIN = ", ".join(name for name, _ in COLUMNS if name != "ended")
# No conflict target: naming one would need the right to read. `S608`: only constants of this package are put in.
STORE = (
    f"INSERT INTO {SCHEMA}.usage (day, ended_at, {_PLAIN}) "  # noqa: S608
    f"SELECT (to_timestamp(ended) AT TIME ZONE 'UTC')::date, to_timestamp(ended), {_PLAIN} FROM {STAGING} "
    "ON CONFLICT DO NOTHING"
)
