-- The foundation: organizations, keys, workflows with immutable versions, assets, runs, queue, workers, deliveries.
--
-- Runs as runflow_owner. Two roles serve requests: runflow_api sees one tenant (the organization in the setting
-- runflow.org, set inside each transaction), runflow_system claims, completes, delivers and sweeps.
-- Documents that callers sent (prompts, inputs, metadata) are `json`, not `jsonb`: they come back as they were sent.

CREATE FUNCTION current_org() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT nullif(current_setting('runflow.org', true), '')::uuid $$;
COMMENT ON FUNCTION current_org() IS 'The tenant of this transaction; null (so no rows) when none is set.';

------------------------------------------------------------------------------------------------ organizations and keys
CREATE TABLE organizations (
    id          uuid PRIMARY KEY,
    slug        text NOT NULL UNIQUE,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organizations,
    name          text NOT NULL,
    key_hash      bytea NOT NULL UNIQUE,
    key_prefix    text NOT NULL,
    scopes        text[] NOT NULL,
    expires_at    timestamptz,
    last_used_at  timestamptz,
    revoked_at    timestamptz,
    created_by    uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX api_keys_page ON api_keys (org_id, created_at DESC, id DESC);

CREATE TABLE worker_tokens (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    token_hash  bytea NOT NULL UNIQUE,
    revoked_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

------------------------------------------------------------------------------------------------------------- workflows
CREATE TABLE workflows (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL REFERENCES organizations,
    slug                 text NOT NULL,
    name                 text NOT NULL,
    description          text,
    is_public            boolean NOT NULL DEFAULT false,
    status_code          text NOT NULL DEFAULT 'active' CHECK (status_code IN ('active', 'disabled')),
    category_code        text,
    gpu_mode             text NOT NULL DEFAULT 'auto' CHECK (gpu_mode IN ('auto', 'explicit')),
    gpu_explicit_models  text[] NOT NULL DEFAULT '{}',
    timeout_seconds      integer,
    version_id           uuid NOT NULL,
    version              text NOT NULL,
    created_by           uuid,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz,
    deleted_by           uuid
);
CREATE UNIQUE INDEX workflows_live_slug ON workflows (org_id, slug) WHERE deleted_at IS NULL;
CREATE INDEX workflows_page ON workflows (org_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE workflow_versions (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL REFERENCES organizations,
    workflow_id    uuid NOT NULL REFERENCES workflows DEFERRABLE INITIALLY DEFERRED,
    number         integer NOT NULL,
    workflow_json  json NOT NULL,
    graph          json,
    environment    json,
    models         json,
    custom_nodes   json,
    resources      json,
    interface      json NOT NULL,
    fingerprint    text NOT NULL,
    created_by     uuid,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_id, number)
);
COMMENT ON TABLE workflow_versions IS 'Immutable: what a run pinned to this version executes, with its interface frozen.';

CREATE TABLE workflow_inputs (
    id                     uuid PRIMARY KEY,
    org_id                 uuid NOT NULL REFERENCES organizations,
    comfyui_workflow_id    uuid NOT NULL REFERENCES workflows DEFERRABLE INITIALLY DEFERRED,
    name                   text NOT NULL,
    variable_type_code     text NOT NULL,
    display_name           text NOT NULL DEFAULT '',
    description            text NOT NULL DEFAULT '',
    default_behavior_code  text,
    validator_code         text,
    validator_attrs        json,
    is_required            boolean NOT NULL DEFAULT true,
    default_value          json,
    sort_order             integer NOT NULL DEFAULT 0,
    comfyui_node_id        text NOT NULL,
    comfyui_field_name     text NOT NULL,
    origin                 text NOT NULL CHECK (origin IN ('node', 'manual')),
    node_widgets           json,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    deleted_at             timestamptz
);
COMMENT ON COLUMN workflow_inputs.node_widgets IS 'What the node itself said when last read: tells a person''s edit from the node''s.';
COMMENT ON COLUMN workflow_inputs.deleted_at IS 'Deleted by hand: the node does not bring it back until its input_id changes.';
CREATE UNIQUE INDEX workflow_inputs_name ON workflow_inputs (comfyui_workflow_id, name) WHERE deleted_at IS NULL;
CREATE INDEX workflow_inputs_page ON workflow_inputs (org_id, comfyui_workflow_id, created_at DESC, id DESC);

CREATE TABLE workflow_outputs (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL REFERENCES organizations,
    comfyui_workflow_id  uuid NOT NULL REFERENCES workflows DEFERRABLE INITIALLY DEFERRED,
    name                 text NOT NULL,
    variable_type_code   text NOT NULL,
    display_name         text NOT NULL DEFAULT '',
    description          text NOT NULL DEFAULT '',
    validator_code       text,
    validator_attrs      json,
    sort_order           integer NOT NULL DEFAULT 0,
    comfyui_node_id      text NOT NULL,
    comfyui_field_name   text NOT NULL,
    origin               text NOT NULL CHECK (origin IN ('node', 'manual')),
    node_widgets         json,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz
);
CREATE UNIQUE INDEX workflow_outputs_node ON workflow_outputs (comfyui_workflow_id, comfyui_node_id, name)
    WHERE deleted_at IS NULL;
CREATE INDEX workflow_outputs_page ON workflow_outputs (org_id, comfyui_workflow_id, created_at DESC, id DESC);

---------------------------------------------------------------------------------------------------------------- assets
CREATE TABLE assets (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL REFERENCES organizations,
    folder_id    uuid,
    name         text NOT NULL,
    object_key   text NOT NULL,
    mime_type    text NOT NULL,
    size_bytes   bigint NOT NULL,
    sha256       text,
    asset_type   text NOT NULL,
    source_type  text NOT NULL DEFAULT 'upload',
    source_id    uuid,
    created_by   uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    deleted_at   timestamptz,
    deleted_by   uuid
);
CREATE INDEX assets_page ON assets (org_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE asset_uploads (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organizations,
    filename      text NOT NULL,
    mime_type     text NOT NULL,
    size_bytes    bigint NOT NULL,
    object_key    text NOT NULL,
    expires_at    timestamptz NOT NULL,
    confirmed_at  timestamptz,
    created_by    uuid,
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE asset_uploads IS 'An upload session; its id becomes the asset''s id when it is confirmed.';
CREATE INDEX asset_uploads_stale ON asset_uploads (expires_at) WHERE confirmed_at IS NULL;

------------------------------------------------------------------------------------------------------ workers and GPUs
CREATE TABLE gpus (
    code              text PRIMARY KEY,
    name              text NOT NULL,
    memory_gb         integer NOT NULL,
    price_per_second  numeric(12, 6) NOT NULL,
    sort_order        integer NOT NULL DEFAULT 0
);
INSERT INTO gpus (code, name, memory_gb, price_per_second, sort_order) VALUES
    ('CPU',  'No GPU',       0,  0,        0),
    ('L4',   'NVIDIA L4',   24,  0.000147, 1),
    ('A10G', 'NVIDIA A10G', 24,  0.000222, 2),
    ('L40S', 'NVIDIA L40S', 48,  0.000444, 3),
    ('A100', 'NVIDIA A100', 80,  0.000917, 4),
    ('H100', 'NVIDIA H100', 80,  0.001250, 5);

CREATE TABLE workers (
    id            uuid PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    instance      uuid NOT NULL,
    gpu_code      text NOT NULL,
    gpu_name      text,
    memory_gb     integer NOT NULL DEFAULT 0,
    labels        json NOT NULL DEFAULT '{}',
    engine        json,
    fingerprints  text[] NOT NULL DEFAULT '{}',
    status_code   text NOT NULL,
    status_detail text,
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN workers.instance IS 'One life of the worker process; a new registration ends the leases of the old life.';

------------------------------------------------------------------------------------------------------------------ runs
CREATE SEQUENCE queue_positions;

CREATE TABLE runs (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL REFERENCES organizations,
    comfyui_workflow_id  uuid NOT NULL REFERENCES workflows,
    version_id           uuid NOT NULL REFERENCES workflow_versions,
    target_version       text NOT NULL,
    target_type          text NOT NULL DEFAULT 'comfyui_workflow',
    batch_id             uuid,
    status_code          text NOT NULL DEFAULT 'queued' CHECK
                         (status_code IN ('queued', 'dispatching', 'running', 'succeeded', 'failed', 'cancelled')),
    source_code          text NOT NULL DEFAULT 'api',
    input                json NOT NULL,
    metadata             json,
    client_ref           text,
    callback_url         text,
    request_id           text,
    created_by           uuid,
    lane_id              uuid NOT NULL,
    gpu_class            text NOT NULL,
    priority             integer NOT NULL DEFAULT 0,
    queue_position       bigint NOT NULL DEFAULT nextval('queue_positions'),
    timeout_seconds      integer NOT NULL,
    attempt_count        integer NOT NULL DEFAULT 0,
    cancel_requested_at  timestamptz,
    nodes_total          integer,
    nodes_completed      integer,
    has_logs             boolean NOT NULL DEFAULT false,
    has_node_runs        boolean NOT NULL DEFAULT false,
    created_at           timestamptz NOT NULL DEFAULT now(),
    started_at           timestamptz,
    completed_at         timestamptz,
    duration_ms          integer,
    cost                 numeric(14, 6),
    cost_breakdown       json,
    failure_code         text,
    failure_stage_code   text,
    failure_message      text,
    failure_details      json,
    output_expired       boolean NOT NULL DEFAULT false
);
CREATE INDEX runs_page ON runs (org_id, created_at DESC, id DESC);
CREATE INDEX runs_of_workflow ON runs (comfyui_workflow_id, org_id, created_at DESC, id DESC);
CREATE INDEX runs_queued ON runs (lane_id, priority DESC, queue_position) WHERE status_code = 'queued';

CREATE TABLE run_attempts (
    id               uuid PRIMARY KEY,
    org_id           uuid NOT NULL,
    run_id           uuid NOT NULL REFERENCES runs,
    number           integer,
    worker_id        uuid NOT NULL REFERENCES workers,
    worker_instance  uuid NOT NULL,
    gpu_code         text NOT NULL,
    status_code      text NOT NULL CHECK (status_code IN
                     ('offered', 'live', 'succeeded', 'failed', 'cancelled', 'lost')),
    offered_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    expires_at       timestamptz NOT NULL,
    completed_at     timestamptz,
    prepare_ms       integer,
    load_ms          integer,
    execute_ms       integer,
    upload_ms        integer,
    failure_code     text,
    failure_message  text,
    result_hash      text,
    objects_swept    boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE run_attempts IS 'One try of a run on one worker; its id is the lease. An offer that lapses is deleted: it was no attempt.';
CREATE INDEX run_attempts_of_run ON run_attempts (run_id, offered_at);
CREATE INDEX run_attempts_unswept ON run_attempts (completed_at)
    WHERE status_code IN ('failed', 'cancelled', 'lost') AND NOT objects_swept;
CREATE INDEX run_attempts_of_worker ON run_attempts (worker_id) WHERE status_code IN ('offered', 'live');
CREATE INDEX run_attempts_open ON run_attempts (expires_at) WHERE status_code IN ('offered', 'live');

CREATE TABLE run_outputs (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    run_id        uuid NOT NULL REFERENCES runs,
    attempt_id    uuid NOT NULL,
    ordinal       integer NOT NULL,
    output_id     text NOT NULL,
    node_id       text NOT NULL,
    object_key    text NOT NULL,
    filename      text NOT NULL,
    content_type  text NOT NULL,
    size_bytes    bigint NOT NULL,
    sha256        text,
    width         integer,
    height        integer,
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (run_id, ordinal)
);

CREATE TABLE run_node_runs (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL,
    run_id        uuid NOT NULL REFERENCES runs,
    attempt_id    uuid NOT NULL,
    node_id       text NOT NULL,
    node_type     text NOT NULL,
    title         text,
    state_code    text NOT NULL CHECK (state_code IN ('running', 'succeeded', 'cached', 'failed')),
    started_at    timestamptz,
    completed_at  timestamptz,
    duration_ms   integer,
    error_message text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX run_node_runs_of_run ON run_node_runs (run_id, created_at);

CREATE TABLE run_events (
    org_id      uuid NOT NULL,
    run_id      uuid NOT NULL REFERENCES runs,
    sequence    integer NOT NULL,
    attempt_id  uuid,
    type_code   text NOT NULL CHECK (type_code IN ('status', 'progress', 'log', 'node')),
    data        json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, sequence)
);

CREATE TABLE usage_records (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL,
    run_id               uuid NOT NULL REFERENCES runs,
    attempt_id           uuid NOT NULL UNIQUE,
    comfyui_workflow_id  uuid NOT NULL,
    api_key_id           uuid,
    gpu_code             text NOT NULL,
    prepare_seconds      numeric(14, 3) NOT NULL,
    load_seconds         numeric(14, 3) NOT NULL,
    execute_seconds      numeric(14, 3) NOT NULL,
    price_per_second     numeric(12, 6) NOT NULL,
    is_billable          boolean NOT NULL,
    cost                 numeric(14, 6) NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX usage_records_page ON usage_records (org_id, created_at);

----------------------------------------------------------------------------------------------------------------- queue
CREATE TABLE lanes (
    id                uuid PRIMARY KEY,
    org_id            uuid NOT NULL,
    version_id        uuid NOT NULL,
    gpu_class         text NOT NULL,
    fingerprint       text NOT NULL,
    depth             integer NOT NULL DEFAULT 0 CHECK (depth >= 0),
    running           integer NOT NULL DEFAULT 0 CHECK (running >= 0),
    priority          integer NOT NULL DEFAULT 0,
    oldest_at         timestamptz,
    expected_seconds  double precision NOT NULL DEFAULT 1
) WITH (fillfactor = 50);
COMMENT ON TABLE lanes IS 'The queue of runs of one (organization, version, GPU class); counts move with the runs, in their transactions.';
CREATE INDEX lanes_waiting ON lanes (id) WHERE depth > 0;

CREATE TABLE fair_shares (
    org_id        uuid PRIMARY KEY,
    virtual_time  double precision NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE fair_shares IS 'Start-time fair queueing between organizations: seconds of engine time taken, comparable among those that wait.';

-- Every run that starts to wait passes this door, in the transaction that inserts it. An organization that had nothing
-- waiting starts level with those that have: idle time earns no credit.
CREATE FUNCTION enter_lane(lane uuid, version uuid, class text, runtime text, runs integer, urgency integer)
    RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    tenant uuid := public.current_org();
    waiting integer;
    level double precision;
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION 'no tenant in this transaction';
    END IF;
    INSERT INTO public.lanes AS l (id, org_id, version_id, gpu_class, fingerprint, depth, priority, oldest_at)
        VALUES (lane, tenant, version, class, runtime, runs, urgency, clock_timestamp())
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

------------------------------------------------------------------------------------------------------------ deliveries
CREATE TABLE deliveries (
    id                   uuid PRIMARY KEY,
    org_id               uuid NOT NULL,
    kind_code            text NOT NULL CHECK (kind_code IN ('callback', 'webhook')),
    run_id               uuid,
    batch_id             uuid,
    webhook_id           uuid,
    event_type_code      text NOT NULL,
    target_url           text NOT NULL,
    payload              bytea NOT NULL,
    signing_secret_id    uuid,
    is_automatic         boolean NOT NULL DEFAULT true,
    status_code          text NOT NULL DEFAULT 'pending' CHECK (status_code IN ('pending', 'succeeded', 'failed')),
    failure_reason_code  text,
    failure_detail       text,
    attempt_count        integer NOT NULL DEFAULT 0,
    max_attempts         integer NOT NULL,
    next_attempt_at      timestamptz,
    claimed_until        timestamptz,
    request_id           text,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    completed_at         timestamptz
);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE status_code = 'pending';
CREATE INDEX deliveries_by_target ON deliveries (
    org_id, coalesce(lower(substring(target_url from '^[A-Za-z]+://([^/?#]*)')), ''), next_attempt_at
) WHERE status_code = 'pending';
CREATE UNIQUE INDEX deliveries_one_in_flight ON deliveries (run_id, kind_code, coalesce(webhook_id, run_id))
    WHERE status_code = 'pending' AND run_id IS NOT NULL;
CREATE INDEX deliveries_of_run ON deliveries (run_id, created_at);

CREATE TABLE delivery_attempts (
    id                uuid PRIMARY KEY,
    org_id            uuid NOT NULL,
    delivery_id       uuid NOT NULL REFERENCES deliveries,
    attempt_number    integer NOT NULL,
    status_code       integer,
    response_body     text,
    response_time_ms  integer,
    error_message     text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (delivery_id, attempt_number)
);

----------------------------------------------------------------------------------------------------- tenants and roles
GRANT USAGE ON SCHEMA public TO runflow_api, runflow_system;
GRANT USAGE ON SEQUENCE queue_positions TO runflow_api, runflow_system;
GRANT EXECUTE ON FUNCTION current_org() TO runflow_api, runflow_system;
REVOKE EXECUTE ON FUNCTION enter_lane(uuid, uuid, text, text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_lane(uuid, uuid, text, text, integer, integer) TO runflow_api;

DO $$
DECLARE
    name text;
    column_name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['organizations', 'api_keys', 'workflows', 'workflow_versions', 'workflow_inputs',
        'workflow_outputs', 'assets', 'asset_uploads', 'runs', 'run_attempts', 'run_outputs', 'run_node_runs',
        'run_events', 'usage_records', 'deliveries', 'delivery_attempts']
    LOOP
        column_name := CASE name WHEN 'organizations' THEN 'id' ELSE 'org_id' END;
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO runflow_api USING (%I = current_org())', name, column_name);
        EXECUTE format('CREATE POLICY system ON %I TO runflow_system USING (true)', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO runflow_system', name);
        EXECUTE format('GRANT SELECT ON %I TO runflow_api', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['api_keys', 'workflows', 'workflow_inputs', 'workflow_outputs', 'assets',
        'asset_uploads']
    LOOP
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I TO runflow_api', name);
    END LOOP;
END $$;
GRANT INSERT ON workflow_versions, runs TO runflow_api;
GRANT SELECT ON gpus TO runflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON worker_tokens, workers, gpus, lanes, fair_shares TO runflow_system;
