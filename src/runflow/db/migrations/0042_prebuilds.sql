-- What was asked for beforehand: that a worker builds the runtime of a version and fetches its models before a run comes.
CREATE TABLE prebuilds (
    version_id        uuid PRIMARY KEY REFERENCES workflow_versions,
    org_id            uuid NOT NULL REFERENCES organizations,
    workflow_id       uuid NOT NULL REFERENCES workflows,
    state_code        text NOT NULL DEFAULT 'queued' CHECK (state_code IN ('queued', 'building', 'ready', 'failed')),
    requested_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    requested_by      uuid,
    due_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries             integer NOT NULL DEFAULT 0,
    worker_id         uuid,
    worker_name       text,
    instance          uuid,
    lease_id          uuid UNIQUE,
    lease_expires_at  timestamptz,
    started_at        timestamptz,
    ended_at          timestamptz,
    step              text,
    pack              text,
    message           text,
    log               text NOT NULL DEFAULT '',
    CHECK ((state_code = 'building') = (lease_id IS NOT NULL))
);
COMMENT ON TABLE prebuilds IS 'One a version: asked for again, it begins anew. A worker that has one holds it by a lease that expires, as it holds a run.';
COMMENT ON COLUMN prebuilds.due_at IS 'Before it, no worker is given one that was tried or given back.';
CREATE INDEX prebuilds_open ON prebuilds (requested_at) WHERE state_code IN ('queued', 'building');
CREATE INDEX prebuilds_turns ON prebuilds (org_id, started_at DESC NULLS LAST);
CALL tenant_table('prebuilds', 'INSERT, UPDATE');
