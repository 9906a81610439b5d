-- How many runs of a workflow may be worked on at the same time. Counted where claims count anyway, in lanes.running, so that a
-- workflow without a cap costs nothing more; the claims of one that has a cap wait for each other.
ALTER TABLE workflows ADD COLUMN max_running integer CHECK (max_running >= 1);
COMMENT ON COLUMN workflows.max_running IS 'So many of its runs are leased at the same time, whoever dispatched them; NULL: any number.';
CREATE INDEX workflows_capped ON workflows (id) WHERE max_running IS NOT NULL;

ALTER TABLE lanes ADD COLUMN workflow_id uuid;
COMMENT ON COLUMN lanes.workflow_id IS 'What its version is of.';
UPDATE lanes l SET workflow_id = v.workflow_id FROM workflow_versions v WHERE v.id = l.version_id;
CREATE INDEX lanes_workflow ON lanes (workflow_id);
CREATE INDEX lanes_organization ON lanes (org_id);

-- As before, but that a new lane knows its workflow.
CREATE OR REPLACE FUNCTION enter_lane(lane uuid, version uuid, class text, runtime text, runs integer, urgency integer)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    tenant uuid := public.current_org();
    waiting integer;
    level double precision;
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION 'no tenant in this transaction';
    END IF;
    INSERT INTO public.lanes AS l (id, org_id, version_id, workflow_id, gpu_class, fingerprint, depth, priority, oldest_at)
        VALUES (lane, tenant, version, (SELECT v.workflow_id FROM public.workflow_versions v WHERE v.id = version), class,
                runtime, runs, urgency, clock_timestamp())
        ON CONFLICT (id) DO UPDATE SET
            depth = l.depth + runs,
            priority = CASE WHEN l.depth = 0 THEN urgency ELSE greatest(l.priority, urgency) END,
            oldest_at = CASE WHEN l.depth = 0 THEN clock_timestamp() ELSE l.oldest_at END
        WHERE l.org_id = tenant
        RETURNING l.depth - runs INTO STRICT waiting;
    IF waiting = 0 THEN
        SELECT min(s.virtual_time) INTO level
            FROM public.fair_shares s
            WHERE s.org_id <> tenant
              AND EXISTS (SELECT FROM public.lanes l WHERE l.org_id = s.org_id AND (l.depth > 0 OR l.running > 0));
        INSERT INTO public.fair_shares AS s (org_id, virtual_time) VALUES (tenant, coalesce(level, 0))
            ON CONFLICT (org_id) DO UPDATE SET virtual_time = greatest(s.virtual_time, excluded.virtual_time)
            WHERE s.virtual_time < excluded.virtual_time
              AND NOT EXISTS (SELECT FROM public.lanes l
                              WHERE l.org_id = tenant AND l.id <> lane AND (l.depth > 0 OR l.running > 0));
    END IF;
END $$;

CREATE FUNCTION running_of_workflow(workflow uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(l.running), 0) FROM public.lanes l WHERE l.workflow_id = workflow
$$;
CREATE FUNCTION running_of_organization(tenant uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(l.running), 0) FROM public.lanes l WHERE l.org_id = tenant
$$;

-- Whether one more run of a lane may be worked on, to be asked by the claim of it. It makes the claims under one cap wait for
-- each other, until each has committed what it counts; then it counts with a snapshot of its own. Workflow before organization,
-- both before any row: so nobody who holds a row waits here.
CREATE FUNCTION has_room(of_lane uuid, most_of_organization integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    workflow uuid;
    tenant uuid;
    most integer;
BEGIN
    SELECT l.workflow_id, l.org_id, w.max_running INTO workflow, tenant, most
        FROM public.lanes l LEFT JOIN public.workflows w ON w.id = l.workflow_id WHERE l.id = of_lane;
    IF most IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7301, hashtext(workflow::text));
        IF public.running_of_workflow(workflow) >= most THEN
            RETURN false;
        END IF;
    END IF;
    IF most_of_organization IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7302, hashtext(tenant::text));
        IF public.running_of_organization(tenant) >= most_of_organization THEN
            RETURN false;
        END IF;
    END IF;
    RETURN true;
END $$;
