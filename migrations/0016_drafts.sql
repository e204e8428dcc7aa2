-- Drafts: changes to policies that are written, read and checked before they are live.
--
-- `draft_rows` has one entry for each row that a draft changes: `row` as its table would hold it (NULL: deleted), and
-- `side` with what belongs to it (claims of routes, versions of a policy, applied default roles). `live_revision` is the
-- revision of the live row when the draft first changed it (NULL: there was none); another one is a conflict.
-- `draft_changes` has every change in order with its author. Sidecars never read these tables.

CREATE TABLE drafts (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    title canonical_name,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'published')),
    version bigint NOT NULL DEFAULT 1 CHECK (version >= 1),
    base_revision bigint NOT NULL CHECK (base_revision >= 0),
    created_by jsonb NOT NULL CHECK (jsonb_typeof(created_by) = 'object'),
    published_by jsonb CHECK (jsonb_typeof(published_by) = 'object'),
    published_revision bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT drafts_published CHECK ((state = 'published') = (published_revision IS NOT NULL))
);

CREATE TABLE draft_rows (
    tenant_id tenant_slug NOT NULL,
    draft_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('resource', 'role_rule', 'role_binding', 'attribute_policy')),
    row_id uuid NOT NULL,
    live_revision bigint,
    row jsonb CHECK (jsonb_typeof(row) = 'object'),
    side jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(side) = 'object'),
    PRIMARY KEY (tenant_id, draft_id, kind, row_id),
    FOREIGN KEY (tenant_id, draft_id) REFERENCES drafts ON DELETE CASCADE
);

CREATE TABLE draft_changes (
    tenant_id tenant_slug NOT NULL,
    draft_id uuid NOT NULL,
    number bigint NOT NULL,
    author jsonb NOT NULL CHECK (jsonb_typeof(author) = 'object'),
    action text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    row_id uuid NOT NULL,
    before json,
    after json,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, draft_id, number),
    FOREIGN KEY (tenant_id, draft_id) REFERENCES drafts ON DELETE CASCADE
);
COMMENT ON COLUMN draft_changes.author IS 'the actor, what it administered, and the permission that the change needed';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['drafts', 'draft_rows', 'draft_changes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;
