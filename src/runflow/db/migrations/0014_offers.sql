-- Offers of leases that nobody answered: they end a run at last, and keep a worker away for a while.

ALTER TABLE runs ADD COLUMN lapsed_offers integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN runs.lapsed_offers IS 'How often an offer of it lapsed unanswered; every fifth counts as an attempt that was lost.';

ALTER TABLE workers
    ADD COLUMN unanswered_offers  integer NOT NULL DEFAULT 0,
    ADD COLUMN unanswered_at      timestamptz,
    ADD COLUMN paused_until       timestamptz;
COMMENT ON COLUMN workers.unanswered_offers IS 'Offers in a row that lapsed in its hands, the last one at unanswered_at.';
COMMENT ON COLUMN workers.paused_until IS 'Gets no offers until then: it answered none of the last ones.';
