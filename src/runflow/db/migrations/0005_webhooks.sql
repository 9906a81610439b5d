-- Callback secrets, webhooks, and their deliveries.

CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    -- The first 48 bits of a UUIDv7 are milliseconds; bits 52 and 53 turn the version 4 of a random one into 7.
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;
COMMENT ON FUNCTION new_id() IS 'A UUIDv7, for statements that insert as many rows as they find.';

---------------------------------------------------------------------------------------------------- callback secrets
CREATE TABLE callback_secrets (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organizations,
    label         text,
    secret        bytea NOT NULL,
    key_prefix    text NOT NULL,
    is_current    boolean NOT NULL,
    disabled_at   timestamptz,
    last_used_at  timestamptz,
    created_by    uuid,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (NOT (is_current AND disabled_at IS NOT NULL))
);
COMMENT ON COLUMN callback_secrets.secret IS 'Encrypted under the master key, bound to the row.';
CREATE UNIQUE INDEX callback_secrets_one_current ON callback_secrets (org_id) WHERE is_current;
CREATE INDEX callback_secrets_page ON callback_secrets (org_id, created_at DESC, id DESC);
CALL tenant_table('callback_secrets', 'INSERT, UPDATE, DELETE');

------------------------------------------------------------------------------------------------------------ webhooks
-- A webhook is failing when every attempt since failing_since has failed; see runflow/deliveries/health.py.
CREATE TABLE webhooks (
    id                     uuid PRIMARY KEY,
    org_id                 uuid NOT NULL REFERENCES organizations,
    url                    text NOT NULL,
    label                  text,
    event_type_codes       text[] NOT NULL,
    secret                 bytea NOT NULL,
    secret_fingerprint     text NOT NULL,
    previous_secret        bytea,
    previous_secret_until  timestamptz,
    disabled_at            timestamptz,
    disabled_reason_code   text CHECK (disabled_reason_code IN ('manual', 'gone', 'failing')),
    disabled_reason        text,
    failing_since          timestamptz,
    failed_attempt_count   integer NOT NULL DEFAULT 0,
    last_triggered_at      timestamptz,
    created_by             uuid,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN webhooks.secret IS 'Encrypted under the master key, bound to the row; so is previous_secret.';
CREATE INDEX webhooks_enabled ON webhooks (org_id) WHERE disabled_at IS NULL;
CREATE INDEX webhooks_page ON webhooks (org_id, created_at DESC, id DESC);
CALL tenant_table('webhooks', 'INSERT, UPDATE, DELETE');

---------------------------------------------------------------------------------------------------------- deliveries
ALTER TABLE deliveries ADD COLUMN evaluation_id uuid;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_have_one_subject CHECK (
    num_nonnulls(run_id, batch_id, evaluation_id) = 1
);
DROP INDEX deliveries_one_in_flight;
CREATE UNIQUE INDEX deliveries_one_in_flight ON deliveries (
    coalesce(run_id, batch_id, evaluation_id), kind_code, coalesce(webhook_id, '00000000-0000-0000-0000-000000000000')
) WHERE status_code = 'pending';
CREATE INDEX deliveries_of_batch ON deliveries (batch_id, created_at) WHERE batch_id IS NOT NULL;
CREATE INDEX deliveries_of_webhook ON deliveries (webhook_id, created_at DESC, id DESC) WHERE webhook_id IS NOT NULL;
CREATE INDEX deliveries_of_webhooks ON deliveries (org_id, created_at DESC, id DESC) WHERE webhook_id IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (completed_at) WHERE status_code <> 'pending';
GRANT INSERT, UPDATE ON deliveries TO runflow_api;

ALTER TABLE delivery_attempts ADD COLUMN webhook_id uuid, ADD COLUMN next_retry_at timestamptz;
CREATE INDEX delivery_attempts_of_webhook ON delivery_attempts (webhook_id, created_at DESC, id DESC)
    WHERE webhook_id IS NOT NULL;
CREATE INDEX delivery_attempts_of_webhooks ON delivery_attempts (org_id, created_at DESC, id DESC)
    WHERE webhook_id IS NOT NULL;
