-- The most expensive runs first. Only runs that cost something are in it: where GPUs have no price, nobody pays for it.
-- A list uses it where its filter says so, as `cost > 0` does.

CREATE INDEX runs_by_cost ON runs (org_id, cost DESC, id DESC) WHERE cost > 0;
