-- What an offer has cost its organization among those that wait: a run that goes back uncounted costs it nothing.
ALTER TABLE run_attempts ADD COLUMN charged_seconds double precision NOT NULL DEFAULT 0;
COMMENT ON COLUMN run_attempts.charged_seconds IS 'Engine time that its organization was charged for it in fair_shares; given back where the offer is forgotten.';
