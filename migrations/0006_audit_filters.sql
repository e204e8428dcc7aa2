-- The audit trail is searched by actor and by time. A trail is long, and both are looked for in all of it.

CREATE INDEX audit_events_actor ON audit_events (tenant_id, (actor ->> 'id'), id);
CREATE INDEX audit_events_at ON audit_events (tenant_id, at);
