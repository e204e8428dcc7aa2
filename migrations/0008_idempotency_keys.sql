-- Answers to creating requests that named an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).
--
-- A row is written in the transaction of the change that it answers; a refused request leaves no row.
-- tenant_id '-' is the installation itself, as in audit_events. A sidecar never reads these rows.

CREATE TABLE idempotency_keys (
    tenant_id text COLLATE "C" NOT NULL CHECK (tenant_id = '-' OR tenant_id ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    caller text COLLATE "C" NOT NULL CHECK (octet_length(caller) <= 2048),
    key text COLLATE "C" NOT NULL CHECK (key ~ '^[!-~]([ -~]*[!-~])?$' AND octet_length(key) <= 255),
    request_sha256 bytea NOT NULL CHECK (octet_length(request_sha256) = 32),
    answer json,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, caller, key)
);
COMMENT ON COLUMN idempotency_keys.answer IS
    'status, headers and body; NULL where the answer held a secret, which is never stored';
CREATE INDEX idempotency_keys_age ON idempotency_keys (tenant_id, created_at);

ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON idempotency_keys
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));
