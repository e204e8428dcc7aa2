-- Replays: what a draft would change for recorded requests. A control plane runs a job in a process of its own.
--
-- A job that runs has a lease, which its process extends with its progress; one whose lease has ended is run again by any
-- control plane, and fails after MAX_ATTEMPTS (storage/replay_jobs.py). `domains` are those of a domain admin that asked
-- (NULL: every domain). Control planes find unfinished jobs of every tenant as a reader; sidecars never read this table.

CREATE TABLE replay_jobs (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    draft_id uuid NOT NULL,
    draft_version bigint NOT NULL,
    requested_by jsonb NOT NULL CHECK (jsonb_typeof(requested_by) = 'object'),
    domains text[],
    since timestamptz,
    until timestamptz,
    status text COLLATE "C" NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'running', 'done', 'failed')),
    problem text,
    judged bigint NOT NULL DEFAULT 0 CHECK (judged >= 0),
    total bigint,
    draft_digest text,
    live_revision bigint,
    newly_allowed bigint,
    newly_denied bigint,
    result json,
    attempts bigint NOT NULL DEFAULT 0,
    leased_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, draft_id) REFERENCES drafts ON DELETE CASCADE,
    CONSTRAINT replay_jobs_result CHECK ((status = 'done') = (result IS NOT NULL)),
    CONSTRAINT replay_jobs_problem CHECK ((status = 'failed') = (problem IS NOT NULL)),
    CONSTRAINT replay_jobs_window CHECK (since < until)
);
CREATE INDEX replay_jobs_draft ON replay_jobs (tenant_id, draft_id, id);
CREATE INDEX replay_jobs_unfinished ON replay_jobs (created_at) WHERE status IN ('queued', 'running');

ALTER TABLE replay_jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE replay_jobs FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON replay_jobs
    USING (tenant_id = (SELECT NULLIF(current_setting('extauthz.tenant', true), '')));
CREATE POLICY unfinished ON replay_jobs FOR SELECT
    USING ((SELECT current_setting('extauthz.reader', true)) = 'on' AND status IN ('queued', 'running'));
