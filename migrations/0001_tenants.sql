-- Tenants, the hosts they own, the identity providers they trust.
--
-- Row-level security, here and in every later file, reads settings and names no role, so that it holds for one
-- ordinary user (the owner too: FORCE) as well as for separate ones:
--   extauthz.tenant    the tenant whose rows this transaction may see and write; after SET LOCAL it reads '' on a
--                      pooled connection, hence NULLIF
--   extauthz.operator  'on': the installation's own administration (tenants, hosts, identity providers)
--   extauthz.reader    'on': a sidecar's connection, which reads the snapshot tables of every tenant
-- Settings stand in sub-selects so that they are read once per statement and not once per row.
-- Text that is compared is COLLATE "C": equality, order and indexes never depend on the machine's locale.

CREATE DOMAIN tenant_slug AS text COLLATE "C"
    CONSTRAINT tenant_slug_shape CHECK (VALUE ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$');

-- What a name can be, as far as SQL can tell; the parser of documents is stricter.
CREATE DOMAIN canonical_name AS text COLLATE "C"
    CONSTRAINT canonical_name_length CHECK (VALUE <> '' AND char_length(VALUE) <= 256)
    CONSTRAINT canonical_name_form CHECK (VALUE IS NFC NORMALIZED)
    CONSTRAINT canonical_name_characters CHECK (
        VALUE !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]'
    )
    CONSTRAINT canonical_name_ends CHECK (
        VALUE !~ '^[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]|[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]$'
    );

CREATE TABLE cluster_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch uuid NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE cluster_state IS
    'epoch is another value after a restore (extauthz migrate --new-epoch): revisions of two epochs never compare';
INSERT INTO cluster_state (epoch) VALUES (gen_random_uuid());

CREATE TABLE tenants (
    tenant_id tenant_slug PRIMARY KEY,
    name canonical_name NOT NULL,
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
COMMENT ON TABLE tenants IS
    'a deleted tenant keeps its row: its slug, which audit events and revisions name, is never given out again';

CREATE TABLE tenant_hosts (
    tenant_id tenant_slug NOT NULL REFERENCES tenants,
    host text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, host),
    CONSTRAINT tenant_hosts_one_owner UNIQUE (host),
    CONSTRAINT tenant_hosts_shape CHECK (host ~ '^[^A-Z\s/?#@*]{1,255}$')
);

CREATE TABLE identity_providers (
    tenant_id tenant_slug NOT NULL REFERENCES tenants,
    id uuid NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    jwks_uri text,
    audience jsonb NOT NULL,
    claim_config jsonb NOT NULL DEFAULT '{}',
    active boolean NOT NULL DEFAULT true,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT identity_providers_issuer UNIQUE (issuer),
    CONSTRAINT identity_providers_issuer_shape CHECK (issuer ~ '^https?://[^\s]+$' AND octet_length(issuer) <= 2000),
    CONSTRAINT identity_providers_jwks_uri_shape CHECK (jwks_uri ~ '^https?://[^\s]+$' AND octet_length(jwks_uri) <= 2000),
    CONSTRAINT identity_providers_audience_shape CHECK (
        jsonb_typeof(audience) IN ('string', 'array') AND audience NOT IN ('""', '[]')
    ),
    CONSTRAINT identity_providers_claim_config_shape CHECK (jsonb_typeof(claim_config) = 'object')
);
CREATE UNIQUE INDEX identity_providers_one_active ON identity_providers (tenant_id) WHERE active;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['tenants', 'tenant_hosts', 'identity_providers'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
        EXECUTE format(
            'CREATE POLICY operator ON %I '
            'USING ((SELECT current_setting(''extauthz.operator'', true)) = ''on'')', name);
        EXECUTE format(
            'CREATE POLICY sidecar ON %I FOR SELECT '
            'USING ((SELECT current_setting(''extauthz.reader'', true)) = ''on'')', name);
    END LOOP;
END
$$;
