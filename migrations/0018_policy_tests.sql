-- Policy tests: decision cases that policies have to pass before they are published. They are not policies: writing
-- one raises no revision, and sidecars never read them. `revision` counts the writes to the tests of the tenant.
--
-- `change_guards` has the settings of a tenant for changes; a tenant without a row has the defaults.

CREATE TABLE policy_tests (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    name canonical_name NOT NULL,
    principal jsonb NOT NULL DEFAULT 'null',
    token jsonb NOT NULL DEFAULT 'null',
    request jsonb NOT NULL CHECK (jsonb_typeof(request) = 'object'),
    expect jsonb NOT NULL CHECK (jsonb_typeof(expect) = 'object'),
    now_at text,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT policy_tests_name UNIQUE (tenant_id, name)
);

CREATE TABLE change_guards (
    tenant_id tenant_slug PRIMARY KEY,
    document jsonb NOT NULL CHECK (jsonb_typeof(document) = 'object'),
    revision bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['policy_tests', 'change_guards'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;
