-- Who wrote a role binding: what a tenant admin wrote, and a deny of theirs reaches somebody through, is not a domain
-- admin's to take away. Bindings from before count as the tenant admin's.

ALTER TABLE role_bindings
    ADD COLUMN by_domain_admin boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT role_bindings_domain_admin_names_domain
        CHECK (NOT by_domain_admin OR (dom <> '*' AND member_kind <> 'role'));
