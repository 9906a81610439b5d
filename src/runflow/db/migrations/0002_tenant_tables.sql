-- How a tenant's table is made: one procedure, used by every later migration.
--
-- CALL tenant_table('webhooks', 'INSERT, UPDATE, DELETE') lets runflow_api read the rows of its own organization and
-- do what is named besides; runflow_system may do everything. The table needs a column org_id.

CREATE PROCEDURE tenant_table(name text, api_may text DEFAULT '') LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO runflow_api USING (org_id = current_org())', name);
    EXECUTE format('CREATE POLICY system ON %I TO runflow_system USING (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO runflow_system', name);
    EXECUTE format('GRANT SELECT ON %I TO runflow_api', name);
    IF api_may <> '' THEN
        EXECUTE format('GRANT %s ON %I TO runflow_api', api_may, name);
    END IF;
END $$;
REVOKE EXECUTE ON PROCEDURE tenant_table(text, text) FROM PUBLIC;
