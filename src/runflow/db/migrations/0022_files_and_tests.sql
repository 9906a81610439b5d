-- Files found by their content; deliveries that test a webhook.

-- Which files an organization has already: asked before a deployment uploads them again.
CREATE INDEX assets_by_content ON assets (org_id, sha256, created_at) WHERE deleted_at IS NULL AND source_type = 'upload';

ALTER TABLE deliveries DROP CONSTRAINT deliveries_have_one_subject;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_have_one_subject CHECK (
    num_nonnulls(run_id, batch_id, evaluation_id) = 1
    OR (kind_code = 'webhook' AND num_nonnulls(run_id, batch_id, evaluation_id) = 0)
);
COMMENT ON CONSTRAINT deliveries_have_one_subject ON deliveries IS 'The test of a webhook is about nothing.';
DROP INDEX deliveries_one_in_flight;
CREATE UNIQUE INDEX deliveries_one_in_flight ON deliveries (
    coalesce(run_id, batch_id, evaluation_id, webhook_id), kind_code,
    coalesce(webhook_id, '00000000-0000-0000-0000-000000000000')
) WHERE status_code = 'pending';
