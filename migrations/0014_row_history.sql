-- What was in force at an earlier revision: the digest of each revision, and the versions of rows that are not live
-- any more. A live row is its own newest version, in force since its column `revision`; so an insert costs nothing here.
--
-- Triggers write the versions, and not the application: no write can forget one, by whatever way it comes. They run
-- with the rights of the writer, in its transaction, under row-level security. They are per statement, because one
-- statement may delete many rows.
--
-- A version holds the columns of the row (to_jsonb) without the hash of a key's secret and the time of its last use.

CREATE TABLE policy_revisions (
    tenant_id tenant_slug NOT NULL,
    revision bigint NOT NULL CHECK (revision >= 0),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    policy_digest text COLLATE "C" CHECK (policy_digest ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (tenant_id, revision)
);
CREATE INDEX policy_revisions_time ON policy_revisions (tenant_id, written_at);
COMMENT ON TABLE policy_revisions IS
    'the lowest revision of a tenant is where its history begins; policy_digest is NULL where no process compiled it';

CREATE TABLE row_history (
    tenant_id tenant_slug NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind ~ '^[a-z_]{1,64}$'),
    id text COLLATE "C" NOT NULL,
    from_revision bigint NOT NULL,
    to_revision bigint NOT NULL,
    document jsonb NOT NULL,
    CONSTRAINT row_history_order CHECK (0 <= from_revision AND from_revision < to_revision),
    CONSTRAINT row_history_document_shape CHECK (jsonb_typeof(document) = 'object')
);
CREATE INDEX row_history_end ON row_history (tenant_id, to_revision);
COMMENT ON TABLE row_history IS 'document was in force from from_revision on, and before to_revision';

-- Row-level security holds for the owner too; the migration reads the tenants of the whole installation.
SELECT set_config('extauthz.operator', 'on', true);
INSERT INTO policy_revisions (tenant_id, revision, written_at)
    SELECT tenant_id, revision, updated_at FROM tenants WHERE deleted_at IS NULL;
SELECT set_config('extauthz.operator', 'off', true);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['policy_revisions', 'row_history'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;

-- A host is in force since its row exists.
ALTER TABLE tenant_hosts ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);
CREATE FUNCTION set_host_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT t.revision INTO NEW.revision FROM tenants AS t WHERE t.tenant_id = NEW.tenant_id;
    RETURN NEW;
END
$$;
CREATE TRIGGER tenant_hosts_revision BEFORE INSERT ON tenant_hosts
    FOR EACH ROW EXECUTE FUNCTION set_host_revision();

-- Arguments: the kind, and the column that names the row. A version that began and ended in one revision was never in
-- force. A tenant that the transaction does not see makes to_revision NULL, which is refused.
CREATE FUNCTION keep_deleted_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO row_history (tenant_id, kind, id, from_revision, to_revision, document)
        SELECT o.tenant_id, TG_ARGV[0], to_jsonb(o) ->> TG_ARGV[1], o.revision, t.revision,
            to_jsonb(o) - ARRAY['secret_sha256', 'last_used_at']
        FROM old_rows AS o LEFT JOIN tenants AS t ON t.tenant_id = o.tenant_id
        WHERE t.revision IS NULL OR o.revision < t.revision;
    RETURN NULL;
END
$$;
CREATE FUNCTION keep_updated_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO row_history (tenant_id, kind, id, from_revision, to_revision, document)
        SELECT o.tenant_id, TG_ARGV[0], to_jsonb(o) ->> TG_ARGV[1], o.revision, t.revision,
            to_jsonb(o) - ARRAY['secret_sha256', 'last_used_at']
        FROM old_rows AS o
        LEFT JOIN tenants AS t ON t.tenant_id = o.tenant_id
        LEFT JOIN new_rows AS n
            ON n.tenant_id = o.tenant_id AND to_jsonb(n) ->> TG_ARGV[1] = to_jsonb(o) ->> TG_ARGV[1]
        WHERE (t.revision IS NULL OR o.revision < t.revision)
            AND to_jsonb(o) - ARRAY['secret_sha256', 'last_used_at']
                IS DISTINCT FROM to_jsonb(n) - ARRAY['secret_sha256', 'last_used_at'];
    RETURN NULL;
END
$$;

DO $$
DECLARE
    kept record;
BEGIN
    FOR kept IN
        SELECT * FROM (VALUES
            ('resources', 'resource', 'id'),
            ('role_rules', 'role_rule', 'id'),
            ('role_bindings', 'role_binding', 'id'),
            ('attribute_policies', 'attribute_policy', 'id'),
            ('tenant_hosts', 'tenant_host', 'host'),
            ('identity_providers', 'identity_provider', 'id'),
            ('service_api_keys', 'service_key', 'id')
        ) AS listed (relation, kind, named_by)
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %I REFERENCING OLD TABLE AS old_rows '
            'FOR EACH STATEMENT EXECUTE FUNCTION keep_deleted_rows(%L, %L)',
            kept.relation || '_deleted', kept.relation, kept.kind, kept.named_by);
        EXECUTE format(
            'CREATE TRIGGER %I AFTER UPDATE ON %I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows '
            'FOR EACH STATEMENT EXECUTE FUNCTION keep_updated_rows(%L, %L)',
            kept.relation || '_updated', kept.relation, kept.kind, kept.named_by);
    END LOOP;
END
$$;

-- A tenant's own row changes with each revision; only its name and its status are of interest.
CREATE FUNCTION keep_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    since bigint;
BEGIN
    SELECT coalesce(max(h.to_revision), 0) INTO since FROM row_history AS h
        WHERE h.tenant_id = OLD.tenant_id AND h.kind = 'tenant';
    IF since < NEW.revision THEN
        INSERT INTO row_history (tenant_id, kind, id, from_revision, to_revision, document)
            VALUES (OLD.tenant_id, 'tenant', OLD.tenant_id, since, NEW.revision,
                jsonb_build_object('name', OLD.name, 'status', OLD.status));
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tenants_updated AFTER UPDATE ON tenants FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name OR OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION keep_tenant();
