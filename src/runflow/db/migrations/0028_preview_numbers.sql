-- The number grows with each picture, also over rows that were removed: the clock is in it, in milliseconds.
ALTER TABLE run_previews ALTER COLUMN number TYPE bigint;
COMMENT ON COLUMN run_previews.number IS 'Grows with each picture, also over rows of one run: the clock is in it.';
