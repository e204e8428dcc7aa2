-- Recordings: the shapes of the requests that sidecars judged, counted by day and hour, for replay.
--
-- A shape is what judging reads of a request, and what came out. Shapes of one context differ in the values of their
-- slots only. Both tables have a partition for each day, which is dropped as a whole.

-- One row a tenant and day; its lock is the order of writes. `folded` names slots that are folded as a whole.
CREATE TABLE recording_days (
    tenant_id tenant_slug NOT NULL,
    day date NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    shapes bigint NOT NULL DEFAULT 0 CHECK (shapes >= 0),
    last_seq bigint NOT NULL DEFAULT 0,
    contexts bigint NOT NULL DEFAULT 0,
    requests bigint NOT NULL DEFAULT 0 CHECK (requests >= 0),
    lost bigint NOT NULL DEFAULT 0 CHECK (lost >= 0),
    rewrites bigint NOT NULL DEFAULT 0,
    folded json NOT NULL DEFAULT '[]',
    PRIMARY KEY (tenant_id, day)
);

-- Which batches of a sender counted: the highest number, and a bit for each of the 63 before it.
CREATE TABLE recording_senders (
    tenant_id tenant_slug NOT NULL,
    instance uuid NOT NULL,
    highest bigint NOT NULL,
    seen bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, instance)
);

CREATE TABLE recorded_contexts (
    day date NOT NULL,
    tenant_id tenant_slug NOT NULL,
    id integer NOT NULL,
    shapes bigint NOT NULL DEFAULT 0,
    requests bigint NOT NULL DEFAULT 0,
    document json NOT NULL,
    PRIMARY KEY (day, tenant_id, id)
) PARTITION BY RANGE (day);

-- `slots` has a line for each slot of the context. `counts` and `decisions` are packed: 300 bytes a shape.
CREATE TABLE recorded_shapes (
    key bigint NOT NULL,
    day date NOT NULL,
    seq integer NOT NULL,
    context integer NOT NULL,
    tenant_id tenant_slug NOT NULL,
    slots text COLLATE "C" NOT NULL,
    counts bytea NOT NULL,
    decisions bytea NOT NULL,
    PRIMARY KEY (day, tenant_id, key)
) PARTITION BY RANGE (day);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['recording_days', 'recording_senders', 'recorded_contexts', 'recorded_shapes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY own_tenant ON %I '
            'USING (tenant_id = (SELECT NULLIF(current_setting(''extauthz.tenant'', true), '''')))', name);
    END LOOP;
END
$$;

-- A role that serves owns no table: these two functions are what it may do to partitions. Rows are reached through the
-- parents alone; a partition has row-level security without a policy, so that it shows none by itself.
DO $do$
BEGIN
    EXECUTE format($fn$
        CREATE FUNCTION add_recording_day(wanted date) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, %1$I, pg_temp AS $body$
        DECLARE
            parent text;
            part text;
        BEGIN
            IF wanted IS NULL OR wanted < current_date - 8 OR wanted > current_date + 2 THEN
                RAISE EXCEPTION 'recordings are of the last days' USING ERRCODE = 'invalid_parameter_value';
            END IF;
            FOREACH parent IN ARRAY ARRAY['recorded_contexts', 'recorded_shapes'] LOOP
                part := parent || '_' || to_char(wanted, 'YYYYMMDD');
                CONTINUE WHEN to_regclass(format('%%I.%%I', %1$L, part)) IS NOT NULL;
                PERFORM pg_advisory_xact_lock(hashtext('extauthz recordings'));
                CONTINUE WHEN to_regclass(format('%%I.%%I', %1$L, part)) IS NOT NULL;
                -- Rows are counted again and again.
                EXECUTE format('CREATE TABLE %%I.%%I (LIKE %%I.%%I INCLUDING ALL)'
                    ' WITH (autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 500)',
                    %1$L, part, %1$L, parent);
                EXECUTE format('ALTER TABLE %%I.%%I ENABLE ROW LEVEL SECURITY', %1$L, part);
                EXECUTE format('ALTER TABLE %%I.%%I FORCE ROW LEVEL SECURITY', %1$L, part);
                -- Not CREATE TABLE ... PARTITION OF: attaching does not wait for readers of the parent.
                EXECUTE format(
                    'ALTER TABLE %%I.%%I ATTACH PARTITION %%I.%%I FOR VALUES FROM (%%L) TO (%%L)',
                    %1$L, parent, %1$L, part, wanted, wanted + 1);
            END LOOP;
        END
        $body$
    $fn$, current_schema());
    EXECUTE format($fn$
        CREATE FUNCTION drop_recording_days(before date) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, %1$I, pg_temp AS $body$
        DECLARE
            part record;
            dropped integer := 0;
        BEGIN
            IF before IS NULL OR before > current_date THEN
                RAISE EXCEPTION 'the present day is kept' USING ERRCODE = 'invalid_parameter_value';
            END IF;
            FOR part IN
                SELECT child.relname FROM pg_inherits
                JOIN pg_class AS child ON child.oid = inhrelid JOIN pg_class AS parent ON parent.oid = inhparent
                WHERE parent.relname IN ('recorded_contexts', 'recorded_shapes')
                  AND parent.relnamespace = %1$L::regnamespace AND child.relnamespace = %1$L::regnamespace
                  AND right(child.relname, 8) < to_char(before, 'YYYYMMDD')
                ORDER BY child.relname
            LOOP
                EXECUTE format('DROP TABLE %%I.%%I', %1$L, part.relname);
                dropped := dropped + 1;
            END LOOP;
            RETURN dropped;
        END
        $body$
    $fn$, current_schema());
END
$do$;
REVOKE ALL ON FUNCTION add_recording_day(date), drop_recording_days(date) FROM PUBLIC;
