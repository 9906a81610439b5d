-- Organizations are the operator's to make.

-- The operator's organization is the installation's first one. Whatever scopes a key holds, only its keys make others.
CREATE FUNCTION is_operator() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(public.current_org() = (SELECT id FROM public.organizations ORDER BY created_at, id LIMIT 1), false)
$$;
REVOKE EXECUTE ON FUNCTION is_operator() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_operator() TO runflow_api;

CREATE OR REPLACE FUNCTION make_organization(fresh uuid, address text, title text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT public.is_operator() THEN
        RAISE insufficient_privilege USING MESSAGE = 'only the operator''s organization makes organizations';
    END IF;
    INSERT INTO public.organizations (id, slug, name) VALUES (fresh, address, title);
END $$;

-- Keys of other organizations that were made before lose the scope. Forced row security would hide their rows from an
-- owner who is no superuser.
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
UPDATE api_keys SET scopes = array_remove(scopes, 'organizations:create'), updated_at = now()
WHERE 'organizations:create' = ANY(scopes)
    AND org_id <> (SELECT id FROM organizations ORDER BY created_at, id LIMIT 1);
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
