-- A worker that is gone for good stays as the row that its attempts name, and is shown no more.
ALTER TABLE workers ADD COLUMN removed_at timestamptz;
COMMENT ON COLUMN workers.removed_at IS 'Null again when a worker of this name registers.';
