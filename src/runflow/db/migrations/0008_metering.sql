-- Metering: what each attempt used and cost, what a run cost in all, budgets, and the indexes that statistics read.

ALTER TABLE run_attempts ADD COLUMN cold_start boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN run_attempts.cold_start IS 'The worker had to start an engine first: this was the first prompt of the engine''s life.';

------------------------------------------------------------------------------------------------------- usage and runs
-- Cost follows from the facts of a row, so it cannot disagree with them.
ALTER TABLE usage_records DROP COLUMN cost;
ALTER TABLE usage_records
    ADD COLUMN gpu_seconds numeric(14, 3) NOT NULL
        GENERATED ALWAYS AS (prepare_seconds + load_seconds + execute_seconds) STORED,
    ADD COLUMN billable_seconds numeric(14, 3) NOT NULL
        GENERATED ALWAYS AS (CASE WHEN is_billable THEN load_seconds + execute_seconds ELSE 0 END) STORED,
    ADD COLUMN cost numeric(14, 6) NOT NULL
        GENERATED ALWAYS AS (CASE WHEN is_billable THEN price_per_second * (load_seconds + execute_seconds) ELSE 0 END)
        STORED,
    ADD COLUMN is_first boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN usage_records.is_first IS 'Of the first attempt of its run: counting these counts runs.';
CREATE INDEX usage_records_of_run ON usage_records (run_id);
DROP INDEX usage_records_page;
CREATE INDEX usage_records_sums ON usage_records (org_id, created_at)
    INCLUDE (comfyui_workflow_id, api_key_id, gpu_code, gpu_seconds, billable_seconds, cost, is_first);

CREATE FUNCTION cost_breakdown(gpu text, price numeric, prepare numeric, load numeric, execute numeric,
                               billable numeric, attempts bigint)
    RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT json_build_object(
        'gpu_code', gpu, 'price_per_second', price::text, 'prepare_seconds', prepare::text,
        'load_seconds', load::text, 'execute_seconds', execute::text, 'billable_seconds', billable::text,
        'attempts', attempts)
$$;
COMMENT ON FUNCTION cost_breakdown IS 'The `cost_breakdown` of a run: numbers as decimal strings.';

ALTER TABLE runs
    ADD COLUMN gpu_seconds numeric(14, 3),
    ADD COLUMN cold_start boolean NOT NULL DEFAULT false,
    ADD COLUMN queue_ms integer GENERATED ALWAYS AS (
        CASE WHEN started_at IS NOT NULL
             THEN least(2147483647, greatest(0, floor(1000 * extract(epoch FROM started_at - created_at)))) END) STORED;
COMMENT ON COLUMN runs.gpu_seconds IS 'The sum over its attempts, kept here so that statistics read one index.';
COMMENT ON COLUMN runs.cold_start IS 'Whether one of its attempts was a cold start.';

-- Nobody's policy names the owner of the tables, so forced row-level security would hide every row from it.
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_records NO FORCE ROW LEVEL SECURITY;
ALTER TABLE run_attempts NO FORCE ROW LEVEL SECURITY;
UPDATE usage_records u SET is_first = false FROM run_attempts a WHERE a.id = u.attempt_id AND a.number > 1;
UPDATE runs r SET gpu_seconds = u.gpu_seconds,
        cost_breakdown = cost_breakdown(u.gpu_code, u.price, u.prepare, u.load, u.execute, u.billable, u.attempts)
    FROM (
        SELECT run_id, (array_agg(gpu_code ORDER BY created_at DESC))[1] AS gpu_code,
               (array_agg(price_per_second ORDER BY created_at DESC))[1] AS price, sum(prepare_seconds) AS prepare,
               sum(load_seconds) AS load, sum(execute_seconds) AS execute, sum(billable_seconds) AS billable,
               sum(gpu_seconds) AS gpu_seconds, count(*) AS attempts
        FROM usage_records GROUP BY run_id
    ) AS u WHERE r.id = u.run_id;
ALTER TABLE runs FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_records FORCE ROW LEVEL SECURITY;
ALTER TABLE run_attempts FORCE ROW LEVEL SECURITY;

-- Statistics read nothing but these. A run enters `runs_ended` once, when it ends.
CREATE INDEX runs_ended ON runs (comfyui_workflow_id, org_id, created_at)
    INCLUDE (status_code, queue_ms, duration_ms, gpu_seconds, cost, failure_code, cold_start)
    WHERE completed_at IS NOT NULL;
CREATE INDEX runs_unfinished ON runs (comfyui_workflow_id, org_id, created_at) WHERE completed_at IS NULL;

--------------------------------------------------------------------------------------------------------------- workers
ALTER TABLE workers ADD COLUMN draining boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN workers.draining IS 'Gets no new runs and finishes what it has; set by the operator, survives a restart of the worker.';

--------------------------------------------------------------------------------------------------------------- budgets
CREATE TABLE budgets (
    org_id                   uuid PRIMARY KEY REFERENCES organizations,
    monthly_limit            numeric(14, 6) CHECK (monthly_limit >= 0),
    month                    date NOT NULL DEFAULT date_trunc('month', now() AT TIME ZONE 'UTC')::date,
    month_spent              numeric(14, 6) NOT NULL DEFAULT 0,
    credit                   numeric(14, 6) CHECK (credit >= 0),
    credit_spent             numeric(14, 6) NOT NULL DEFAULT 0,
    low_balance_threshold    numeric(14, 6) CHECK (low_balance_threshold >= 0),
    low_balance_notified_at  timestamptz,
    created_at               timestamptz NOT NULL DEFAULT now(),
    updated_at               timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE budgets IS 'What the operator lets an organization spend (null: as much as it likes) and what it spent; counted by the completing transactions.';
COMMENT ON COLUMN budgets.month IS 'The UTC month that month_spent counts; in a later month it counts as zero.';
CALL tenant_table('budgets');
-- An organization may watch its balance, not change it.
GRANT INSERT (org_id, low_balance_threshold), UPDATE (low_balance_threshold, low_balance_notified_at, updated_at)
    ON budgets TO runflow_api;

CREATE FUNCTION month_of(moment timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT date_trunc('month', moment AT TIME ZONE 'UTC')::date $$;

CREATE FUNCTION budget_left(b budgets) RETURNS numeric LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT least(b.monthly_limit - CASE WHEN b.month = month_of(now()) THEN b.month_spent ELSE 0 END,
                 b.credit - b.credit_spent)
$$;
COMMENT ON FUNCTION budget_left IS 'What may still be spent, in USD: the smaller of what is left of month and credit. Null: no budget was set.';
