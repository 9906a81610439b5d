-- Users, members, audit events, idempotency keys, rate limits.

CREATE TABLE audit_events (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL REFERENCES organizations,
    action_code  text NOT NULL,
    actor_type   text NOT NULL CHECK (actor_type IN ('api_key', 'operator')),
    actor_id     uuid,
    target_type  text NOT NULL,
    target_id    text,
    details      json,
    address      text,
    user_agent   text,
    request_id   text,
    created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE audit_events IS 'Who changed what, when, from where; written in the transaction of the change, never changed.';
CREATE INDEX audit_events_page ON audit_events (org_id, created_at DESC, id DESC);
CALL tenant_table('audit_events', 'INSERT');
