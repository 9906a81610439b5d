-- Runs have priorities now, so a lane's has to be that of its first run whatever else happens to the lane meanwhile.
-- Volatile: it looks with a snapshot of its own, and so, in the SET of an UPDATE that had to wait for the lane's row, at what
-- the one before it has left there.
CREATE FUNCTION first_priority(lane uuid) RETURNS integer LANGUAGE sql VOLATILE AS $$
    SELECT coalesce((
        SELECT r.priority FROM public.runs r WHERE r.lane_id = lane AND r.status_code = 'queued'
        ORDER BY r.priority DESC, r.queue_position LIMIT 1), 0)
$$;
COMMENT ON COLUMN lanes.priority IS 'That of its first run; 0 where none waits.';
COMMENT ON COLUMN lanes.oldest_at IS 'When the run came that is its first: the oldest one of those with its priority.';
