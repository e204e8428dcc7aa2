-- Approvals of drafts, for tenants with a change guard. An approval holds for one version and digest of the draft, one
-- live revision and one replay.

CREATE TABLE draft_approvals (
    tenant_id tenant_slug NOT NULL,
    draft_id uuid NOT NULL,
    approver_kind text COLLATE "C" NOT NULL,
    approver_id text COLLATE "C" NOT NULL,
    actor jsonb NOT NULL CHECK (jsonb_typeof(actor) = 'object'),
    comment text NOT NULL CHECK (char_length(comment) BETWEEN 1 AND 1024),
    version bigint NOT NULL,
    draft_digest text COLLATE "C" NOT NULL,
    live_revision bigint NOT NULL,
    replay_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, draft_id, approver_kind, approver_id),
    FOREIGN KEY (tenant_id, draft_id) REFERENCES drafts ON DELETE CASCADE
);
ALTER TABLE draft_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE draft_approvals FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON draft_approvals
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));
