-- What a resource says about requests on their way to the workload, and about tokens. Null: the default.
-- `headers` maps names of headers to attributes of the caller.

ALTER TABLE resources
    ADD COLUMN headers jsonb NOT NULL DEFAULT 'null' CHECK (jsonb_typeof(headers) IN ('null', 'object')),
    ADD COLUMN authorization_header text CHECK (authorization_header IN ('keep', 'remove')),
    ADD COLUMN assertion boolean,
    ADD COLUMN require_bound boolean;
