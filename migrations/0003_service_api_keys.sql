-- Service API keys. Only the SHA-256 of 32 random bytes is stored: it cannot be turned back into the key.
--
-- Who sees a hash: the tenant's own writer; whoever presents a key, for the row with exactly that id
-- (extauthz.key_id); a sidecar, for unrevoked keys with scope `identity` only, because it must verify them while
-- the control plane is away. deploy/postgres/roles.sql narrows the sidecar's role to the columns it needs.

CREATE TABLE service_api_keys (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    name canonical_name NOT NULL,
    description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 1024),
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    bootstrap boolean NOT NULL DEFAULT false,
    scopes text[] NOT NULL,
    service_name canonical_name,
    prefixes jsonb NOT NULL DEFAULT '[]',
    domain canonical_name,
    parent_id uuid,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT service_api_keys_id UNIQUE (id),
    FOREIGN KEY (tenant_id, parent_id) REFERENCES service_api_keys,
    CONSTRAINT service_api_keys_scopes CHECK (
        scopes <@ ARRAY['check', 'identity', 'resources:write', 'policies:read', 'policies:write', 'keys:write', 'audit:read']
        AND (bootstrap OR cardinality(scopes) >= 1)
    ),
    CONSTRAINT service_api_keys_domain_is_no_wildcard CHECK (domain <> '*'),
    CONSTRAINT service_api_keys_prefixes_shape CHECK (jsonb_typeof(prefixes) = 'array'),
    CONSTRAINT service_api_keys_registrar CHECK (
        NOT 'resources:write' = ANY (scopes) OR (service_name IS NOT NULL AND prefixes <> '[]')
    )
);
CREATE UNIQUE INDEX service_api_keys_one_bootstrap ON service_api_keys (tenant_id) WHERE bootstrap AND revoked_at IS NULL;
CREATE INDEX service_api_keys_parent ON service_api_keys (tenant_id, parent_id) WHERE parent_id IS NOT NULL;

ALTER TABLE service_api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE service_api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON service_api_keys
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));
CREATE POLICY presented_key ON service_api_keys FOR SELECT
    USING (id = (SELECT NULLIF(current_setting('extauthz.key_id', true), '')::uuid));
CREATE POLICY sidecar ON service_api_keys FOR SELECT
    USING (
        (SELECT current_setting('extauthz.reader', true)) = 'on'
        AND 'identity' = ANY (scopes) AND revoked_at IS NULL
    );
