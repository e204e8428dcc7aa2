-- Workloads as subjects of role rules and members of role bindings: a SPIFFE ID, a prefix of one that ends in /**, or
-- another name of a certificate.

ALTER TABLE role_rules
    DROP CONSTRAINT role_rules_sub_kind_check,
    ADD CONSTRAINT role_rules_sub_kind_check CHECK (sub_kind IN ('role', 'user', 'service', 'workload', 'any'));
ALTER TABLE role_bindings
    DROP CONSTRAINT role_bindings_member_kind_check,
    ADD CONSTRAINT role_bindings_member_kind_check CHECK (member_kind IN ('user', 'service', 'workload', 'role'));
