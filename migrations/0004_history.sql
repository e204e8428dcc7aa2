-- What sidecars follow, and who did it.

-- One record per revision, naming its predecessor: a reader that misses one reloads. `changes` is a list of
-- {"op": "upsert"|"delete", "kind", "id", "row"}; NULL means "too large, reload". json, not jsonb: it is written once,
-- read whole and never searched.
CREATE TABLE policy_changes (
    tenant_id tenant_slug NOT NULL,
    revision bigint NOT NULL,
    predecessor bigint NOT NULL,
    changes json,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, revision),
    CONSTRAINT policy_changes_order CHECK (predecessor >= 0 AND predecessor < revision)
);

-- tenant_id '-' is the installation itself (a failed operator login belongs to no tenant). No foreign key: events
-- outlive what they tell of.
CREATE TABLE audit_events (
    tenant_id text COLLATE "C" NOT NULL CHECK (tenant_id = '-' OR tenant_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    revision bigint,
    actor jsonb NOT NULL CHECK (jsonb_typeof(actor) = 'object'),
    action text NOT NULL CHECK (action ~ '^[a-z_]{1,64}$'),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,64}$'),
    entity_id text,
    before json,
    after json,
    PRIMARY KEY (tenant_id, id)
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['policy_changes', 'audit_events'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;
CREATE POLICY sidecar ON policy_changes FOR SELECT
    USING ((SELECT current_setting('extauthz.reader', true)) = 'on');
