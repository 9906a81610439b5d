-- Batches and what runs need for reruns, logs and events.

------------------------------------------------------------------------------------------------------------------ runs
ALTER TABLE runs
    ADD COLUMN batch_index          integer,
    ADD COLUMN rerun_of             uuid,
    ADD COLUMN cancellation_reason  text,
    ADD CONSTRAINT runs_batch_place CHECK ((batch_id IS NULL) = (batch_index IS NULL));
COMMENT ON COLUMN runs.batch_index IS 'Place among the items of its batch, from 0: an item of a batch is its run.';
COMMENT ON COLUMN runs.rerun_of IS 'The run that this one repeats; it may have been removed since.';

-- Partial where only some runs have the value: the others pay nothing for the index.
CREATE UNIQUE INDEX runs_of_batch ON runs (batch_id, batch_index) WHERE batch_id IS NOT NULL;
CREATE INDEX runs_by_status ON runs (org_id, status_code, created_at DESC, id DESC);
CREATE INDEX runs_by_client_ref ON runs (org_id, client_ref, created_at DESC, id DESC) WHERE client_ref IS NOT NULL;
CREATE INDEX runs_by_failure ON runs (org_id, failure_code, created_at DESC, id DESC) WHERE failure_code IS NOT NULL;
CREATE INDEX runs_again ON runs (rerun_of) WHERE rerun_of IS NOT NULL;

CREATE INDEX run_node_runs_page ON run_node_runs (org_id, created_at DESC, id DESC);

-- A default that is evaluated per row fills the lines that are there, whatever row-level security lets us see.
ALTER TABLE run_events ADD COLUMN id uuid DEFAULT gen_random_uuid();
ALTER TABLE run_events ALTER COLUMN id DROP DEFAULT;
COMMENT ON COLUMN run_events.id IS 'The id of a log line; other events have none.';
CREATE UNIQUE INDEX run_logs_id ON run_events (id) WHERE type_code = 'log';
CREATE INDEX run_logs_page ON run_events (org_id, created_at DESC, sequence DESC, id DESC) WHERE type_code = 'log';

--------------------------------------------------------------------------------------------------------------- batches
CREATE TABLE batches (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL REFERENCES organizations,
    comfyui_workflow_id  uuid NOT NULL REFERENCES workflows,
    version_id           uuid NOT NULL REFERENCES workflow_versions,
    target_version       text NOT NULL,
    target_type          text NOT NULL DEFAULT 'comfyui_workflow',
    status_code          text NOT NULL DEFAULT 'queued' CHECK
                         (status_code IN ('queued', 'succeeded', 'partial_succeeded', 'failed', 'cancelled')),
    source_code          text NOT NULL DEFAULT 'api',
    items_total          integer NOT NULL CHECK (items_total > 0),
    items_succeeded      integer NOT NULL DEFAULT 0,
    items_failed         integer NOT NULL DEFAULT 0,
    items_cancelled      integer NOT NULL DEFAULT 0,
    metadata             json,
    callback_url         text,
    cancellation_reason  text,
    request_id           text,
    created_by           uuid,
    created_at           timestamptz NOT NULL DEFAULT now(),
    completed_at         timestamptz,
    duration_ms          integer,
    CHECK (items_succeeded + items_failed + items_cancelled <= items_total)
);
COMMENT ON TABLE batches IS 'Runs that were dispatched together. Counts and end move in the transactions that end the runs.';
COMMENT ON COLUMN batches.status_code IS 'Stays queued until the last run ends; that it is running is seen from its runs.';
CREATE INDEX batches_page ON batches (org_id, created_at DESC, id DESC);
CREATE INDEX batches_of_workflow ON batches (comfyui_workflow_id, org_id, created_at DESC, id DESC);
CALL tenant_table('batches', 'INSERT');
