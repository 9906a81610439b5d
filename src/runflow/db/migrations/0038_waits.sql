-- What a run waited for before it executed, and which of these waits were cold starts.
ALTER TABLE workers
    ADD COLUMN instance_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN ready_at timestamptz;
COMMENT ON COLUMN workers.ready_at IS 'When that process was ready first: its engine had started. NULL: not yet, or not known.';
COMMENT ON COLUMN workers.instance_at IS 'When its present process registered first.';
-- Of processes that registered before this is known at most when the name did: nobody is told to have waited for them.
UPDATE workers SET instance_at = created_at;

ALTER TABLE run_attempts
    ADD COLUMN waited_ms integer,
    ADD COLUMN machine_ms integer,
    ADD COLUMN runtime_ms integer,
    ADD COLUMN model_ms integer,
    ADD COLUMN engine_ms integer;
COMMENT ON COLUMN run_attempts.waited_ms IS 'From its run''s submission until it began to execute, or ended without. The four beside it are parts of it; the rest is the queue.';
COMMENT ON COLUMN run_attempts.load_ms IS 'How long models were loaded inside the engine. Not part of execute_ms.';
ALTER TABLE run_node_runs ADD COLUMN load_ms integer;
COMMENT ON COLUMN run_node_runs.load_ms IS 'How much of duration_ms was loading models. NULL: not known.';

ALTER TABLE runs
    ADD COLUMN waited_ms integer,
    ADD COLUMN machine_ms integer,
    ADD COLUMN runtime_ms integer,
    ADD COLUMN model_ms integer,
    ADD COLUMN engine_ms integer,
    ADD COLUMN cold_machine boolean NOT NULL DEFAULT false,
    ADD COLUMN cold_runtime boolean NOT NULL DEFAULT false,
    ADD COLUMN cold_model boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN runs.waited_ms IS 'As the parts beside it, of its last attempt: kept here so that statistics read one index.';
COMMENT ON COLUMN runs.cold_machine IS 'Whether one of its attempts waited for its worker to come; the others say the same of a runtime, and of models.';

DROP INDEX runs_ended;
CREATE INDEX runs_ended ON runs (comfyui_workflow_id, org_id, created_at)
    INCLUDE (status_code, queue_ms, duration_ms, gpu_seconds, cost, failure_code, cold_start,
             waited_ms, machine_ms, runtime_ms, model_ms, engine_ms, cold_machine, cold_runtime, cold_model)
    WHERE completed_at IS NOT NULL;
