-- Which source code may be built. A source is a repository's address and a commit in it, together: a host serves a fork's
-- commits under its parent's address, and says nothing of who wrote them.
CREATE TABLE sources (
    id               uuid PRIMARY KEY,
    origin           text NOT NULL CHECK (length(origin) BETWEEN 1 AND 500),
    commit           text NOT NULL CHECK (commit ~ '^[0-9a-f]{40}$'),
    state_code       text NOT NULL DEFAULT 'waiting' CHECK (state_code IN ('waiting', 'approved', 'revoked')),
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    decided_at       timestamptz,
    decided_by       uuid,
    UNIQUE (origin, commit)
);
COMMENT ON TABLE sources IS 'The operator''s decisions, for the whole installation: no tenant reads it. What waits and is needed by no version any more is not shown.';
COMMENT ON COLUMN sources.decided_by IS 'The API key; null where the settings or the command line decided, or nobody has.';
CREATE INDEX sources_page ON sources (first_seen_at DESC, id DESC);
GRANT SELECT, INSERT, UPDATE, DELETE ON sources TO runflow_system;

CREATE TABLE version_sources (
    org_id          uuid NOT NULL REFERENCES organizations,
    version_id      uuid NOT NULL REFERENCES workflow_versions,
    source_id       uuid NOT NULL REFERENCES sources,
    kind_code       text NOT NULL CHECK (kind_code IN ('comfyui', 'node_pack')),
    names           text[] NOT NULL,
    packages_count  integer NOT NULL,
    PRIMARY KEY (version_id, source_id)
);
COMMENT ON TABLE version_sources IS 'What the documents of a version name, whatever it is called there.';
CREATE INDEX version_sources_of_source ON version_sources (source_id, version_id);
CALL tenant_table('version_sources', 'INSERT');

-- Versions that were stored before: what they name is read by the server, as it reads that of new ones. Forced row security
-- would hide the rows from an owner who is no superuser.
CREATE TABLE unread_versions (
    version_id  uuid PRIMARY KEY REFERENCES workflow_versions,
    org_id      uuid NOT NULL
);
COMMENT ON TABLE unread_versions IS 'Versions from before there were sources, until the server has read what they name.';
ALTER TABLE workflow_versions NO FORCE ROW LEVEL SECURITY;
INSERT INTO unread_versions SELECT id, org_id FROM workflow_versions WHERE environment IS NOT NULL OR custom_nodes IS NOT NULL;
ALTER TABLE workflow_versions FORCE ROW LEVEL SECURITY;
GRANT SELECT, DELETE ON unread_versions TO runflow_system;

-- The one way for a tenant to name sources. It learns their ids, and nothing of what became of them.
CREATE FUNCTION name_sources(fresh uuid[], origins text[], commits text[]) RETURNS TABLE (id uuid, origin text, commit text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF public.current_org() IS NULL THEN
        RAISE EXCEPTION 'no tenant in this transaction';
    END IF;
    -- In one order, so that two deployments do not wait for each other.
    INSERT INTO public.sources AS s (id, origin, commit)
        SELECT n.id, n.origin, n.commit FROM unnest(fresh, origins, commits) AS n (id, origin, commit)
        ORDER BY n.origin, n.commit
        ON CONFLICT (origin, commit) DO NOTHING;
    RETURN QUERY SELECT s.id, s.origin, s.commit FROM unnest(origins, commits) AS n (origin, commit)
        JOIN public.sources s ON s.origin = n.origin AND s.commit = n.commit;
END $$;
REVOKE EXECUTE ON FUNCTION name_sources(uuid[], text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION name_sources(uuid[], text[], text[]) TO runflow_api;

-- Whatever scopes a key holds, only the operator's organization approves, in the transaction that deploys; and only what
-- waits, for what it has revoked it shall approve by name.
CREATE FUNCTION approve_sources(wanted uuid[], key uuid) RETURNS TABLE (id uuid, origin text, commit text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT public.is_operator() THEN
        RAISE insufficient_privilege USING MESSAGE = 'only the operator''s organization approves sources';
    END IF;
    RETURN QUERY UPDATE public.sources s SET state_code = 'approved', decided_at = clock_timestamp(), decided_by = key
        WHERE s.id = ANY(wanted) AND s.state_code = 'waiting'
        RETURNING s.id, s.origin, s.commit;
END $$;
REVOKE EXECUTE ON FUNCTION approve_sources(uuid[], uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION approve_sources(uuid[], uuid) TO runflow_api;

-- The operator's keys that may do everything else may do this as well. Forced row security would hide the rows from an owner
-- who is no superuser.
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
UPDATE api_keys SET scopes = scopes || ARRAY['sources:read', 'sources:approve'], updated_at = now()
WHERE org_id = (SELECT id FROM organizations ORDER BY created_at, id LIMIT 1)
    AND scopes @> ARRAY['organizations:create', 'organizations:edit', 'workers:read', 'workers:edit', 'gpus:edit', 'api-keys:create', 'api-keys:delete', 'comfyui-workflows:create', 'comfyui-workflows:edit', 'audit-events:read'];
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
