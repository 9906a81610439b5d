-- API keys that were typed into Deploy nodes leave the stored versions (runflow/workflows/graph_keys.py), and node titles
-- of public workflows the runs of other organizations.

-- Forced row security would hide the rows from an owner who is no superuser.
ALTER TABLE workflow_versions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys NO FORCE ROW LEVEL SECURITY;

-- Keys by their form, anywhere in a graph. The texts were written by the server, which escapes none of these letters.
UPDATE workflow_versions
SET graph = regexp_replace(CAST(graph AS text), 'rf_[A-Za-z]{2,16}_[A-Za-z0-9]{16,}', '', 'g')::json
WHERE CAST(graph AS text) ~ 'rf_[A-Za-z]{2,16}_[A-Za-z0-9]{16,}';

-- What else stands like a key in the widgets of Deploy nodes; the first widget is the endpoint's name. A document that jsonb
-- does not take (it may hold a NUL) is left as it is: nothing of it may keep the server from starting.
DO $$
DECLARE
    version record;
    held text;
BEGIN
    FOR version IN
        SELECT id, CAST(graph AS text) AS graph, CAST(workflow_json AS text) AS prompt FROM workflow_versions
        WHERE CAST(graph AS text) LIKE '%"RunflowDeploy"%' OR CAST(workflow_json AS text) LIKE '%"RunflowDeploy"%'
    LOOP
        BEGIN
            FOR held IN
                WITH nodes AS (
                    SELECT jsonb_path_query(version.graph::jsonb, 'lax $.**.nodes[*] ? (@.type == "RunflowDeploy")')
                        AS node
                    UNION ALL
                    SELECT jsonb_path_query(version.prompt::jsonb, 'lax $.* ? (@.class_type == "RunflowDeploy")')
                ), found AS (
                    SELECT jsonb_path_query(node, 'lax $.widgets_values[1 to last]') #>> '{}' AS text FROM nodes
                    UNION
                    SELECT jsonb_path_query(node, 'lax $.*.api_key') #>> '{}' FROM nodes
                )
                SELECT text FROM found WHERE text ~ '^\s*rf_[A-Za-z0-9_-]{6,}\s*$'
            LOOP
                UPDATE workflow_versions SET
                    graph = replace(CAST(graph AS text), CAST(to_json(held) AS text), '""')::json,
                    workflow_json = replace(CAST(workflow_json AS text), CAST(to_json(held) AS text), '""')::json
                WHERE id = version.id;
            END LOOP;
        EXCEPTION WHEN OTHERS THEN
            RAISE NOTICE 'the version % was not looked through: %', version.id, SQLERRM;
        END;
    END LOOP;
END $$;

ALTER TABLE run_node_runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE run_events NO FORCE ROW LEVEL SECURITY;
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
ALTER TABLE workflows NO FORCE ROW LEVEL SECURITY;
UPDATE run_node_runs n SET title = NULL
FROM runs r JOIN workflows w ON w.id = r.comfyui_workflow_id
WHERE r.id = n.run_id AND r.org_id <> w.org_id AND n.title IS NOT NULL;
UPDATE run_events e SET data = (e.data::jsonb || '{"title": null}')::json
FROM runs r JOIN workflows w ON w.id = r.comfyui_workflow_id
WHERE r.id = e.run_id AND r.org_id <> w.org_id AND e.type_code = 'node' AND e.data ->> 'title' IS NOT NULL;

-- Answers that are kept for a repeated request show what was stored.
DELETE FROM idempotency_keys
WHERE route LIKE '%workflows%' AND encode(body, 'escape') ~ 'rf_[A-Za-z]{2,16}_[A-Za-z0-9]{16,}';

-- A row that changed twice has its deferred checks open, with which no table can be altered.
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE workflow_versions FORCE ROW LEVEL SECURITY;
ALTER TABLE run_node_runs FORCE ROW LEVEL SECURITY;
ALTER TABLE run_events FORCE ROW LEVEL SECURITY;
ALTER TABLE runs FORCE ROW LEVEL SECURITY;
ALTER TABLE workflows FORCE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
