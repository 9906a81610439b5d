-- Asset folders, thumbnails, retention.

CREATE TABLE asset_folders (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organizations,
    parent_id   uuid,
    name        text NOT NULL,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, id),
    -- A folder of another organization can be nobody's parent, whatever a statement says.
    CONSTRAINT asset_folders_parent FOREIGN KEY (org_id, parent_id) REFERENCES asset_folders (org_id, id)
);
CREATE UNIQUE INDEX asset_folders_name ON asset_folders (org_id, parent_id, name) NULLS NOT DISTINCT;
CREATE INDEX asset_folders_page ON asset_folders (org_id, created_at DESC, id DESC);
CALL tenant_table('asset_folders', 'INSERT, UPDATE, DELETE');

ALTER TABLE assets
    ADD COLUMN thumbnail_key text,
    ADD COLUMN purge_at timestamptz,
    -- What is moved into a folder while that is being deleted stays, at the top.
    ADD CONSTRAINT assets_folder FOREIGN KEY (org_id, folder_id) REFERENCES asset_folders (org_id, id)
        ON DELETE SET NULL (folder_id);
COMMENT ON COLUMN assets.purge_at IS 'When to look whether the objects of a deleted asset can go; null again once they are gone.';
CREATE INDEX assets_in_folder ON assets (org_id, folder_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX assets_by_name ON assets (org_id, name, id) WHERE deleted_at IS NULL;
CREATE INDEX assets_to_purge ON assets (purge_at) WHERE purge_at IS NOT NULL;
CREATE INDEX asset_uploads_confirmed ON asset_uploads (expires_at) WHERE confirmed_at IS NOT NULL;

-- What the sweep looks for, oldest first. Events come in the order of their time, so a block-range index, which costs
-- the hot path nothing, finds the old ones.
CREATE INDEX runs_with_outputs ON runs (completed_at) WHERE status_code = 'succeeded' AND NOT output_expired;
CREATE INDEX run_events_old ON run_events USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

-- A bill outlives the run that it is for.
ALTER TABLE usage_records DROP CONSTRAINT usage_records_run_id_fkey;
COMMENT ON COLUMN usage_records.run_id IS 'The run, which retention may have removed since.';
