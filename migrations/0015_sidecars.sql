-- Which sidecars a tenant has, and the revision at which each decides; and keys of sidecars that serve many tenants.
--
-- A sidecar reports every few seconds. Its row is rewritten each time, so pages keep room for a new version of it.

CREATE TABLE sidecars (
    tenant_id tenant_slug NOT NULL REFERENCES tenants ON DELETE CASCADE,
    instance uuid NOT NULL,
    version text NOT NULL CHECK (version ~ '^[!-~]{1,64}$'),
    epoch uuid,
    revision bigint CHECK (revision >= 0),
    confirmed_at timestamptz,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    live_until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, instance)
) WITH (fillfactor = 50);
COMMENT ON COLUMN sidecars.revision IS 'NULL before its first policies';
COMMENT ON COLUMN sidecars.confirmed_at IS 'when its policies were last confirmed to be the newest; NULL before the first';

ALTER TABLE sidecars ENABLE ROW LEVEL SECURITY;
ALTER TABLE sidecars FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON sidecars
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));

-- Keys of the installation: they belong to no tenant, and do nothing but report. Only the SHA-256 of 32 random bytes is
-- stored. A key is seen by the operator, and by a presented key of exactly that id.
CREATE TABLE sidecar_keys (
    id uuid PRIMARY KEY,
    name canonical_name NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
ALTER TABLE sidecar_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE sidecar_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY operator ON sidecar_keys
    USING ((SELECT current_setting('extauthz.operator', true)) = 'on');
CREATE POLICY presented_key ON sidecar_keys FOR SELECT
    USING (id = (SELECT NULLIF(current_setting('extauthz.key_id', true), '')::uuid));
