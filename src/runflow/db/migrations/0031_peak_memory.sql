-- Without a check, which would read the whole table while nobody can use it: the protocol bounds the number.
-- How much memory a run needed: workers decide by it which engines fit side by side, and people which GPU is enough.
ALTER TABLE run_attempts ADD COLUMN peak_memory_bytes bigint;
COMMENT ON COLUMN run_attempts.peak_memory_bytes IS 'The most memory that the engine needed: of the GPU, or without one of its process. NULL: not known.';
