-- What an engine must have loaded for a lane's runs, and what loading it costs: who loads least comes first.
ALTER TABLE lanes
    ADD COLUMN models_key text,
    ADD COLUMN load_seconds double precision CHECK (load_seconds BETWEEN 0 AND 600),
    ADD COLUMN is_pace_known boolean NOT NULL DEFAULT false,
    ADD COLUMN claimed_at timestamptz;
COMMENT ON COLUMN lanes.models_key IS 'Names the large models of its version (queue/large_models.py); empty: none. NULL: nobody has looked yet.';
COMMENT ON COLUMN lanes.load_seconds IS 'What it takes an engine to load them: foreseen from their size, then learned. NULL as models_key.';
COMMENT ON COLUMN lanes.is_pace_known IS 'expected_seconds was learned from a run that had nothing to load.';
COMMENT ON COLUMN lanes.claimed_at IS 'When a run of it was claimed last.';
