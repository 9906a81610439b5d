-- Columns of milliseconds are integers, which end after 24.86 days: what waited longer could neither end nor be
-- cancelled. And a clock that was set back made times that ended before they began.

CREATE FUNCTION elapsed_ms(since timestamptz, until timestamptz) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT least(2147483647, greatest(0, floor(1000 * extract(epoch FROM until - since))))::integer
$$;
COMMENT ON FUNCTION elapsed_ms IS 'Milliseconds between two times: never negative, and 2147483647 (24.86 days) at most.';
