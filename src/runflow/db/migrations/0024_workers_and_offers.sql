-- Two processes with one name and token took the name from each other again and again. Who had it before stays known, so
-- that it is told to end; how often such a one still spoke is what the operator sees.

ALTER TABLE workers
    ADD COLUMN former_instances uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN takeovers integer NOT NULL DEFAULT 0,
    ADD COLUMN taken_over_at timestamptz;
COMMENT ON COLUMN workers.former_instances IS 'Earlier processes of this name, the latest first; none of them gets it back.';
COMMENT ON COLUMN workers.takeovers IS 'So many of them were still at work when another process took the name, the last one at taken_over_at.';
