-- Examples that a workflow keeps, and new versions that serve only after they have run them.
ALTER TABLE workflows ADD COLUMN is_serving boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN workflows.is_serving IS 'False as long as its first version has not passed its golden run: version_id is what a caller would read, and no dispatch gets it.';

CREATE TABLE workflow_examples (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL REFERENCES organizations,
    workflow_id  uuid NOT NULL REFERENCES workflows DEFERRABLE INITIALLY DEFERRED,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
    input        json NOT NULL,
    evaluate     boolean NOT NULL DEFAULT false,
    run_id       uuid,
    created_by   uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_id, name)
);
COMMENT ON COLUMN workflow_examples.run_id IS 'The run whose input it is, where it was kept from one.';
CREATE INDEX workflow_examples_page ON workflow_examples (org_id, workflow_id, created_at DESC, id DESC);
CALL tenant_table('workflow_examples', 'INSERT, UPDATE, DELETE');

CREATE TABLE golden_runs (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organizations,
    workflow_id   uuid NOT NULL REFERENCES workflows DEFERRABLE INITIALLY DEFERRED,
    version_id    uuid NOT NULL REFERENCES workflow_versions,
    status_code   text NOT NULL CHECK (status_code IN ('running', 'passed', 'failed', 'cancelled', 'superseded')),
    reasons       json NOT NULL,
    created_by    uuid NOT NULL,
    request_id    text,
    expires_at    timestamptz NOT NULL,
    due_at        timestamptz DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    completed_at  timestamptz
);
COMMENT ON TABLE golden_runs IS 'A version that is tested with the examples as they were when the test began.';
COMMENT ON COLUMN golden_runs.due_at IS 'When a server looks at it next; null: it has ended, its runs were stopped, and that was told.';
CREATE UNIQUE INDEX golden_runs_one_at_a_time ON golden_runs (workflow_id) WHERE status_code = 'running';
CREATE INDEX golden_runs_due ON golden_runs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX golden_runs_page ON golden_runs (org_id, workflow_id, created_at DESC, id DESC);
CREATE INDEX golden_runs_of_version ON golden_runs (version_id, created_at DESC);
CALL tenant_table('golden_runs', 'INSERT, UPDATE');

CREATE TABLE golden_run_examples (
    golden_run_id  uuid NOT NULL REFERENCES golden_runs,
    org_id         uuid NOT NULL REFERENCES organizations,
    place          integer NOT NULL,
    name           text NOT NULL,
    input          json NOT NULL,
    evaluate       boolean NOT NULL,
    run_id         uuid,
    PRIMARY KEY (golden_run_id, place)
);
COMMENT ON COLUMN golden_run_examples.run_id IS 'Null until it was dispatched.';
CALL tenant_table('golden_run_examples', 'INSERT, UPDATE');

ALTER TABLE deliveries ADD COLUMN golden_run_id uuid;
ALTER TABLE deliveries DROP CONSTRAINT deliveries_have_one_subject;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_have_one_subject CHECK (
    num_nonnulls(run_id, batch_id, evaluation_id, golden_run_id) = 1
    OR (kind_code = 'webhook' AND num_nonnulls(run_id, batch_id, evaluation_id, golden_run_id) = 0)
);
COMMENT ON CONSTRAINT deliveries_have_one_subject ON deliveries IS 'The test of a webhook is about nothing.';
DROP INDEX deliveries_one_in_flight;
CREATE UNIQUE INDEX deliveries_one_in_flight ON deliveries (
    coalesce(run_id, batch_id, evaluation_id, golden_run_id, webhook_id), kind_code,
    coalesce(webhook_id, '00000000-0000-0000-0000-000000000000')
) WHERE status_code = 'pending';
