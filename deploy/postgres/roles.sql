-- Separate database users with least privilege. Optional: one ordinary user that owns the database works as well,
-- row-level security holds for it too.
--
-- Run as a superuser or as the owner of the database, connected to that database: once before the first
-- `extauthz migrate`, and again after every migration (it grants on what exists and can be repeated at any time).
-- Roles get no password here: set one with \password or use certificates.
--
--   extauthz_owner   runs `extauthz migrate`; owns the tables
--   extauthz_writer  the control plane: rows of the tenant it names, append to history, never the schema
--   extauthz_reader  a sidecar: reads what a snapshot is made of, writes nothing, never sees audit events; of service
--                    keys only what it takes to verify one (row-level security shows it unrevoked `identity` keys;
--                    the hash of 32 random bytes cannot be turned back into the key)

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['extauthz_owner', 'extauthz_writer', 'extauthz_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
        END IF;
    END LOOP;
END
$$;

-- A sidecar confirms policies only on a server whose sessions may write: default_transaction_read_only marks a primary
-- that was fenced. Set on a role it would mark every server so. What keeps a reader from writing is its grants, and its
-- own session. (Earlier versions of this file set it.)
ALTER ROLE extauthz_owner RESET default_transaction_read_only;
ALTER ROLE extauthz_writer RESET default_transaction_read_only;
ALTER ROLE extauthz_reader RESET default_transaction_read_only;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO extauthz_owner;
GRANT USAGE ON SCHEMA public TO extauthz_writer, extauthz_reader;

DO $$
DECLARE
    permitted record;
BEGIN
    FOR permitted IN
        SELECT * FROM (VALUES
            ('schema_migrations', 'SELECT', 'SELECT'),
            ('cluster_state', 'SELECT', 'SELECT'),
            ('tenants', 'SELECT, INSERT, UPDATE', 'SELECT'),
            ('tenant_hosts', 'SELECT, INSERT, DELETE', 'SELECT'),
            ('identity_providers', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT'),
            ('identity_provider_issuers', 'SELECT, INSERT, DELETE', NULL),
            ('resources', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT'),
            ('route_claims', 'SELECT, INSERT, DELETE', NULL),
            ('default_roles_applied', 'SELECT, INSERT, DELETE', NULL),
            ('role_rules', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT'),
            ('role_bindings', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT'),
            ('attribute_policies', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT'),
            ('attribute_policy_versions', 'SELECT, INSERT', NULL),
            ('service_api_keys', 'SELECT, INSERT, UPDATE, DELETE',
             'SELECT (tenant_id, id, name, secret_sha256, scopes, domain, expires_at, revoked_at)'),
            ('policy_changes', 'SELECT, INSERT, DELETE', 'SELECT'),
            ('audit_events', 'SELECT, INSERT', NULL),
            ('idempotency_keys', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('drafts', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('draft_rows', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('draft_changes', 'SELECT, INSERT, DELETE', NULL),
            ('draft_approvals', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('policy_tests', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('change_guards', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('replay_jobs', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('policy_heads', 'SELECT, INSERT, UPDATE', NULL),
            ('policy_revisions', 'SELECT, INSERT, DELETE', NULL),
            ('row_history', 'SELECT, INSERT, DELETE', NULL),
            ('policy_bodies', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('recording_days', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('recording_senders', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('recorded_contexts', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('recorded_shapes', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('sidecars', 'SELECT, INSERT, UPDATE, DELETE', NULL),
            ('sidecar_keys', 'SELECT, INSERT, UPDATE', NULL)
        ) AS listed (relation, writer, reader)
        WHERE to_regclass('public.' || relation) IS NOT NULL
    LOOP
        EXECUTE format('REVOKE ALL ON public.%I FROM PUBLIC, extauthz_writer, extauthz_reader', permitted.relation);
        EXECUTE format('GRANT %s ON public.%I TO extauthz_writer', permitted.writer, permitted.relation);
        IF permitted.reader IS NOT NULL THEN
            EXECUTE format('GRANT %s ON public.%I TO extauthz_reader', permitted.reader, permitted.relation);
        END IF;
    END LOOP;
END
$$;

-- Recordings have a table for each day, which the control plane adds and drops through these two functions alone.
DO $$
DECLARE
    permitted text;
BEGIN
    FOREACH permitted IN ARRAY ARRAY['add_recording_day(date)', 'drop_recording_days(date)'] LOOP
        IF to_regprocedure('public.' || permitted) IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON FUNCTION public.%s FROM PUBLIC, extauthz_reader', permitted);
            EXECUTE format('GRANT EXECUTE ON FUNCTION public.%s TO extauthz_writer', permitted);
        END IF;
    END LOOP;
END
$$;
