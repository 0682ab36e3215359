"""The function by which gateways read sums of usage: their login cannot read a row."""

from __future__ import annotations

GROUPS = (
    "day", "tenant", "key", "feature", "model", "colour", "zone", "route", "outcome", "intent", "pipeline", "step",
)  # fmt: skip
"""What a report may be broken down by."""

REPORT = """
CREATE FUNCTION penstock_ledger.report(since date, until date, groups text[], most integer)
RETURNS TABLE (
    labels text[],
    requests bigint,
    failed bigint,
    estimated bigint,
    input_tokens numeric,
    output_tokens numeric,
    cached_tokens numeric,
    cost_usd numeric,
    mean_ttft_ms double precision
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    known constant text[] := '{day,tenant,key,feature,model,colour,zone,route,outcome}';
    columns text;
BEGIN
    IF NOT groups <@ known OR most NOT BETWEEN 1 AND 100000 OR until - since NOT BETWEEN 0 AND 3660 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'no such report';
    END IF;
    SELECT string_agg(
        CASE one WHEN 'day' THEN 'day::text' WHEN 'key' THEN 'key_id' ELSE quote_ident(one) END, ', ' ORDER BY place
    ) INTO columns FROM unnest(groups) WITH ORDINALITY AS given (one, place);
    RETURN QUERY EXECUTE format(
        'SELECT ARRAY[%s]::text[], count(*), count(*) FILTER (WHERE status >= 500), count(*) FILTER (WHERE estimated),
            coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cached_tokens), 0),
            coalesce(sum(cost_usd), 0), avg(ttft_ms)
        FROM penstock_ledger.usage WHERE day BETWEEN $1 AND $2 %s
        ORDER BY coalesce(sum(cost_usd), 0) DESC, count(*) DESC, 1 LIMIT $3',
        coalesce(columns, ''), 'GROUP BY ' || columns
    ) USING since, until, most;
END
$body$;
REVOKE ALL ON FUNCTION penstock_ledger.report(date, date, text[], integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penstock_ledger.report(date, date, text[], integer) TO penstock_ledger_writer;
"""

WIDER_REPORT = """
ALTER TABLE penstock_ledger.usage ADD COLUMN intent text, ADD COLUMN pipeline text, ADD COLUMN step text;
COMMENT ON COLUMN penstock_ledger.usage.step IS
    'of a pipeline; null for the pipeline itself, whose row has no tokens and no cost: those of its steps have';
""" + REPORT.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace(
    "{day,tenant,key,feature,model,colour,zone,route,outcome}",
    "{day,tenant,key,feature,model,colour,zone,route,outcome,intent,pipeline,step}",
)
"""Intents, and the steps of pipelines."""
