-- How much GPU memory a lane's runs need: a worker with less gets none of them (docs/leases.md, "GPU memory").
ALTER TABLE lanes
    ADD COLUMN models_gb integer NOT NULL DEFAULT 0,
    ADD COLUMN fresh_peak_bytes bigint,
    ADD COLUMN least_peak_bytes bigint,
    ADD COLUMN out_of_memory_gb integer NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN least_gb integer NOT NULL GENERATED ALWAYS AS (greatest(
    CASE WHEN out_of_memory_gb > 0 THEN out_of_memory_gb + 1 ELSE 0 END,
    CASE WHEN gpu_class = 'auto' THEN greatest(models_gb,
        ceil(least(coalesce(fresh_peak_bytes, least_peak_bytes, 0) / 1073741824.0, 100000))::integer) ELSE 0 END
)) STORED;
COMMENT ON COLUMN lanes.models_gb IS 'GiB that its large models are expected to need, as far as their sizes are told (workflows/runtime/large_models.py).';
COMMENT ON COLUMN lanes.fresh_peak_bytes IS 'The greatest peak on a GPU of a run that was the first of its engine: nothing of other runs was in it.';
COMMENT ON COLUMN lanes.least_peak_bytes IS 'The least peak on a GPU of the others: what stayed of earlier runs is in it.';
COMMENT ON COLUMN lanes.out_of_memory_gb IS 'GiB of the largest GPU on which a run of it ran out of memory while a larger one was there; 0: none did.';
COMMENT ON COLUMN lanes.least_gb IS 'GiB that a GPU must have for its runs. In lanes of named classes only what ran out of memory counts.';
CREATE INDEX lanes_version ON lanes (version_id);
