-- Identity providers in the form of the file of IDENTITY_PROVIDERS, several active ones in a tenant, and the owner of
-- each issuer: an alias or a value of a template belongs to one provider, as an issuer always did.
--
-- A document that uses a member of the form is stored whole in `form`, and `audience` is null: a reader of an earlier
-- version refuses such a row, instead of accepting tokens without the demands that it does not know.

DROP INDEX identity_providers_one_active;

ALTER TABLE identity_providers
    ADD COLUMN form jsonb NOT NULL DEFAULT 'null',
    ADD CONSTRAINT identity_providers_form_shape CHECK (jsonb_typeof(form) IN ('null', 'object')),
    DROP CONSTRAINT identity_providers_issuer_shape,
    ADD CONSTRAINT identity_providers_issuer_shape CHECK (
        octet_length(issuer) BETWEEN 1 AND 2000
        AND (issuer ~ '^https?://[^\s]+$' OR jsonb_typeof(form) = 'object')
    ),
    DROP CONSTRAINT identity_providers_audience_shape,
    ADD CONSTRAINT identity_providers_audience_shape CHECK (
        CASE jsonb_typeof(form)
            WHEN 'object' THEN jsonb_typeof(audience) = 'null'
            ELSE jsonb_typeof(audience) IN ('string', 'array') AND audience NOT IN ('""', '[]')
        END
    );
COMMENT ON COLUMN identity_providers.issuer IS 'the first issuer of a form; the others are in identity_provider_issuers';

CREATE TABLE identity_provider_issuers (
    tenant_id tenant_slug NOT NULL,
    provider_id uuid NOT NULL,
    issuer text COLLATE "C" NOT NULL,
    CONSTRAINT identity_provider_issuers_one_owner PRIMARY KEY (issuer),
    CONSTRAINT identity_provider_issuers_length CHECK (octet_length(issuer) BETWEEN 1 AND 2000),
    FOREIGN KEY (tenant_id, provider_id) REFERENCES identity_providers ON DELETE CASCADE
);
CREATE INDEX identity_provider_issuers_provider ON identity_provider_issuers (tenant_id, provider_id);

ALTER TABLE identity_provider_issuers ENABLE ROW LEVEL SECURITY;
ALTER TABLE identity_provider_issuers FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON identity_provider_issuers
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));
CREATE POLICY operator ON identity_provider_issuers
    USING ((SELECT current_setting('extauthz.operator', true)) = 'on');

-- Row-level security holds for the owner too; the migration reads the providers of every tenant.
SELECT set_config('extauthz.operator', 'on', true);
INSERT INTO identity_provider_issuers (tenant_id, provider_id, issuer)
    SELECT tenant_id, id, issuer FROM identity_providers ORDER BY issuer;
SELECT set_config('extauthz.operator', 'off', true);
