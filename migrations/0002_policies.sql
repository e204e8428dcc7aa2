-- What teams write: resources with routes, role rules, role bindings, attribute policies.
-- `revision` on a row is the tenant's revision at its last write (If-Match). The tenant itself is not a foreign key
-- here: every write holds the lock on its row in `tenants`, and row-level security ties each row to that tenant.

CREATE TABLE resources (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    name canonical_name NOT NULL,
    display_name text NOT NULL,
    service_name canonical_name NOT NULL,
    default_roles canonical_name[] NOT NULL DEFAULT '{}',
    routes jsonb NOT NULL DEFAULT '[]',
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT resources_name UNIQUE (tenant_id, name),
    CONSTRAINT resources_display_name_length CHECK (char_length(display_name) <= 1024),
    CONSTRAINT resources_name_is_no_wildcard CHECK (name <> '*'),
    CONSTRAINT resources_routes_shape CHECK (jsonb_typeof(routes) = 'array')
);

-- One row per host, shape and method that a route of `resources.routes` claims: the primary key is the 409.
-- A shape is the path template with every {parameter} written {}; host '' is every host.
CREATE TABLE route_claims (
    tenant_id tenant_slug NOT NULL,
    host text COLLATE "C" NOT NULL,
    shape text COLLATE "C" NOT NULL,
    method text COLLATE "C" NOT NULL,
    resource_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, shape, host, method),
    FOREIGN KEY (tenant_id, resource_id) REFERENCES resources ON DELETE CASCADE,
    CONSTRAINT route_claims_host_shape CHECK (host = '' OR host ~ '^(\*\.)?[^A-Z\s/?#@*]{1,255}$'),
    CONSTRAINT route_claims_path_shape CHECK (shape ~ '^/[^?#\\\s]*$' AND octet_length(shape) <= 2000),
    CONSTRAINT route_claims_method_shape CHECK (method ~ '^[^a-z\s,]{1,64}$' AND method <> 'HEAD')
);
CREATE INDEX route_claims_resource ON route_claims (tenant_id, resource_id);

-- A name stays here when its resource is deleted: default roles become role rules once ever.
CREATE TABLE default_roles_applied (
    tenant_id tenant_slug NOT NULL,
    resource_name canonical_name NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (tenant_id, resource_name)
);

CREATE TABLE role_rules (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    sub canonical_name NOT NULL,
    sub_kind text NOT NULL CHECK (sub_kind IN ('role', 'user', 'service', 'any')),
    dom canonical_name NOT NULL,
    obj canonical_name NOT NULL,
    act canonical_name NOT NULL,
    effect text NOT NULL CHECK (effect IN ('allow', 'deny')),
    by_domain_admin boolean NOT NULL DEFAULT false,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT role_rules_value UNIQUE (tenant_id, obj, sub, dom, act, sub_kind, effect),
    CONSTRAINT role_rules_star_is_any CHECK (sub <> '*' OR sub_kind = 'any'),
    CONSTRAINT role_rules_named_any_denies CHECK (sub_kind <> 'any' OR sub = '*' OR effect = 'deny'),
    CONSTRAINT role_rules_domain_admin_names_domain CHECK (NOT by_domain_admin OR dom <> '*'),
    -- an index entry holds all four, and PostgreSQL's end at 2,704 bytes
    CONSTRAINT role_rules_names_length CHECK (
        octet_length(sub) + octet_length(dom) + octet_length(obj) + octet_length(act) <= 2400
    )
);

CREATE TABLE role_bindings (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    member canonical_name NOT NULL,
    member_kind text NOT NULL CHECK (member_kind IN ('user', 'service', 'role')),
    role canonical_name NOT NULL,
    dom canonical_name NOT NULL,
    expires_at timestamptz,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT role_bindings_value UNIQUE (tenant_id, member, role, dom, member_kind),
    CONSTRAINT role_bindings_no_self CHECK (member_kind <> 'role' OR member <> role),
    CONSTRAINT role_bindings_finite CHECK (isfinite(expires_at)),
    CONSTRAINT role_bindings_names_length CHECK (
        octet_length(member) + octet_length(role) + octet_length(dom) <= 2400
    )
);
CREATE INDEX role_bindings_inheritance ON role_bindings (tenant_id, id) WHERE member_kind = 'role';

CREATE TABLE attribute_policies (
    tenant_id tenant_slug NOT NULL,
    id uuid NOT NULL,
    name canonical_name NOT NULL,
    resource canonical_name NOT NULL,
    actions canonical_name[] NOT NULL,
    domain canonical_name NOT NULL,
    effect text NOT NULL CHECK (effect IN ('allow', 'deny')),
    priority integer NOT NULL,
    enabled boolean NOT NULL,
    mode text NOT NULL CHECK (mode IN ('enforce', 'shadow')),
    format text NOT NULL CHECK (format IN ('json', 'casbin')),
    rule_data jsonb NOT NULL,
    by_domain_admin boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    deleted_at timestamptz,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT attribute_policies_actions CHECK (cardinality(actions) >= 1 AND array_position(actions, NULL) IS NULL),
    CONSTRAINT attribute_policies_allow_band CHECK (effect = 'deny' OR priority BETWEEN -1000 AND 1000),
    CONSTRAINT attribute_policies_domain_admin_band CHECK (
        NOT by_domain_admin
        OR (domain <> '*' AND CASE effect WHEN 'allow' THEN priority <= 0 ELSE priority <= 1000 END)
    ),
    CONSTRAINT attribute_policies_rule_data_shape CHECK (
        jsonb_typeof(rule_data) = CASE format WHEN 'json' THEN 'object' ELSE 'string' END
    ),
    -- 256 KiB as written can grow by the spaces that PostgreSQL prints
    CONSTRAINT attribute_policies_rule_data_size CHECK (octet_length(rule_data::text) <= 1048576)
);
CREATE INDEX attribute_policies_resource ON attribute_policies (tenant_id, resource) WHERE deleted_at IS NULL;

CREATE TABLE attribute_policy_versions (
    tenant_id tenant_slug NOT NULL,
    policy_id uuid NOT NULL,
    version integer NOT NULL,
    deleted boolean NOT NULL,
    document jsonb NOT NULL,
    actor jsonb NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, policy_id, version),
    FOREIGN KEY (tenant_id, policy_id) REFERENCES attribute_policies ON DELETE CASCADE
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['resources', 'route_claims', 'default_roles_applied', 'role_rules', 'role_bindings',
                                'attribute_policies', 'attribute_policy_versions'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['resources', 'role_rules', 'role_bindings', 'attribute_policies'] LOOP
        EXECUTE format(
            'CREATE POLICY sidecar ON %I FOR SELECT '
            'USING ((SELECT current_setting(''extauthz.reader'', true)) = ''on'')', name);
    END LOOP;
END
$$;
