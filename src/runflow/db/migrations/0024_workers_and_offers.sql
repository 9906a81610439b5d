-- Two processes with one name and token took the name from each other again and again. Who had it before stays known, so
-- that it is told to end; how often such a one still spoke is what the operator sees.

ALTER TABLE workers
    ADD COLUMN former_instances uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN takeovers integer NOT NULL DEFAULT 0,
    ADD COLUMN taken_over_at timestamptz;
COMMENT ON COLUMN workers.former_instances IS 'Earlier processes of this name, the latest first; none of them gets it back.';
COMMENT ON COLUMN workers.takeovers IS 'So many of them were still at work when another process took the name, the last one at taken_over_at.';

-- An offer that lapses is forgotten, and with it who had stored what below the run's prefix.
ALTER TABLE runs ADD COLUMN has_leftovers boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN runs.has_leftovers IS 'Offers of it were forgotten: objects of theirs may lie below its prefix.';
-- Nobody's policy names the owner of the tables, so forced row-level security would hide every row from it.
ALTER TABLE runs NO FORCE ROW LEVEL SECURITY;
UPDATE runs SET has_leftovers = true WHERE lapsed_offers > 0;
ALTER TABLE runs FORCE ROW LEVEL SECURITY;
CREATE INDEX runs_with_leftovers ON runs (completed_at) WHERE has_leftovers AND completed_at IS NOT NULL;
