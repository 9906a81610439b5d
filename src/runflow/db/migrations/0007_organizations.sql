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
CREATE INDEX audit_events_of_target ON audit_events (org_id, target_type, target_id, created_at DESC, id DESC);
CREATE INDEX audit_events_of_actor ON audit_events (org_id, actor_id, created_at DESC, id DESC);

----------------------------------------------------------------------------------------- organizations, users, members
ALTER TABLE organizations ADD COLUMN plan_code text NOT NULL DEFAULT 'self-hosted';
GRANT UPDATE (name, updated_at) ON organizations TO runflow_api;

-- The one way to a new organization for runflow_api; forced row security holds for the owner of the schema too.
CREATE POLICY maker ON organizations FOR INSERT TO CURRENT_USER WITH CHECK (true);
CREATE FUNCTION make_organization(fresh uuid, address text, title text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.organizations (id, slug, name) VALUES (fresh, address, title)
$$;
REVOKE EXECUTE ON FUNCTION make_organization(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_organization(uuid, text, text) TO runflow_api;

-- Named last, temporary tables of a caller cannot stand in for ours in what runs with the rights of the owner.
ALTER FUNCTION enter_lane(uuid, uuid, text, text, integer, integer) SET search_path = pg_catalog, public, pg_temp;

CREATE TABLE users (
    id          uuid PRIMARY KEY,
    email       text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE users IS 'A person, the same in every organization. What an organization says of them stands in members.';
CREATE UNIQUE INDEX users_email ON users (lower(email));

CREATE TABLE members (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL REFERENCES organizations,
    user_id     uuid NOT NULL REFERENCES users,
    role_code   text NOT NULL CHECK (role_code IN ('owner', 'admin', 'member')),
    first_name  text,
    last_name   text,
    created_by  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (org_id, user_id)
);
CREATE INDEX members_page ON members (org_id, created_at DESC, id DESC);
CALL tenant_table('members', 'INSERT, UPDATE, DELETE');

-- An organization sees the users that are its members (members' own policy names the organization). Not forced: the
-- owner of the schema finds a user for user_of().
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON users TO runflow_api USING (EXISTS (SELECT FROM members m WHERE m.user_id = users.id));
CREATE POLICY system ON users TO runflow_system USING (true);
GRANT SELECT ON users TO runflow_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO runflow_system;

-- The one way to a user for runflow_api, which must not learn who else is a user of this installation.
CREATE FUNCTION user_of(address text, fresh uuid) RETURNS uuid
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.users AS u (id, email) VALUES (fresh, address)
        ON CONFLICT (lower(email)) DO UPDATE SET email = u.email
        RETURNING u.id
$$;
REVOKE EXECUTE ON FUNCTION user_of(text, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION user_of(text, uuid) TO runflow_api, runflow_system;

ALTER TABLE api_keys ADD COLUMN user_id uuid REFERENCES users;
ALTER TABLE api_keys ADD COLUMN rate_limit_per_second integer CHECK (rate_limit_per_second > 0);
COMMENT ON COLUMN api_keys.rate_limit_per_second IS 'Instead of RUNFLOW_RATE_LIMIT; null: that.';
CREATE INDEX api_keys_of_user ON api_keys (user_id) WHERE user_id IS NOT NULL;

------------------------------------------------------------------------------------------------------ idempotency keys
CREATE TABLE idempotency_keys (
    org_id        uuid NOT NULL REFERENCES organizations,
    route         text NOT NULL,
    key           text NOT NULL,
    request_hash  bytea NOT NULL,
    status_code   integer NOT NULL,
    content_type  text,
    body          bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (org_id, route, key)
);
COMMENT ON TABLE idempotency_keys IS 'The first answer to an Idempotency-Key, committed with what that request made.';
COMMENT ON COLUMN idempotency_keys.body IS 'Null where the answer held a secret, which is shown once.';
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CALL tenant_table('idempotency_keys', 'INSERT, DELETE');
