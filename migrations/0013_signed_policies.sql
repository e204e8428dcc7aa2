-- Signed policies for sidecars that follow over HTTP (POLICY_SIGNING_KEY): the newest head of each tenant, and the
-- bodies that it names. Every replica of the control plane serves the same rows.
--
-- A body is content-addressed and never changes. It stays for a while after the last head that names it, for
-- followers that read that head.

CREATE TABLE policy_heads (
    tenant_id tenant_slug PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    serial bigint NOT NULL CHECK (serial >= 0),
    envelope bytea NOT NULL CHECK (octet_length(envelope) <= 262144)
);

CREATE TABLE policy_bodies (
    tenant_id tenant_slug NOT NULL REFERENCES tenants ON DELETE CASCADE,
    sha256 text COLLATE "C" NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    octets bytea NOT NULL,
    named_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, sha256)
);
-- gzip has compressed it.
ALTER TABLE policy_bodies ALTER COLUMN octets SET STORAGE EXTERNAL;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['policy_heads', 'policy_bodies'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;
CREATE POLICY sidecar ON policy_heads FOR SELECT
    USING ((SELECT current_setting('extauthz.reader', true)) = 'on');

ALTER TABLE service_api_keys DROP CONSTRAINT service_api_keys_scopes;
ALTER TABLE service_api_keys ADD CONSTRAINT service_api_keys_scopes CHECK (
    scopes <@ ARRAY['check', 'identity', 'resources:write', 'policies:read', 'policies:write', 'policies:follow',
                    'keys:write', 'audit:read']
    AND (bootstrap OR cardinality(scopes) >= 1)
);
