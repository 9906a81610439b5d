-- What the running node of a followed run shows at this moment. Nobody misses it after a crash, so it is not logged.
CREATE UNLOGGED TABLE run_previews (
    run_id         uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    watched_until  timestamptz NOT NULL,
    number         integer NOT NULL DEFAULT 0,
    node_id        text,
    node_type      text,
    content_type   text,
    content        text,
    shown_at       timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE run_previews IS 'A row is there while somebody follows the run and wants pictures; the worker is told so.';
COMMENT ON COLUMN run_previews.content IS 'The newest picture in Base64, as the worker sent it; number counts them.';
CALL tenant_table('run_previews', 'INSERT, UPDATE, DELETE');
