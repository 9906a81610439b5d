-- Files that came inside requests go as outputs do: some days after the last dispatch that named them.

ALTER TABLE assets ADD COLUMN used_at timestamptz;
COMMENT ON COLUMN assets.used_at IS 'Of a file that came inside a request: the last dispatch that named it. Null: kept until someone deletes it.';
CREATE INDEX assets_inline ON assets (used_at) WHERE used_at IS NOT NULL AND deleted_at IS NULL;

-- Nobody knows when those that are there were last used: their time begins now. (The tables' owner has no policy.)
ALTER TABLE assets NO FORCE ROW LEVEL SECURITY;
UPDATE assets SET used_at = now() WHERE source_type = 'data_uri' AND folder_id IS NULL AND deleted_at IS NULL;
ALTER TABLE assets FORCE ROW LEVEL SECURITY;
