-- Models that callers uploaded, once per organization and content, and the sessions that bring them.

CREATE TABLE models (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organizations,
    sha256      text NOT NULL,
    size_bytes  bigint NOT NULL,
    filename    text NOT NULL,
    object_key  text NOT NULL,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, sha256)
);
CREATE INDEX models_page ON models (org_id, created_at DESC, id DESC);
CALL tenant_table('models', 'INSERT, DELETE');

CREATE TABLE model_uploads (
    id              uuid PRIMARY KEY,
    org_id          uuid NOT NULL REFERENCES organizations,
    sha256          text NOT NULL,
    size_bytes      bigint NOT NULL,
    filename        text NOT NULL,
    received_bytes  bigint NOT NULL DEFAULT 0,
    created_by      uuid,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    confirmed_at    timestamptz
);
COMMENT ON COLUMN model_uploads.received_bytes IS 'How much is stored without a gap: the offset to go on from.';
-- Whoever sends the same content finds the session that is open for it.
CREATE UNIQUE INDEX model_uploads_open ON model_uploads (org_id, sha256, size_bytes) WHERE confirmed_at IS NULL;
CREATE INDEX model_uploads_stale ON model_uploads (updated_at);
CALL tenant_table('model_uploads', 'INSERT, UPDATE, DELETE');
