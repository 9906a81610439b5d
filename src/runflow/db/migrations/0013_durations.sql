-- The longest runs first. Only ended runs are in it, so a run pays for one entry, at its end; a list uses it where its
-- filter says that there is a duration, as `duration_ms >= 0` does.

CREATE INDEX runs_by_duration ON runs (org_id, duration_ms DESC, id DESC) WHERE duration_ms IS NOT NULL;
