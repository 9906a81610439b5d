-- Limits of organizations; worker names belong to the token that registered them.

-- A tenant sees no organization but its own, and learns no more from this than that a limit is reached.
CREATE POLICY counter ON organizations FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION count_organizations() RETURNS bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*) FROM public.organizations
$$;
REVOKE EXECUTE ON FUNCTION count_organizations() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_organizations() TO runflow_api;

-- What is stored for an organization is summed from the index alone.
CREATE INDEX assets_stored ON assets (org_id) INCLUDE (size_bytes) WHERE deleted_at IS NULL OR purge_at IS NOT NULL;
CREATE INDEX asset_uploads_open ON asset_uploads (org_id) INCLUDE (size_bytes) WHERE confirmed_at IS NULL;

-- Which keys were made with a key: asked when it is revoked.
CREATE INDEX api_keys_made_by ON api_keys (org_id, created_by) WHERE created_by IS NOT NULL;

ALTER TABLE workers ADD COLUMN token_id uuid REFERENCES worker_tokens;
COMMENT ON COLUMN workers.token_id IS 'The token that may register under this name, unless it was revoked; null: the next one that does.';
