-- What a worker's engine can run. The lists are long, alike on many machines, and seldom change: each is kept once, under
-- the hash of its items, by which a worker's abilities name it.

CREATE TABLE worker_lists (
    hash     text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    items    json NOT NULL,
    length   integer NOT NULL,
    used_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE worker_lists IS 'Node classes, node packs and model files of workers'' engines. What no worker names any more goes when another list comes.';
GRANT SELECT, INSERT, UPDATE, DELETE ON worker_lists TO runflow_system;

ALTER TABLE workers
    ADD COLUMN abilities json,
    ADD COLUMN abilities_hash text,
    ADD COLUMN abilities_at timestamptz,
    ADD COLUMN sandbox json;
COMMENT ON COLUMN workers.abilities IS 'As it registered them; null: it told none, and is offered every lane.';
COMMENT ON COLUMN workers.abilities_at IS 'Since when abilities_hash is what it is.';

-- A worker that said it could, and could not. Ends when it registers other abilities, or restarts.
CREATE TABLE lane_refusals (
    worker_id   uuid NOT NULL REFERENCES workers,
    lane_id     uuid NOT NULL,
    message     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (worker_id, lane_id)
);
CREATE INDEX lane_refusals_of_lane ON lane_refusals (lane_id);
COMMENT ON TABLE lane_refusals IS 'Lanes that are kept from a worker, and the sentence in which their run failed there.';
GRANT SELECT, INSERT, UPDATE, DELETE ON lane_refusals TO runflow_system;

ALTER TABLE workflows ADD COLUMN worker_labels json;
COMMENT ON COLUMN workflows.worker_labels IS 'Labels that a worker must have for its runs; null: none.';
CREATE INDEX workflows_with_labels ON workflows (id) WHERE worker_labels IS NOT NULL;
