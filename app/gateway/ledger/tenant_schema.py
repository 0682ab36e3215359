"""The functions by which gateways read, give out and erase the rows of one tenant: their login cannot read a row."""

from __future__ import annotations

LEDGER_REQUEST = """
CREATE FUNCTION penstock_ledger.request_of(whose text, asked text)
RETURNS TABLE (model text, colour text, ended_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT model, colour, ended_at FROM penstock_ledger.usage WHERE request_id = asked AND tenant = whose
    ORDER BY ended_at DESC LIMIT 1
$body$;
REVOKE ALL ON FUNCTION penstock_ledger.request_of(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_ledger.request_of(text, text) TO penstock_ledger_writer;

-- What one tenant's admin may ask for or have forgotten. Sums that were billed stay as anonymous rows.
CREATE FUNCTION penstock_ledger.rows_of(whose text, after timestamptz, after_id uuid, most integer)
RETURNS SETOF penstock_ledger.usage
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT * FROM penstock_ledger.usage WHERE tenant = whose AND (ended_at, id) > (after, after_id)
    ORDER BY ended_at, id LIMIT least(most, 1000)
$body$;
REVOKE ALL ON FUNCTION penstock_ledger.rows_of(text, timestamptz, uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_ledger.rows_of(text, timestamptz, uuid, integer) TO penstock_ledger_writer;

CREATE FUNCTION penstock_ledger.erase(whose text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    erased bigint;
BEGIN
    UPDATE penstock_ledger.usage SET tenant = 'erased', key_id = 'erased', request_id = 'erased', feature = NULL
    WHERE tenant = whose AND whose <> 'erased';
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$body$;
REVOKE ALL ON FUNCTION penstock_ledger.erase(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_ledger.erase(text) TO penstock_ledger_writer;
"""
