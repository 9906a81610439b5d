-- The path of the workflow of a run, which may be another organization's.

-- Forced row security holds for the owner of the schema too.
CREATE POLICY named ON workflows FOR SELECT TO CURRENT_USER USING (true);

-- An organization learns the path of its own workflows, deleted ones included, and of public ones. PL/pgSQL keeps the
-- plan of the statement, which SQL functions make anew in every query.
CREATE FUNCTION workflow_path(workflow uuid, reader uuid) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN (SELECT o.slug || '/' || w.slug FROM public.workflows w JOIN public.organizations o ON o.id = w.org_id
            WHERE w.id = workflow AND (w.org_id = reader OR w.is_public));
END
$$;
REVOKE EXECUTE ON FUNCTION workflow_path(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION workflow_path(uuid, uuid) TO runflow_api, runflow_system;
